"""``launch cancel``: end the jobs of a batch system below a folder."""

from collections.abc import Sequence
from pathlib import Path

from launcher.cli.parser import new_parser, parse
from launcher.cli.verb import Verb

DESCRIPTION = """End every job of SLURM's below a folder, queued or running, and wait until it has
ended."""


def cancel(words: Sequence[str]) -> int:
    """End the jobs, and print their names."""
    parser = new_parser("cancel", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="of a sweep, of a run, or of many")
    options = parse(parser, words)

    from launcher.campaign import jobs

    ended = jobs.cancel(Path(options.folder).expanduser().resolve())
    names = f": {' '.join(ended)}" if ended else ": all had ended by themselves"
    print(f"ended {len(ended)} job{'' if len(ended) == 1 else 's'}{names}")
    return 0


VERB = Verb(
    name="cancel", usage="DIR", summary="end the jobs of SLURM's below a folder", run=cancel
)
