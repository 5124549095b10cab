"""``launch cancel``: end the jobs of a batch system below a folder."""

from collections.abc import Sequence
from pathlib import Path

from launcher.cli.parser import add_format_option, new_parser, parse
from launcher.cli.verb import Verb
from launcher.files import json_text

DESCRIPTION = """End every job of SLURM's below a folder, queued or running, and wait until it has
ended."""


def cancel(words: Sequence[str]) -> int:
    """End the jobs, and print their names."""
    parser = new_parser("cancel", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="of a sweep, of a run, or of many")
    add_format_option(parser)
    options = parse(parser, words)

    from launcher.campaign import jobs

    ended = jobs.cancel(Path(options.folder).expanduser().resolve())
    if options.format == "json":
        print(json_text([{"run": name} for name in ended]))
        return 0
    names = f": {' '.join(ended)}" if ended else ": all had ended by themselves"
    print(f"ended {len(ended)} job{'' if len(ended) == 1 else 's'}{names}")
    return 0


VERB = Verb(
    name="cancel", usage="DIR", summary="end the jobs of SLURM's below a folder", run=cancel
)
