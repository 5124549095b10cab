"""``launch table``: the table of the runs below folders."""

import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.cli.parser import add_table_options, new_parser, parse
from launcher.cli.verb import Verb

DESCRIPTION = """The table of the runs below a folder: one row per point, failures and rejections
with their cause."""


def table(words: Sequence[str]) -> int:
    """Print the table of runs, and with ``--wandb`` log it to W&B."""
    parser = new_parser("table", DESCRIPTION)
    parser.add_argument(
        "folders", metavar="DIR", nargs="+", help="of a sweep, of a run, or of many"
    )
    add_table_options(parser, of_records=True)
    parser.add_argument("--wandb", metavar="PROJECT", help="log it as a table of W&B besides")
    options = parse(parser, words)

    import analysis
    from analysis.table import put, render

    runs = analysis.load(*options.folders)
    for note in runs.notes:
        print(f"launch: {note}", file=sys.stderr)
    rows = runs.table(options.sort)
    put(rows, options.format, options.output, every_row=options.all)
    if options.wandb is not None:
        from launcher.cli.uploads import log_table

        log_table(render(rows, "json"), Path(options.folders[0]), options.wandb)
    return 0


VERB = Verb(
    name="table",
    usage="DIR...",
    summary="the table of what has run below a folder",
    run=table,
)
