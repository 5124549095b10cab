"""The verbs that start nothing: ``plan`` and ``replay``."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.cli.parser import new_parser, parsed, prints_a_table, takes_overrides
from launcher.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from launcher.campaign.campaign import Loop

RUNS = """Every point of a run or a sweep before anything runs: predicted memory, speed, days, GPU
hours and price, what is rejected, what is not worth a trial, and why. Best first."""

REPLAY = """Run a strategy against a table of measured runs instead of a cluster: it sees what a row
measured only after it has chosen the row."""


def plan(words: Sequence[str]) -> int:
    """Say what would run, and what it would cost."""
    parser = new_parser("plan", RUNS)
    takes_overrides(parser)
    prints_a_table(parser)
    parser.add_argument("--explain", metavar="ROW", type=int, help="the terms of one row")
    parser.add_argument("--runs", metavar="FILE.csv",
                        help="predict for the rows of a sheet, .csv or .xlsx")  # fmt: skip
    parser.add_argument("--fit", metavar="FILE.csv",
                        help="fit the planner's constants to measured rows, and print the errors"
                        " on sources left out; -o writes the constants")  # fmt: skip
    options = parsed(parser, words)
    if options.runs and options.fit:
        raise RequestError("--runs and --fit: one at a time")
    if options.runs or options.fit:
        _refuse_keys(options)
    if options.fit:
        return _fit(options)
    if options.runs:
        return _runs(options)
    return _points(options)


def _points(options: argparse.Namespace) -> int:
    """The points of a request, the stages of a curriculum, or the terms of one row."""
    from launcher.campaign.campaign import Loop
    from launcher.cli import starting
    from launcher.request.compose import compose

    loop = Loop(compose(options.overrides, options.multirun, options.config_dir))
    if options.explain is not None:
        return _print(_terms(loop, options.explain), options)
    starting.warn(loop)
    if loop.request.curriculum:
        from launcher.campaign import stage_plan

        stage_plan.check(loop)
        if full := stage_plan.too_little_disk(loop):
            print(f"launch: warning: {full}", file=sys.stderr)
        return _print([*stage_plan.rows(loop)], options)
    points = loop.plan()

    from analysis import plan as plans
    from analysis import table

    table.put(plans.frame(points, options.sort), options.format, options.output)
    return 0


def _terms(loop: "Loop", row: int) -> list[dict[str, Any]]:
    """The terms of a point. Raises ConfigError where there is no such row, or it is rejected."""
    from launcher.backends import engine_traits
    from launcher.planner import explain
    from launcher.planner.points import Points

    by_row = {number: spec_id for spec_id, number in loop.rows.items()}
    if row not in by_row:
        raise ConfigError(f"--explain {row}: the rows are 1 to {len(by_row)}")
    if by_row[row] in loop.refused:
        raise ConfigError(f"--explain {row}: it is rejected: {loop.refused[by_row[row]]}")
    points = Points.from_specs([loop.points[by_row[row]]], engine_traits)
    return [*explain.terms(points, loop.chooser.grid.constants)]


def _refuse_keys(options: argparse.Namespace) -> None:
    """A sheet says all there is to say, but for the constants."""
    option = "--runs" if options.runs else "--fit"
    for word in options.overrides:
        if options.fit or not word.startswith("constants="):
            raise RequestError(f"{word}: has no meaning beside {option}, whose sheet says it all")
    same = options.output and Path(options.output).resolve()
    if same and same == Path(options.runs or options.fit).expanduser().resolve():
        raise RequestError(f"--output: {options.output} is the sheet itself")


def _runs(options: argparse.Namespace) -> int:
    from launcher.planner import explain
    from launcher.planner.constants import constants_of
    from launcher.request.compose import compose
    from launcher.sheets import predictions

    request = compose(options.overrides, options.multirun, options.config_dir)
    constants = constants_of(request.constants)
    sheet = predictions.read(Path(options.runs).expanduser())
    if options.explain is not None:
        if not 1 <= options.explain <= len(sheet.rows):
            raise ConfigError(f"--explain {options.explain}: the rows are 1 to {len(sheet.rows)}")
        points = sheet.points[[options.explain - 1]]
        return _print([*explain.terms(points, constants)], options)
    for line in predictions.mistyped(sheet):
        print(f"launch: {line}", file=sys.stderr)
    rows = predictions.predicted(sheet, constants)
    if options.format != "table":
        return _print(rows, options)
    from analysis import table

    brief = [row | few for row, few in zip(rows, predictions.brief(sheet, rows), strict=True)]
    titles = {name: title for name, title in predictions.BRIEF.items() if name in brief[0]}
    table.put(
        table.narrow(brief, titles, predictions.shared_notes(sheet), options.sort),
        "table",
        options.output,
    )
    return 0


def _print(rows: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> int:
    from analysis import table

    table.put(table.plain(rows, options.sort), options.format, options.output)
    return 0


def _fit(options: argparse.Namespace) -> int:
    from analysis import table
    from launcher.sheets import predictions

    constants, rows = predictions.fitted(Path(options.fit).expanduser())
    print(table.render(table.plain(rows), "table"))
    if options.output:
        from launcher.files import write_json

        write_json(Path(options.output), asdict(constants))
    return 0


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def replay(words: Sequence[str]) -> int:
    """Try a strategy on measured rows."""
    from launcher.planner.constants import constants_of
    from launcher.sheets import predictions
    from sweeps import STRATEGIES, Stop
    from sweeps.replay import GROUP_BY, replayed

    parser = new_parser("replay", REPLAY)
    parser.add_argument("file", metavar="FILE.csv", help="columns as in docs/planner.md")
    parser.add_argument("--strategy", choices=STRATEGIES, default="best_first", metavar="NAME",
                        help=f"{', '.join(STRATEGIES)}; best_first where not given")  # fmt: skip
    parser.add_argument("--group-by", metavar="COL,...", default=",".join(GROUP_BY),
                        help="columns whose rows are compared; %(default)s")  # fmt: skip
    parser.add_argument("--axis", metavar="COL", action="extend", nargs="+", default=[],
                        help="a column beyond the schema whose effect is learnt")  # fmt: skip
    parser.add_argument("--seed", type=_whole, default=0, metavar="N", help="of what it draws")
    parser.add_argument("--constants", metavar="FILE", help="of launch plan --fit")
    prints_a_table(parser)
    options = parsed(parser, words)
    constants = constants_of(options.constants)
    sheet = predictions.read(Path(options.file).expanduser())
    found = list(replayed(
        sheet, constants, STRATEGIES[options.strategy], options.group_by.split(","), options.axis,
        options.seed, Stop(),
    ))  # fmt: skip
    if not found:
        raise ConfigError(f"{options.file}: no row has tokens_per_s_per_gpu, or oom 1")

    from analysis import table

    if options.format == "json":
        text = json.dumps([asdict(one) for one in found], indent=1)
        table.write(text, options.output)
        return 0
    rows = [
        {**one.group, **{k: v for k, v in asdict(one).items() if k not in ("group", "trials")},
         "trials": len(one.trials)}
        for one in found
    ]  # fmt: skip
    return _print(rows, options)
