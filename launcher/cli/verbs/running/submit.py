"""The verbs about jobs: ``submit``, ``status``, ``cancel`` and ``check``."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.cli.parser import new_parser, parsed, prints_a_table, takes_overrides
from launcher.errors import ConfigError, WorkError

if TYPE_CHECKING:
    from launcher.campaign.campaign import Loop


def submit(words: Sequence[str]) -> int:
    """Hand everything to SLURM and return, or say what would be handed over."""
    parser = new_parser("submit", "Hand a run or a sweep to SLURM and return at once: the same"
                             " as detach=true.")  # fmt: skip
    takes_overrides(parser)
    parser.add_argument("--dry-run", action="store_true",
                        help="print the batch scripts and commands, submit nothing")  # fmt: skip
    options = parsed(parser, words)

    from launcher.campaign import jobs, preflight, resume
    from launcher.campaign.campaign import Loop
    from launcher.cli import starting
    from launcher.cli.progress import Progress
    from launcher.request.compose import compose

    request = compose(options.overrides, options.multirun, options.config_dir)
    if request.scheduler.name != "slurm":
        raise ConfigError("scheduler.name: local has no queue; cluster=h100 and the like do")
    request = replace(request, detach=True)
    loop = Loop(request, Progress())
    if options.dry_run:
        left = list(loop.to_submit())
        for line in jobs.dry_run(preflight.slurm_setting(request), left):
            print(line)
        if not left:
            print(_nothing(loop))
        return 0
    given = resume.words(options)
    loop.run(starting.ready(loop), lambda: resume.keep(loop, given))
    return handed_over(loop)


def handed_over(loop: "Loop") -> int:
    """Say what SLURM has now, and what to do next."""
    if loop.request.curriculum:
        return _stage_handed_over(loop)
    print(f"{len(loop.running)} of {len(loop.points)} points are queued or running; then:\n"
          f"  launch status {shlex.quote(str(loop.folder))}")  # fmt: skip
    if loop.held_back:
        print(f"SLURM takes no more at once: the same command submits the other {loop.held_back}"
              " when some have ended")  # fmt: skip
    if loop.chooser.learns:
        print(f"{loop.chooser.learns} chooses the others by what these show: the same words without"
              " submit or detach go on")  # fmt: skip
    return 0


def _stage_handed_over(loop: "Loop") -> int:
    """The same of a curriculum, of which SLURM has one stage at a time."""
    from launcher.results.outcomes import advice

    folder, stages = shlex.quote(str(loop.folder)), list(loop.points)
    ended_badly = [found for found in loop.finished() if found.outcome != "ok"]
    if not loop.running and not ended_badly:
        print(f"all {len(stages)} stages are done")
        return 0
    for name in loop.running:
        print(f"{name} is queued or runs, {len(stages) - stages.index(name) - 1} stages to come:\n"
              f"  launch status {folder}\n"
              f"  launch resume {folder} detach=true   # hands over the next, once this is done\n"
              f"  launch resume {folder} detach=false  # waits, to the last one")  # fmt: skip
    for found in ended_badly:
        hint = advice(found.outcome, loop.request.time_limit)
        print(f"launch: {found.spec.name} {found.outcome}: {found.cause}; {hint}", file=sys.stderr)
    return WorkError.exit_code if ended_badly else 0


def _nothing(loop: "Loop") -> str:
    """Why there is nothing to submit."""
    if loop.request.curriculum:
        return (f"nothing to submit: all {len(loop.points)} stages are done, or come after one that"
                " is queued, runs or has failed")  # fmt: skip
    return f"nothing to submit: all {len(loop.points)} points are done, queued or rejected"


def status(words: Sequence[str]) -> int:
    """Say where each run stands."""
    description = """Where each run below a folder stands now: what SLURM says of its job, its last
    step, and how long it has been silent."""
    parser = new_parser("status", description)
    parser.add_argument("folder", metavar="DIR", help="of a sweep, of a run, or of many")
    prints_a_table(parser)
    options = parsed(parser, words)

    from launcher.campaign import jobs

    _print(jobs.status(Path(options.folder).expanduser()), options)
    return 0


def cancel(words: Sequence[str]) -> int:
    """End what SLURM runs or holds below a folder."""
    parser = new_parser("cancel", "End every job of SLURM's below a folder, queued or running,"
                             " and wait until it has ended.")  # fmt: skip
    parser.add_argument("folder", metavar="DIR", help="of a sweep, of a run, or of many")
    options = parsed(parser, words)

    from launcher.campaign import jobs

    ended = jobs.cancel(Path(options.folder).expanduser().resolve())
    names = f": {' '.join(ended)}" if ended else ": all had ended by themselves"
    print(f"ended {len(ended)} job{'' if len(ended) == 1 else 's'}{names}")
    return 0


def check(words: Sequence[str]) -> int:
    """Look at the nodes a run would have."""
    parser = new_parser("check", "Look at this machine, or at as many nodes of the cluster as"
                             " cluster.nodes says: cards, disks, clocks, versions, and an"
                             " all-reduce between all ranks. Nothing is trained.")  # fmt: skip
    takes_overrides(parser)
    prints_a_table(parser)
    options = parsed(parser, words)

    from launcher.cli.verbs.planning import check
    from launcher.request.compose import compose

    if options.multirun:
        raise ConfigError("--multirun: one set of nodes is checked at a time")
    rows, failed = check.check(compose(options.overrides, False, options.config_dir))
    _print(rows, options)
    if failed:
        print(f"launch: {failed}", file=sys.stderr)
    return WorkError.exit_code if failed else 0


def _print(rows: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    from analysis import table

    table.put(table.plain(rows, options.sort), options.format, options.output)
