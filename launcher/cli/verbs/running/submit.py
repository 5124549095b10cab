"""``launch submit``: hand a run or a sweep to a batch system, and return."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.cli.parser import (
    DATA_FORMATS,
    add_format_option,
    add_override_options,
    new_parser,
    parse,
    saved_command,
)
from launcher.cli.verb import Verb
from launcher.cli.verbs.running.status import print_states
from launcher.errors import ConfigError, RequestError, WorkError

if TYPE_CHECKING:
    from launcher.campaign.campaign import Campaign
    from launcher.results.record import RunRecord

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
    add_format_option(parser)
    options = parse(parser, words)
    if options.dry_run and options.format == "json":
        raise RequestError("--format: --dry-run prints batch scripts, which are no JSON")

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
    return handed_over(campaign, options.format)


def handed_over(campaign: "Campaign", form: str, output: str | None = None) -> int:
    """Print the jobs that SLURM has now, and the commands to continue. Return the exit code.

    Where data is asked for it is that of ``launch status``, and the commands go to stderr.

    Args:
        campaign: what was submitted.
        form: a format of ``--format``.
        output: file for the data; None is stdout.
    """
    staged = bool(campaign.plan.request.curriculum)
    as_data = form in DATA_FORMATS
    for line in _stages_left(campaign) if staged else _points_left(campaign):
        print(line, file=sys.stderr if as_data else sys.stdout)
    if as_data:
        from launcher.campaign import jobs
        from launcher.results import find

        folder = campaign.plan.folder.path
        print_states(jobs.status(folder) if find.runs(folder) else [], form, output)
    return _print_failed_stages(campaign) if staged else 0


def _points_left(campaign: "Campaign") -> Iterator[str]:
    plan = campaign.plan
    yield f"{len(campaign.running)} of {len(plan.points)} points are queued or running; then:"
    yield f"  launch status {shlex.quote(str(plan.folder.path))}"
    if campaign.held_back:
        yield (
            "SLURM takes no more at once: the same command submits the other"
            f" {campaign.held_back} when some have ended"
        )
    if campaign.chooser.learns:
        yield (
            f"{campaign.chooser.learns} chooses the others by what these show: the same words"
            " without submit or detach go on"
        )


def _stages_left(campaign: "Campaign") -> Iterator[str]:
    """Lines about a curriculum, of which SLURM has one stage at a time."""
    folder = shlex.quote(str(campaign.plan.folder.path))
    stages = list(campaign.plan.points)
    if not campaign.running and not _failed_stages(campaign):
        yield f"all {len(stages)} stages are done"
    for name in campaign.running:
        to_come = len(stages) - stages.index(name) - 1
        yield f"{name} is queued or runs, {to_come} stages to come:"
        yield f"  launch status {folder}"
        yield f"  launch resume {folder} detach=true   # hands over the next, once this is done"
        yield f"  launch resume {folder} detach=false  # waits, to the last one"


def _failed_stages(campaign: "Campaign") -> "list[RunRecord]":
    return [record for record in campaign.ordered_records() if record.outcome != "ok"]


def _print_failed_stages(campaign: "Campaign") -> int:
    """Print what to do about failed stages. Return the exit code."""
    from launcher.results.outcomes import advice

    failures = _failed_stages(campaign)
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
