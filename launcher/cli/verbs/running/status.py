"""``launch status``: the state of each run below a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.cli.parser import DATA_FORMATS, add_table_options, new_parser, parse
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

    states = jobs.status(Path(options.folder).expanduser())
    print_states(states, options.format, options.output, options.sort)
    return 0


def print_states(
    states: Sequence[Mapping[str, Any]],
    form: str,
    output: str | None = None,
    sort: str | None = None,
) -> None:
    """Print the rows of `launcher.campaign.jobs.status`.

    A person reads in its place that a loss is nan; a column of numbers has no room for that.

    Args:
        states: the rows.
        form: a format of ``--format``.
        output: file for them; None is stdout.
        sort: column to sort by.
    """
    from analysis import table
    from launcher.results import metrics

    if sort in ("loss", "-loss"):  # a text that says nan has no place among numbers
        sign = -1 if sort.startswith("-") else 1
        states = sorted(states, key=lambda row: _order(row, sign))
        sort = None
    if form in DATA_FORMATS:
        rows = [{**row, "loss": row["loss"] if row["finite"] else None} for row in states]
    else:
        rows = [{**row, "loss": metrics.encoded(row["loss"]), "finite": None} for row in states]
    table.put(table.plain(rows, sort), form, output)


def _order(row: Mapping[str, Any], sign: int) -> tuple[bool, float]:
    """Return the place of a row by its loss; what is not finite comes after all numbers."""
    return not row["finite"], sign * row["loss"] if row["finite"] else 0.0


VERB = Verb(
    name="status", usage="DIR", summary="where each run below a folder stands now", run=status
)
