"""``launch resume``: continue what a folder holds."""

from collections.abc import Sequence
from pathlib import Path

from launcher.cli.parser import add_table_options, new_parser, parse
from launcher.cli.verb import Verb
from launcher.cli.verbs.running.run import run_to_the_end

DESCRIPTION = """Continue what a folder holds from its newest checkpoint that verifies, by the words
it was started with. Others may follow: layout, nodes and engine may change from one job to the
next, and so may stages of a curriculum that have not begun."""


def resume(words: Sequence[str]) -> int:
    """Continue what a folder holds, and print the table."""
    parser = new_parser("resume", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="of a curriculum, of a sweep, or of a run")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="new values")
    add_table_options(parser, of_records=True)
    options = parse(parser, words)

    from launcher.campaign.campaign import Campaign
    from launcher.campaign.resume import resumed
    from launcher.cli.progress import Progress

    plan = resumed(Path(options.folder).expanduser().resolve(), options.overrides)
    return run_to_the_end(Campaign(plan, Progress()), ["resume", *words], options)


VERB = Verb(
    name="resume",
    usage="DIR [KEY=VALUE]",
    summary="continue what is in a folder, at another layout too",
    run=resume,
)
