"""``launch status``: the state of each run below a folder."""

from collections.abc import Sequence
from pathlib import Path

from launcher.cli.output import print_rows
from launcher.cli.parser import add_table_options, new_parser, parse
from launcher.cli.verb import Verb

DESCRIPTION = """Where each run below a folder stands now: what SLURM says of its job, its last
step, and how long it has been silent."""


def status(words: Sequence[str]) -> int:
    """Print the state of each run."""
    parser = new_parser("status", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="of a sweep, of a run, or of many")
    add_table_options(parser)
    options = parse(parser, words)

    from launcher.campaign import jobs

    print_rows(jobs.status(Path(options.folder).expanduser()), options)
    return 0


VERB = Verb(
    name="status", usage="DIR", summary="where each run below a folder stands now", run=status
)
