"""``launch submit``: hand a run or a sweep to a batch system, and return."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.cli.parser import add_override_options, new_parser, parse, saved_command
from launcher.cli.verb import Verb
from launcher.errors import ConfigError, WorkError

if TYPE_CHECKING:
    from launcher.campaign.campaign import Campaign

DESCRIPTION = "Hand a run or a sweep to SLURM and return at once: the same as detach=true."


def submit(words: Sequence[str]) -> int:
    """Hand everything to SLURM and return; with ``--dry-run`` print the batch scripts."""
    parser = new_parser("submit", DESCRIPTION)
    add_override_options(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the batch scripts and commands, submit nothing",
    )
    options = parse(parser, words)

    from launcher.campaign import jobs, preflight
    from launcher.campaign.campaign import Campaign
    from launcher.campaign.plan import Plan
    from launcher.cli import starting
    from launcher.cli.progress import Progress
    from launcher.request.compose import compose

    command = saved_command(options)
    request = compose(command.overrides, command.multirun, command.config_dir)
    if not request.scheduler_class.queues:
        raise ConfigError(
            f"scheduler.name: {request.scheduler.name} has no queue; cluster=h100 and the like do"
        )
    campaign = Campaign(Plan.of_request(replace(request, detach=True), command), Progress())
    if options.dry_run:
        new_jobs = list(campaign.to_submit())
        for line in jobs.dry_run(preflight.setting(campaign.plan.request), new_jobs):
            print(line)
        if not new_jobs:
            print(_nothing_to_submit(campaign))
        return 0
    campaign.run(starting.ready(campaign))
    return handed_over(campaign)


def handed_over(campaign: "Campaign") -> int:
    """Print the jobs that SLURM has now, and the commands to continue. Return the exit code."""
    plan = campaign.plan
    if plan.request.curriculum:
        return _stage_handed_over(campaign)
    print(
        f"{len(campaign.running)} of {len(plan.points)} points are queued or running; then:\n"
        f"  launch status {shlex.quote(str(plan.folder.path))}"
    )
    if campaign.held_back:
        print(
            "SLURM takes no more at once: the same command submits the other"
            f" {campaign.held_back} when some have ended"
        )
    if campaign.chooser.learns:
        print(
            f"{campaign.chooser.learns} chooses the others by what these show: the same words"
            " without submit or detach go on"
        )
    return 0


def _stage_handed_over(campaign: "Campaign") -> int:
    """Do the work of `handed_over` for a curriculum: SLURM has one stage at a time."""
    from launcher.results.outcomes import advice

    folder = shlex.quote(str(campaign.plan.folder.path))
    stages = list(campaign.plan.points)
    failures = [record for record in campaign.ordered_records() if record.outcome != "ok"]
    if not campaign.running and not failures:
        print(f"all {len(stages)} stages are done")
        return 0
    for name in campaign.running:
        to_come = len(stages) - stages.index(name) - 1
        print(
            f"{name} is queued or runs, {to_come} stages to come:\n"
            f"  launch status {folder}\n"
            f"  launch resume {folder} detach=true   # hands over the next, once this is done\n"
            f"  launch resume {folder} detach=false  # waits, to the last one"
        )
    for record in failures:
        hint = advice(record.outcome, campaign.plan.request.time_limit)
        message = f"{record.spec.name} {record.outcome}: {record.cause}; {hint}"
        print(f"launch: {message}", file=sys.stderr)
    return WorkError.exit_code if failures else 0


def _nothing_to_submit(campaign: "Campaign") -> str:
    plan = campaign.plan
    if plan.request.curriculum:
        return (
            f"nothing to submit: all {len(plan.points)} stages are done, or come after one that"
            " is queued, runs or has failed"
        )
    return f"nothing to submit: all {len(plan.points)} points are done, queued or rejected"


VERB = Verb(
    name="submit",
    usage="[KEY=VALUE ...]",
    summary="hand it to SLURM and return; --dry-run prints the batch scripts",
    run=submit,
)
