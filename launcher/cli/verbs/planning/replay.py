"""``launch replay``: a strategy against measured rows instead of a cluster."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from launcher.cli.output import print_rows
from launcher.cli.parser import add_table_options, new_parser, parse
from launcher.cli.verb import Verb
from launcher.errors import ConfigError
from launcher.files import json_text

DESCRIPTION = """Run a strategy against a table of measured runs instead of a cluster: it sees what
a row measured only after it has chosen the row."""


def replay(words: Sequence[str]) -> int:
    """Try a strategy on measured rows."""
    from launcher.planner.constants import constants_of
    from launcher.sheets import predictions
    from sweeps import STRATEGIES, Stop
    from sweeps.replay import GROUP_BY, replayed

    parser = new_parser("replay", DESCRIPTION)
    parser.add_argument("file", metavar="FILE.csv", help="columns as in docs/planner.md")
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="best_first",
        metavar="NAME",
        help=f"{', '.join(STRATEGIES)}; best_first where not given",
    )
    parser.add_argument(
        "--group-by",
        metavar="COL,...",
        default=",".join(GROUP_BY),
        help="columns whose rows are compared; %(default)s",
    )
    parser.add_argument(
        "--axis",
        metavar="COL",
        action="extend",
        nargs="+",
        default=[],
        help="a column beyond the schema whose effect is learnt",
    )
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of what it draws")
    parser.add_argument("--constants", metavar="FILE", help="of launch plan --fit")
    add_table_options(parser)
    options = parse(parser, words)
    constants = constants_of(options.constants)
    sheet = predictions.read(Path(options.file).expanduser())
    strategy, group_by = STRATEGIES[options.strategy], options.group_by.split(",")
    results = list(
        replayed(sheet, constants, strategy, group_by, options.axis, options.seed, Stop())
    )
    if not results:
        raise ConfigError(f"{options.file}: no row has tokens_per_s_per_gpu, or oom 1")
    if options.format == "json":
        from analysis import table

        table.write(json_text([asdict(result) for result in results]), options.output)
        return 0
    rows = []
    for result in results:
        figures = {k: v for k, v in asdict(result).items() if k not in ("group", "trials")}
        rows.append({**result.group, **figures, "trials": len(result.trials)})
    print_rows(rows, options)
    return 0


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


VERB = Verb(
    name="replay",
    usage="FILE.csv",
    summary="what a strategy would have done with measured rows",
    run=replay,
)
