"""``launch plan``: the table of all points before anything runs."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.cli.output import print_rows
from launcher.cli.parser import (
    DATA_FORMATS,
    add_override_options,
    add_table_options,
    new_parser,
    parse,
    saved_command,
)
from launcher.cli.verb import Verb
from launcher.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from launcher.campaign.campaign import Campaign

DESCRIPTION = """Every point of a run or a sweep before anything runs: predicted memory, speed,
days, GPU hours and price, what is rejected, what is not worth a trial, and why. Best first."""


def plan(words: Sequence[str]) -> int:
    """Print the points that would run, and their cost."""
    parser = new_parser("plan", DESCRIPTION)
    add_override_options(parser)
    add_table_options(parser, of_points=True)
    parser.add_argument("--explain", metavar="ROW", type=int, help="the terms of one row")
    parser.add_argument(
        "--runs", metavar="FILE.csv", help="predict for the rows of a sheet, .csv or .xlsx"
    )
    parser.add_argument(
        "--fit",
        metavar="FILE.csv",
        help="fit the planner's constants to measured rows, of a sheet or of a sweep's"
        " records.jsonl, and print the errors on sources left out; -o writes the constants",
    )
    options = parse(parser, words)
    if options.runs and options.fit:
        raise RequestError("--runs and --fit: one at a time")
    if options.runs or options.fit:
        _refuse_keys(options)
    if options.fit:
        _fit(options)
    elif options.runs:
        _predict_sheet(options)
    else:
        _plan_request(options)
    return 0


def _plan_request(options: argparse.Namespace) -> None:
    """Print the points of a request, the stages of a curriculum, or the terms of one row."""
    from launcher.campaign import stage_plan
    from launcher.campaign.campaign import Campaign
    from launcher.campaign.plan import Plan
    from launcher.cli import starting

    campaign = Campaign(Plan.of_command(saved_command(options)))
    if options.explain is not None:
        print_rows(_terms(campaign, options.explain), options)
        return
    starting.warn(campaign.plan)
    planned = campaign.planned()
    if campaign.plan.request.curriculum:
        stage_plan.check(campaign.plan, planned)
        if message := stage_plan.too_little_disk(campaign.plan):
            print(f"launch: warning: {message}", file=sys.stderr)
        stages = [*stage_plan.rows(campaign.plan, planned)]
        for_people = options.format not in DATA_FORMATS
        print_rows(stage_plan.readable(stages) if for_people else stages, options)
        return

    from analysis import plan as plans
    from analysis import table
    from launcher.results.columns import SPEED

    rows, goal = plans.frame(planned, options.sort), campaign.plan.request.points.goal
    rows.attrs["goal"] = goal
    table.put(rows, options.format, options.output, every_row=options.all)
    to_run = rows[rows["plan"] == "run"]
    too_large = int((to_run["pred_oom_prob"].astype(float) > LIKELY).sum())
    if too_large:
        print(
            f"launch: warning: {too_large} of the {len(to_run)} points to run will probably be out"
            f" of memory (pred_oom_prob above {LIKELY:g})",
            file=sys.stderr,
        )
    if len(to_run) > too_large and goal == SPEED and options.sort is None:
        _print_words(campaign, int(rows["row"].iloc[0]), options)


LIKELY = 0.5
"""Chance of running out of memory above which a plan warns of a point."""


def _print_words(campaign: "Campaign", row: int, options: argparse.Namespace) -> None:
    """Print the command that runs one row of a sweep by itself."""
    from sweeps import choices

    sweep, words = campaign.plan.request.sweep, options.overrides
    if sweep is None or options.multirun:
        return
    chosen = choices(sweep, [*campaign.plan.points.values()][row - 1])
    if chosen is not None:
        replaced = {"sweep", *(word.partition("=")[0] for word in chosen)}
        unswept = [word for word in words if _key(word) not in replaced]
        command = shlex.join(["launch", *unswept, *chosen])
        print(f"row {row} alone: {command}", file=sys.stderr)


def _key(word: str) -> str:
    """Return the key of an override; of one below the sweep, ``sweep``."""
    key = word.lstrip("+~").partition("=")[0]
    return "sweep" if key.startswith("sweep.") else key


def _terms(campaign: "Campaign", row: int) -> list[dict[str, Any]]:
    """Return the terms of a row. Raises ConfigError for no such row, or a rejected one."""
    from launcher.backends import engine_traits
    from launcher.planner import explain
    from launcher.planner.points import Points

    specs = list(campaign.plan.points.values())
    if not 1 <= row <= len(specs):
        raise ConfigError(f"--explain {row}: the rows are 1 to {len(specs)}")
    spec = specs[row - 1]
    if spec.name in campaign.plan.refusals:
        raise ConfigError(f"--explain {row}: it is rejected: {campaign.plan.refusals[spec.name]}")
    points = Points.from_specs([spec], engine_traits)
    return [*explain.terms(points, campaign.plan.grid.constants)]


def _refuse_keys(options: argparse.Namespace) -> None:
    """Raise RequestError for overrides beside a sheet, which has all values but the constants."""
    option = "--runs" if options.runs else "--fit"
    for word in options.overrides:
        if options.fit or not word.startswith("constants="):
            raise RequestError(f"{word}: has no meaning beside {option}, whose sheet says it all")
    output = options.output and Path(options.output).resolve()
    if output and output == Path(options.runs or options.fit).expanduser().resolve():
        raise RequestError(f"--output: {options.output} is the sheet itself")


def _predict_sheet(options: argparse.Namespace) -> None:
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
        if refusal := sheet.refusals[options.explain - 1]:
            raise ConfigError(f"--explain {options.explain}: it has no prediction: {refusal}")
        points = sheet.points[[options.explain - 1]]
        print_rows([*explain.terms(points, constants)], options)
        return
    for line in predictions.mistyped(sheet):
        print(f"launch: {line}", file=sys.stderr)
    rows = predictions.predicted(sheet, constants)
    if options.format != "table":
        if unread := predictions.not_read(sheet):
            print(f"launch: not read: {', '.join(unread)}", file=sys.stderr)
        print_rows(rows, options)
        return

    from analysis import table

    brief = [row | cells for row, cells in zip(rows, predictions.brief(sheet, rows), strict=True)]
    titles = {name: title for name, title in predictions.BRIEF.items() if name in brief[0]}
    notes = predictions.shared_notes(sheet)
    table.put(table.narrow(brief, titles, notes, options.sort), "table", options.output)


def _fit(options: argparse.Namespace) -> None:
    from analysis import table
    from launcher.backends import engine_traits
    from launcher.files import write_json
    from launcher.planner.constants import constants_of
    from launcher.sheets import fit, predictions, records

    path = Path(options.fit).expanduser()
    if path.suffix in records.ENDINGS:
        # A few runs of one's own do not undo what the published ones have told.
        measured, start = records.read(path, engine_traits), constants_of(None)
    else:
        measured, start = predictions.read(path), fit.DEFAULTS
    constants, rows = predictions.fitted(measured, path, start)
    for name, gap in fit.gaps(measured).items():
        print(f"launch: --fit: {gap}: the constants of {name} stay as they are", file=sys.stderr)
    form = options.format if options.format_is_stated else "table"  # -o is of the constants
    table.put(table.plain(rows, options.sort), form, None)
    if options.output:
        write_json(Path(options.output), asdict(constants))


VERB = Verb(
    name="plan",
    usage="[KEY=VALUE ...]",
    summary="every point before anything runs, and why some are rejected",
    more=(("--runs FILE.csv", "the same for the rows of a sheet of your own"),),
    run=plan,
)
