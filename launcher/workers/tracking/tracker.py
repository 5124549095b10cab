"""A process beside rank 0 that follows the run's metrics to Weights & Biases and TensorBoard.

``python -P -m launcher.workers.tracking.tracker --folder RUN --rank PID``. Training never waits
for it but for `WAIT_SECONDS` at its end; what goes wrong here is a line in ``log/tracking.txt``.
"""

import argparse
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from launcher.decode import encode
from launcher.errors import LaunchError
from launcher.results import metrics, tracking
from launcher.results.metrics import Brief
from launcher.results.run_folder import RunFolder
from launcher.results.summary import measured
from launcher.results.tracking import Tracked
from launcher.workers.tracking import samples
from launcher.workers.tracking.follow import POLL_SECONDS, follow
from launcher.workers.tracking.samples import News

WAIT_SECONDS = 5.0
"""What rank 0 waits for the tracker at the most, once the run's result is written."""
ENDING_SECONDS = 30.0
"""From the end of the rank to the end of its tracker at the latest: an upload may hang."""
INIT_SECONDS = 10
"""What wandb may take to start a run online."""
CPU_SECONDS = 10.0
"""Ranks on CPU cores have these seconds of training for themselves, or a short trial would measure
how wandb is imported."""
STEP = "train/step"
"""In W&B what all this is drawn over: its own step, which never falls, goes on over a rollback."""

SHOWN = {
    "loss": "train/loss",
    "grad_norm": "train/grad_norm",
    "lr": "train/lr",
    "tokens": "train/tokens",
    "step_ms": "speed/step_ms",
    "tokens_per_s": "speed/tokens_per_s",
    "tflops_per_gpu": "speed/tflops_per_gpu",
    "mem_min_gib": "memory/min_gib",
    "mem_max_gib": "memory/max_gib",
    "mem_allocated_max_gib": "memory/allocated_max_gib",
    "power_min_w": "power/min_w",
    "power_max_w": "power/max_w",
}
"""A key of metrics.jsonl -> what it is called; the part before the slash groups the charts."""


def start(folder: RunFolder) -> "subprocess.Popen[bytes] | None":
    """Start the tracker of a run; None where there is nothing to track, or it cannot be."""
    try:
        tracked = tracking.read(folder)
        if tracked is None or (tracked.mode == "off" and not tracked.tensorboard):
            return None
        words = [sys.executable, "-P", "-m", "launcher.workers.tracking.tracker"]
        words += ["--folder", str(folder.path), "--rank", str(os.getpid())]
        words += ["--known", str(samples.newest(folder))]
        with (folder.logs / "tracking.txt").open("wb") as log:
            # A session of its own, or it would be killed with the rank before it is done.
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            )  # fmt: skip
    except (OSError, LaunchError) as error:
        print(f"tracking: {error}", file=sys.stderr)
        return None


def wait(tracker: "subprocess.Popen[bytes] | None") -> None:
    """Give a tracker time to end where a batch system ends it with the last rank."""
    if tracker is None or "SLURM_JOB_ID" not in os.environ:
        return
    try:
        tracker.wait(WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"tracking: not done within {WAIT_SECONDS:g} s", file=sys.stderr)


def main() -> None:
    """Follow until the run is over and all of it has been passed on."""
    options = _options()
    _be_nice()
    for sign in (signal.SIGTERM, signal.SIGINT):  # for the ranks; this one ends after them
        signal.signal(sign, signal.SIG_IGN)
    threading.excepthook = _say
    # tensorboardX would import it, which takes longer than all the rest together.
    sys.modules["torch"] = None  # type: ignore[assignment]
    folder = RunFolder(options.folder)
    tracked = tracking.read(folder)
    assert tracked is not None

    def over() -> bool:
        return os.getppid() != options.rank or (folder.path / "result.json").exists()

    threads = [
        threading.Thread(
            name=name,
            target=to,
            args=(tracked, folder, over, News(folder, options.known)),
            daemon=True,
        )
        for name, to, wanted in (
            ("tensorboard", _to_tensorboard, tracked.tensorboard),
            ("wandb", _to_wandb, tracked.mode != "off"),
        )
        if wanted
    ]
    if folder.spec().cluster.accelerator.name == "cpu":
        _stand_back(over)
    for thread in threads:
        thread.start()
    _join(threads, over)
    shutil.rmtree(_temporary(folder), ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)  # a thread may hang, and so may what wandb does at exit


def _be_nice() -> None:
    """Take only what the ranks leave of the cores, so that what they measure is theirs."""
    os.nice(19)
    with suppress(OSError):  # Linux may share the cores among sessions first: nice is within one
        Path("/proc/self/autogroup").write_text("19", encoding="ascii")


def _stand_back(over: Callable[[], bool]) -> None:
    until = time.monotonic() + CPU_SECONDS
    while time.monotonic() < until and not over():
        time.sleep(POLL_SECONDS)


def _join(threads: list[threading.Thread], over: Callable[[], bool]) -> None:
    """Wait for the threads, after the end of the run for `ENDING_SECONDS` at the most."""
    last = float("inf")
    while alive := [thread for thread in threads if thread.is_alive()]:
        alive[0].join(POLL_SECONDS)
        if over():
            last = min(last, time.monotonic() + ENDING_SECONDS)
        if time.monotonic() > last:
            print(*(thread.name for thread in alive), f"not done within {ENDING_SECONDS:g} s")
            return


def _shown(line: dict[str, Any]) -> dict[str, float]:
    return {name: line[key] for key, name in SHOWN.items() if line.get(key) is not None}


def _to_tensorboard(
    tracked: Tracked, folder: RunFolder, over: Callable[[], bool], news: News
) -> None:
    try:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
    except ImportError:
        print("tensorboard: tensorboardX is not installed: pip install 'megalaunch[train]'")
        return
    path = folder.path / "tensorboard"
    path.mkdir(exist_ok=True)
    writer, last = EventsWriter(str(path / "events"), f".{os.getpid()}"), math.inf

    def write(step: int, summary: Any) -> None:
        writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    for line in follow(folder, over):
        if line["step"] <= last:  # TensorBoard forgets what it has of this step and later, from an
            # earlier attempt or from before a rollback
            log = SessionLog(status=SessionLog.START)
            writer.write_event(Event(wall_time=time.time(), step=line["step"], session_log=log))
        last = line["step"]
        values = [Summary.Value(tag=tag, simple_value=v) for tag, v in _shown(line).items()]
        write(line["step"], Summary(value=values))
        for one in news.taken():
            write(one.step, samples.summary(one))
        writer.flush()
    for one in news.taken():
        write(one.step, samples.summary(one))
    writer.close()


def _to_wandb(tracked: Tracked, folder: RunFolder, over: Callable[[], bool], news: News) -> None:
    os.environ["WANDB_SILENT"] = "true"
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers, with local variables
    _temporary(folder).mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(_temporary(folder))  # two folders of each run would stay there
    try:
        import wandb
    except ImportError:
        if tracked.wandb != "auto":
            print("wandb: not installed: pip install 'megalaunch[train]'")
        return
    with FileLock(folder.path / "wandb" / ".lock"):  # `launch sync` leaves what is written alone
        run = _begun(wandb, tracked, folder)
        _log(wandb, run, folder, over, news)
        run.summary.update(_figures(folder))
        run.finish(exit_code=0 if (folder.path / "result.json").exists() else 1)
        if not run.offline:  # wandb's own mark, without which `launch sync` uploads it again
            Path(run.settings.sync_file).with_suffix(".wandb.synced").touch()


def _log(wandb: Any, run: Any, folder: RunFolder, over: Callable[[], bool], news: News) -> None:
    """All lines, each by a step of W&B's own: it refuses one that it has, or that is before."""
    samples.define(run)
    for name in SHOWN.values():
        run.define_metric(name, step_metric=STEP)
    # Steps that an earlier attempt has logged twice; those of its last ones that come once more are
    # the same, and may be refused.
    lost, last, at = sum(event.get("steps_lost", 0) for event in folder.events()), 0, 0
    for line in follow(folder, over):
        lost, last = lost + max(0, last + 1 - line["step"]), line["step"]
        at = last + lost
        run.log({STEP: last} | _shown(line), step=at)
        for one in news.taken():  # of a step before, which wandb takes no more
            run.log(samples.logged(wandb, one), step=at)
    for one in news.taken():
        run.log(samples.logged(wandb, one), step=at)


def _temporary(folder: RunFolder) -> Path:
    return folder.path / "wandb" / ".tmp"


def _begun(wandb: Any, tracked: Tracked, folder: RunFolder) -> Any:
    """The W&B run: offline where the server cannot be reached, or refuses."""
    url = tracking.server()
    online = tracked.mode == "online" or (
        tracked.mode == "auto" and tracking.has_key(url) and tracking.answers(url)
    )
    if online:
        earlier = set(folder.path.glob("wandb/run-*"))
        try:
            return _init(wandb, tracked, folder, "online")
        except (wandb.errors.Error, OSError) as error:
            print("wandb: offline:", textwrap.shorten(str(error), 300))
        wandb.teardown()  # which else holds on to the run's id
        for path in set(folder.path.glob("wandb/run-*")) - earlier:
            shutil.rmtree(path)  # nothing is in it, and `launch sync` would upload that
    return _init(wandb, tracked, folder, "offline")


def _init(wandb: Any, tracked: Tracked, folder: RunFolder, mode: str) -> Any:
    os.environ["WANDB_MODE"] = mode  # what it was has been heeded, and may be no word of wandb's
    told = settings(wandb)
    return wandb.init(
        mode=mode, dir=str(folder.path), project=tracked.project, entity=tracked.entity,
        group=tracked.group, name=tracked.name, id=tracked.id, tags=tracked.tags,
        config=tracked.config, resume="allow", settings=told,
    )  # fmt: skip


def settings(wandb: Any) -> Any:
    """What W&B is told of a run, and what it is not."""
    return wandb.Settings(
        # No output, no code, no git, and nothing of the machine but its name.
        console="off", disable_code=True, disable_git=True, disable_job_creation=True,
        save_code=False, x_disable_meta=True, x_disable_machine_info=True, x_disable_stats=True,
        x_save_requirements=False, silent=True, init_timeout=INIT_SECONDS,
        # A run that is killed has lost that many seconds at the most.
        x_transaction_log_flush_interval=2,
    )  # fmt: skip


def _figures(folder: RunFolder) -> dict[str, Any]:
    """The figures of the table, for the W&B run's summary."""
    steps, result = metrics.read(folder.metrics, Brief).lines, folder.result() or {}
    figures = encode(measured(folder.spec(), steps, result, folder.events()))
    return {name: value for name, value in figures.items() if value is not None}


def _say(failed: "threading.ExceptHookArgs") -> None:
    """One line of what no one foresaw; the other thread goes on."""
    said = " ".join(str(failed.exc_value).split())
    print(f"{failed.thread and failed.thread.name}: {failed.exc_type.__name__}: {said}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="launcher.workers.tracking.tracker", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the run's folder")
    parser.add_argument("--rank", type=int, required=True, help="process id of rank 0")
    parser.add_argument("--known", type=int, required=True, help="time of the last old samples")
    return parser.parse_args()


if __name__ == "__main__":
    main()
