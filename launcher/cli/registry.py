"""The verbs of ``launch``: each parses its own words and returns an exit code.

Imports of what a verb needs are inside it, so that ``--help`` does not wait for Hydra or pandas.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli.parser import new_parser, parsed, prints_a_table, takes_overrides
from launcher.cli.verbs.planning import plan
from launcher.cli.verbs.results.best import best
from launcher.cli.verbs.results.import_runs import foreign_runs
from launcher.cli.verbs.results.report import report
from launcher.cli.verbs.results.sample import sample
from launcher.cli.verbs.results.spikes import spikes
from launcher.cli.verbs.running import submit
from launcher.cli.verbs.running.top import top

if TYPE_CHECKING:
    from launcher.campaign import resume
    from launcher.campaign.campaign import Loop
    from launcher.cli.verbs.results.sync import Kept
    from launcher.results.record import RunRecord

_EXAMPLES = """\
verbs (launch VERB --help says more):
  launch [KEY=VALUE ...]        one run; with sweep=NAME a sweep, with curriculum=NAME a run in
                                stages. The same command continues it
  launch resume DIR [KEY=VALUE] continue what is in a folder, at another layout too
  launch plan [KEY=VALUE ...]   every point before anything runs, and why some are rejected
  launch plan --runs FILE.csv   the same for the rows of a sheet of your own
  launch replay FILE.csv        what a strategy would have done with measured rows
  launch submit [KEY=VALUE ...] hand it to SLURM and return; --dry-run prints the batch scripts
  launch status DIR             where each run below a folder stands now
  launch top DIR                the same as a live view; q quits, the jobs go on
  launch cancel DIR             end the jobs of SLURM's below a folder
  launch check [KEY=VALUE ...]  look at this machine, or at nodes of a cluster; train nothing
  launch table DIR              the table of what has run below a folder
  launch report DIR...          one HTML file with the charts and the table of all that
  launch best DIR               the fastest run there, as a file for launch --config
  launch spikes FILE.csv|DIR    spikes of losses that were logged anywhere
  launch sample DIR             texts from a run's checkpoints; --prompt TEXT makes one now
  launch import LOG...          logs and sheets of runs that something else trained
  launch sync DIR               upload the W&B runs that were kept in their folders

examples:
  launch sweep=parallelism_grid
  launch curriculum=four_stage
  launch sweep=parallelism_grid layout.pp=2 'sweep.axes.layout.tp=[1,4]'
  launch -m layout.tp=1,2 layout.zero=0,1
  launch plan sweep=parallelism_grid model=llama_13b cluster=h100 cluster.nodes=3

keys: model, layout, cluster, train, data, sweep and curriculum take the name of a file below conf/
(or --config-dir); their fields follow a dot. Of this command itself: output, name, cache, parallel,
time_limit, hang_after, max_attempts, retry, backend, checkpoint_every, checkpoints, sampling,
tracking, constants, price_per_gpu_hour.
exit code: 0, 1 the work failed, 2 the request was wrong.
"""


_RESUME = """Continue what a folder holds from its newest checkpoint that verifies, by the words it
was started with. Others may follow: layout, nodes and engine may change from one job to the next,
and so may stages of a curriculum that have not begun."""


def run(words: Sequence[str]) -> int:
    """Train a run or a sweep, and print the table."""
    parser = new_parser("", "Find the fastest layout of a pretraining run.", _EXAMPLES)
    takes_overrides(parser)
    prints_a_table(parser)
    options = parsed(parser, words)

    from launcher.campaign import resume
    from launcher.campaign.campaign import Loop
    from launcher.cli.progress import Progress
    from launcher.request.compose import compose

    request = compose(options.overrides, options.multirun, options.config_dir)
    return _go(Loop(request, Progress()), resume.words(options), words, options)


def go_on(words: Sequence[str]) -> int:
    """Continue what a folder holds."""
    parser = new_parser("resume", _RESUME)
    parser.add_argument("folder", metavar="DIR", help="of a curriculum, of a sweep, or of a run")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="what is to be another")
    prints_a_table(parser)
    options = parsed(parser, words)

    from launcher.campaign import resume
    from launcher.cli.progress import Progress

    path = Path(options.folder).expanduser().resolve()
    loop, given = resume.resumed(path, options.overrides, Progress())
    return _go(loop, given, ["resume", *words], options)


def _go(
    loop: "Loop", given: "resume.Words", words: Sequence[str], options: argparse.Namespace
) -> int:
    """Run what is left, and print the table."""
    from launcher.campaign import resume
    from launcher.cli import starting

    scheduler = starting.ready(loop)
    try:
        with loop.watch:
            records = loop.run(scheduler, lambda: resume.keep(loop, given))
    except KeyboardInterrupt:
        return _stopped(loop, words)
    if loop.request.detach:
        return submit.handed_over(loop)
    _print(records, options)
    _advise(loop)
    well = [found.outcome == "ok" for found in records]
    every = loop.request.curriculum is not None
    done = len(well) == len(loop.points) and all(well) if every else any(well)
    return 0 if done and not loop.stop_reason else 1


def show_table(words: Sequence[str]) -> int:
    """Print what has run."""
    parser = new_parser("table", "The table of the runs below a folder: one row per point, failures"
                     " and rejections with their cause.")  # fmt: skip
    parser.add_argument("folders", metavar="DIR", nargs="+",
                        help="of a sweep, of a run, or of many")  # fmt: skip
    prints_a_table(parser)
    parser.add_argument("--wandb", metavar="PROJECT", help="log it as a table of W&B besides")
    options = parsed(parser, words)

    import analysis
    from analysis import table

    runs = analysis.load(*options.folders)
    for note in runs.notes:
        print(f"launch: {note}", file=sys.stderr)
    rows = runs.table(options.sort)
    table.put(rows, options.format, options.output)
    if options.wandb is None:
        return 0

    from launcher.cli.verbs.results import sync as uploads

    uploads.log_table(table.render(rows, "json"), Path(options.folders[0]), options.wandb)
    return 0


def sync(words: Sequence[str]) -> int:
    """Upload what W&B kept offline."""
    parser = new_parser("sync", "Upload the W&B runs that were kept in their folders, one line"
                        " each. What is uploaded is not uploaded again.")  # fmt: skip
    parser.add_argument("folder", metavar="DIR", help="of a run, of a sweep, or of many")
    parser.add_argument("--dry-run", action="store_true", help="only list them")
    options = parsed(parser, words)

    from launcher.cli.verbs.results import sync as uploads

    path = Path(options.folder).expanduser()
    runs = uploads.kept(path)
    if not runs:
        print("nothing to upload")
        return 0
    if not options.dry_run:
        uploads.check()
    return max([_sync(run, str(run.folder.relative_to(path)), options.dry_run) for run in runs])


VERBS: dict[str, Callable[[Sequence[str]], int]] = {
    "plan": plan.plan,
    "replay": plan.replay,
    "submit": submit.submit,
    "status": submit.status,
    "cancel": submit.cancel,
    "check": submit.check,
    "resume": go_on,
    "table": show_table,
    "report": report,
    "best": best,
    "spikes": spikes,
    "sample": sample,
    "import": foreign_runs,
    "sync": sync,
    "top": top,
}


def _sync(run: "Kept", name: str, dry_run: bool) -> int:
    from launcher.cli.verbs.results import sync as uploads

    if run.busy:
        print(f"running   {name}", flush=True)
        return 0
    if dry_run:
        print(f"to upload {name}")
        return 0
    reason = uploads.upload(run)
    print(f"failed    {name}: {reason}" if reason else f"uploaded  {name}", flush=True)
    return 1 if reason else 0


def _print(records: "Sequence[RunRecord]", options: argparse.Namespace) -> None:
    from analysis import table

    table.put(table.frame(records, options.sort), options.format, options.output)


def _advise(loop: "Loop") -> None:
    """What to do about each kind of failure, with the folder of one that shows it."""
    from launcher.results.outcomes import advice
    from launcher.results.record import NEVER_RAN
    from launcher.results.run_folder import RunFolder

    failed = {r.outcome: r for r in loop.finished() if r.outcome not in ("ok", *NEVER_RAN)}
    for outcome, found in failed.items():
        folder = RunFolder(loop.folder / found.spec.name)
        status = folder.readable_status()
        text = advice(outcome, status.time_limit if status else None)
        print(f"launch: {outcome}: {text} (see {folder.logs})", file=sys.stderr)
    if loop.stop_reason:
        left = len(loop.points) - len(loop.records)
        print(
            f"launch: stopped, {left} {loop.request.unit}s left: {loop.stop_reason}",
            file=sys.stderr,
        )


def _stopped(loop: "Loop", words: Sequence[str]) -> int:
    done, points = len(loop.records), f"{len(loop.points)} {loop.request.unit}s"
    left = ""
    if loop.request.scheduler.name == "slurm" and loop.running:
        folder = shlex.quote(str(loop.folder))
        left = f"; {len(loop.running)} stay with SLURM (launch cancel {folder} ends them)"
    print(f"launch: stopped with {done} of {points} done{left}; to go on:\n"
          f"  {shlex.join(['launch', *words])}", file=sys.stderr)  # fmt: skip
    return 1
