"""``launch`` without a verb: train a run, a sweep or a curriculum, and print the table."""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli import completion
from launcher.cli.parser import (
    add_override_options,
    add_table_options,
    new_parser,
    parse,
    saved_command,
)
from launcher.cli.verb import Verb
from launcher.errors import RequestError

if TYPE_CHECKING:
    from launcher.campaign.campaign import Campaign


def run(words: Sequence[str]) -> int:
    """Train a run or a sweep, and print the table."""
    description = "Find the fastest layout of a pretraining run."
    parser = new_parser("", description)
    parser.shows_verbs = True
    add_override_options(parser)
    add_table_options(parser, of_records=True)
    parser.add_argument(
        completion.OPTION,
        choices=completion.SHELLS,
        metavar="SHELL",
        help="print the script that completes commands in bash, zsh or fish",
    )
    options = parse(parser, words)
    if options.completion:  # `launcher.cli` answers what begins with it
        raise RequestError(f"{completion.OPTION}: stands alone with its shell")

    from launcher.campaign.campaign import Campaign
    from launcher.campaign.plan import Plan
    from launcher.cli.progress import Progress

    campaign = Campaign(Plan.of_command(saved_command(options)), Progress())
    return run_to_the_end(campaign, words, options)


def run_to_the_end(campaign: "Campaign", words: Sequence[str], options: argparse.Namespace) -> int:
    """Run the open points, and print the table. Return the exit code.

    ``words`` are printed after an interrupt: the command that continues it.
    """
    from launcher.cli import starting
    from launcher.cli.verbs.running.submit import handed_over

    scheduler = starting.ready(campaign)
    try:
        with campaign.observer:
            records = campaign.run(scheduler)
    except KeyboardInterrupt:
        _print_stopped(campaign, words)
        return 1
    if campaign.plan.request.detach:
        return handed_over(campaign, options.format, options.output)
    from analysis import table

    plan = campaign.plan
    rows = table.frame(records, options.sort, plan.request.points.goal, plan.folder)
    table.put(rows, options.format, options.output, every_row=options.all)
    _advise(campaign)
    _offer_best(campaign)
    return 0 if campaign.succeeded else 1


def _advise(campaign: "Campaign") -> None:
    """Print advice on each kind of failure, with the folder of a run that shows it."""
    from launcher.results.outcomes import NEVER_RAN, advice

    plan = campaign.plan
    failures = {
        record.outcome: record
        for record in campaign.ordered_records()
        if record.outcome not in ("ok", *NEVER_RAN)
    }
    for outcome, record in failures.items():
        folder = plan.folder.run(record.spec.name)
        status = folder.readable_status()
        text = advice(outcome, status.time_limit if status else None)
        print(f"launch: {outcome}: {text} (see {folder.logs})", file=sys.stderr)
    if campaign.stop_reason:
        points_left = f"{len(plan.points) - len(campaign.records)} {plan.request.unit}s left"
        print(f"launch: stopped, {points_left}: {campaign.stop_reason}", file=sys.stderr)


def _offer_best(campaign: "Campaign") -> None:
    """Write the fastest run of a sweep as a file, and print the command of the real run."""
    import analysis
    from launcher.errors import ConfigError, WorkError
    from launcher.files import write_text
    from launcher.request.request import Request
    from launcher.results.columns import SPEED

    folder, records = campaign.plan.folder, campaign.ordered_records()
    goal = campaign.plan.request.points.goal
    if campaign.plan.request.sweep is None or all(record.outcome != "ok" for record in records):
        return
    try:
        write_text(folder.best, analysis.load(folder.path).best_config(goal))
    except (ConfigError, WorkError) as error:
        print(f"launch: no file of the best run: {error}", file=sys.stderr)
        return
    here, output = Path.cwd(), campaign.plan.request.root
    file = folder.best.relative_to(here) if folder.best.is_relative_to(here) else folder.best
    command = f"launch --config {shlex.quote(str(file))} train.steps=N checkpoint_every=N"
    default = next(f.default for f in dataclasses.fields(Request) if f.name == "output")
    if output != here / str(default):
        command += f" {shlex.quote(f'output={output}')}"
    best = "the fastest layout" if goal == SPEED else f"the best {goal}"
    print(f"the real run, at {best} (*): {command}", file=sys.stderr)


def _print_stopped(campaign: "Campaign", words: Sequence[str]) -> None:
    plan = campaign.plan
    recorded, points = len(campaign.records), f"{len(plan.points)} {plan.request.unit}s"
    queued = ""
    if plan.request.scheduler_class.queues and campaign.running:
        folder = shlex.quote(str(plan.folder.path))
        queued = f"; {len(campaign.running)} stay with SLURM (launch cancel {folder} ends them)"
    command = shlex.join(["launch", *words])
    print(
        f"launch: stopped with {recorded} of {points} done{queued}; to go on:\n  {command}",
        file=sys.stderr,
    )


VERB = Verb(
    name="",
    usage="[KEY=VALUE ...]",
    summary="one run; with sweep=NAME a sweep, with curriculum=NAME a run in stages."
    " The same command continues it",
    run=run,
)
