"""A process beside rank 0 that follows the run's metrics to Weights & Biases and TensorBoard.

``python -P -m launcher.workers.tracking.tracker --folder RUN --rank PID``. Training never waits
for it but for `WAIT_SECONDS` at its end; a failure here is a line in ``log/tracking.txt``.
"""

import argparse
import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock

from launcher.decode import encode
from launcher.errors import LaunchError
from launcher.results import metrics, tracking
from launcher.results.metrics import Brief
from launcher.results.record import read_prediction
from launcher.results.run_folder import RunFolder
from launcher.results.summary import measured
from launcher.results.tracking import Tracked
from launcher.workers.process import standard_streams
from launcher.workers.tracking import samples
from launcher.workers.tracking.follow import POLL_SECONDS, follow
from launcher.workers.tracking.samples import NewSamples

WAIT_SECONDS = 5.0
"""Seconds that rank 0 waits for the tracker at the most, once the run's result is written."""
ENDING_SECONDS = 30.0
"""Seconds from the end of the rank to that of its tracker at the latest: an upload may hang."""
INIT_SECONDS = 10
"""Seconds that wandb may take to start a run online."""
CPU_SECONDS = 10.0
"""Seconds of training that ranks on CPU cores have for themselves, or a short trial would measure
the import of wandb."""
STEP = "train/step"
"""W&B metric that all others are drawn over: W&B's own step never falls, so not in a rollback."""

METRIC_NAMES = {
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
"""Key of metrics.jsonl -> name in W&B and TensorBoard, grouped by the part before the slash."""


class Forked:
    """A tracker that is a fork of its rank, and waits until it is told to `follow`."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid, self._pipe = pid, pipe

    def follow(self, words: Sequence[str]) -> bool:
        """Start it, with the arguments of its command; False where it has ended before."""
        try:
            os.write(self._pipe, json.dumps(words).encode())
        except BrokenPipeError:
            return False
        return True

    def release(self) -> None:
        """Close the pipe: one that was not told to follow ends."""
        os.close(self._pipe)

    def wait(self, timeout: float) -> None:
        """Wait for its end. Raises subprocess.TimeoutExpired after so many seconds."""
        deadline = time.monotonic() + timeout
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("tracker", timeout)
            time.sleep(0.05)


_ahead: Forked | None = None
"""Tracker that `fork_ahead` has made, until `start` takes it."""


def load() -> None:
    """Import what a tracker needs, of what is installed and can be imported.

    What cannot is the tracker's trouble, when it comes to it, and not that of who calls this.
    """
    for module in ("tensorboardX.event_file_writer", "wandb"):
        try:
            importlib.import_module(module)
        except BaseException as error:  # the package is not ours, and neither are its errors
            if not isinstance(error, ImportError):
                print(f"tracking: {module}: {error}", file=sys.stderr)


def fork_ahead() -> None:
    """Fork a tracker that waits until this process, a rank, calls `start`, or has ended.

    To be called before the process has threads. What it has imported, the tracker has too. Where
    no process can be forked there is none, and `start` starts one.
    """
    global _ahead
    wakeup, pipe = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(wakeup)
        os.close(pipe)
        return
    if pid:
        os.close(wakeup)
        _ahead = Forked(pid, pipe)
        return
    try:
        os.setsid()  # or it would be killed with the rank before it is done
        os.close(pipe)
        with os.fdopen(wakeup) as told:
            words = told.read()
        if words:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
            options = _options(json.loads(words))
            standard_streams.redirect(_log_file(RunFolder(options.folder)))
            _follow_run(options)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def start(folder: RunFolder) -> "Forked | subprocess.Popen[bytes] | None":
    """Start the tracker of a run; None where there is nothing to track, or it cannot be."""
    global _ahead
    forked, _ahead = _ahead, None
    try:
        tracked = tracking.read(folder)
        if tracked is None or (tracked.mode == "off" and not tracked.tensorboard):
            return None
        words = ["--folder", str(folder.path), "--rank", str(os.getpid())]
        words += ["--known", str(samples.newest(folder))]
        return forked if forked and forked.follow(words) else _process(folder, words)
    except (OSError, LaunchError) as error:
        print(f"tracking: {error}", file=sys.stderr)
        return None
    finally:
        if forked:
            forked.release()


def _process(folder: RunFolder, words: Sequence[str]) -> "subprocess.Popen[bytes]":
    with _log_file(folder).open("wb") as log:
        # A session of its own, or it would be killed with the rank before it is done.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "launcher.workers.tracking.tracker", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )


def wait(tracker: "Forked | subprocess.Popen[bytes] | None") -> None:
    """Give a tracker time to end where a batch system ends it with the last rank."""
    if tracker is None or "SLURM_JOB_ID" not in os.environ:
        return
    try:
        tracker.wait(WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"tracking: not done within {WAIT_SECONDS:g} s", file=sys.stderr)


def main() -> None:
    """Follow until the run is over and all of it has been passed on."""
    _follow_run(_options())


def _follow_run(options: argparse.Namespace) -> NoReturn:
    _lower_priority()
    for number in (signal.SIGTERM, signal.SIGINT):  # for the ranks; this process ends after them
        signal.signal(number, signal.SIG_IGN)
    threading.excepthook = _print_exception
    # tensorboardX would import torch, which takes longer than all the rest together.
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    folder = RunFolder(options.folder)
    tracked = tracking.read(folder)
    assert tracked is not None

    def over() -> bool:
        return os.getppid() != options.rank or folder.is_done

    threads = [
        threading.Thread(
            name=name,
            target=function,
            args=(tracked, folder, over, NewSamples(folder, options.known)),
            daemon=True,
        )
        for name, function, enabled in (
            ("tensorboard", _to_tensorboard, tracked.tensorboard),
            ("wandb", _to_wandb, tracked.mode != "off"),
        )
        if enabled
    ]
    if folder.spec().cluster.accelerator.name == "cpu":
        _let_training_begin(over)
    for thread in threads:
        thread.start()
    _join(threads, over)
    shutil.rmtree(folder.wandb_temporary, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)  # a thread may hang, and so may what wandb does at exit


def _lower_priority() -> None:
    """Take only the time that the ranks leave of the cores, so that their steps are no slower."""
    os.nice(19)
    with suppress(OSError):  # with autogroup, Linux applies nice only within a session
        Path("/proc/self/autogroup").write_text("19", encoding="ascii")


def _let_training_begin(over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + CPU_SECONDS
    while time.monotonic() < deadline and not over():
        time.sleep(POLL_SECONDS)


def _join(threads: list[threading.Thread], over: Callable[[], bool]) -> None:
    """Wait for the threads; after the end of the run for `ENDING_SECONDS` at the most."""
    deadline = float("inf")
    while alive := [thread for thread in threads if thread.is_alive()]:
        alive[0].join(POLL_SECONDS)
        if over():
            deadline = min(deadline, time.monotonic() + ENDING_SECONDS)
        if time.monotonic() > deadline:
            print(*(thread.name for thread in alive), f"not done within {ENDING_SECONDS:g} s")
            return


def _named_metrics(line: dict[str, Any]) -> dict[str, float]:
    values = ((name, metrics.number(line.get(key))) for key, name in METRIC_NAMES.items())
    return {name: value for name, value in values if value is not None}


def _to_tensorboard(
    tracked: Tracked, folder: RunFolder, over: Callable[[], bool], new_samples: NewSamples
) -> None:
    try:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
    except ImportError:
        print("tensorboard: tensorboardX is not installed: pip install 'megalaunch[train]'")
        return
    path = folder.tensorboard
    path.mkdir(exist_ok=True)
    writer, last_step = EventsWriter(str(path / "events"), f".{os.getpid()}"), math.inf

    def write(step: int, summary: Any) -> None:
        writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    for line in follow(folder, over):
        if line["step"] <= last_step:
            # Makes TensorBoard forget this step and later ones, which are of an earlier attempt
            # or from before a rollback.
            log = SessionLog(status=SessionLog.START)
            writer.write_event(Event(wall_time=time.time(), step=line["step"], session_log=log))
        last_step = line["step"]
        values = [Summary.Value(tag=tag, simple_value=v) for tag, v in _named_metrics(line).items()]
        write(line["step"], Summary(value=values))
        for sampled in new_samples.take():
            write(sampled.step, samples.tensorboard_summary(sampled))
        writer.flush()
    for sampled in new_samples.take():
        write(sampled.step, samples.tensorboard_summary(sampled))
    writer.close()


def _to_wandb(
    tracked: Tracked, folder: RunFolder, over: Callable[[], bool], new_samples: NewSamples
) -> None:
    os.environ["WANDB_SILENT"] = "true"
    # wandb reports errors to its makers, with the values of local variables.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    folder.wandb_temporary.mkdir(parents=True, exist_ok=True)
    # wandb leaves two temporary folders of each run behind; `main` removes them from here.
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder.wandb_temporary)
    try:
        import wandb
    except ImportError:
        if tracked.wandb != "auto":
            print("wandb: not installed: pip install 'megalaunch[train]'")
        return
    with FileLock(folder.wandb_lock):  # `launch sync` leaves what is written alone
        run = _start_wandb(wandb, tracked, folder)
        _log(wandb, run, folder, over, new_samples)
        run.summary.update(_figures(folder))
        run.finish(exit_code=0 if folder.is_done else 1)
        if not run.offline:  # wandb's own mark, without which `launch sync` uploads it again
            Path(run.settings.sync_file).with_suffix(".wandb.synced").touch()


def _log(
    wandb: Any, run: Any, folder: RunFolder, over: Callable[[], bool], new_samples: NewSamples
) -> None:
    """Log all lines, each at a step of W&B's own, which has to rise.

    W&B drops what is logged at a step that it has already, or at one before.
    """
    samples.define(run)
    for name in METRIC_NAMES.values():
        run.define_metric(name, step_metric=STEP)
    # W&B's step is ahead of training's by the steps that rollbacks repeat, those of earlier
    # attempts included. Lines that one of those has logged come again at steps that W&B has
    # already, and are dropped.
    steps_repeated = sum(event.get("steps_lost", 0) for event in folder.events())
    last_step = wandb_step = 0
    for line in follow(folder, over):
        steps_repeated += max(0, last_step + 1 - line["step"])
        last_step = line["step"]
        wandb_step = last_step + steps_repeated
        run.log({STEP: last_step} | _named_metrics(line), step=wandb_step)
        for sampled in new_samples.take():  # of an earlier step, where W&B takes nothing more
            run.log(samples.wandb_row(wandb, sampled), step=wandb_step)
    for sampled in new_samples.take():
        run.log(samples.wandb_row(wandb, sampled), step=wandb_step)


def _start_wandb(wandb: Any, tracked: Tracked, folder: RunFolder) -> Any:
    """Start the W&B run; offline where the server cannot be reached, or refuses."""
    url = tracking.server()
    online = tracked.mode == "online" or (
        tracked.mode == "auto" and tracking.has_key(url) and tracking.answers(url)
    )
    if online:
        earlier = set(folder.wandb.glob("run-*"))
        try:
            return _init(wandb, tracked, folder, "online")
        except (wandb.errors.Error, OSError) as error:
            print("wandb: offline:", textwrap.shorten(str(error), 300))
        wandb.teardown()  # else wandb's service holds on to the run's id
        for path in set(folder.wandb.glob("run-*")) - earlier:
            shutil.rmtree(path)  # an empty run, which `launch sync` would upload
    return _init(wandb, tracked, folder, "offline")


def _init(wandb: Any, tracked: Tracked, folder: RunFolder, mode: str) -> Any:
    # The user's value is in ``mode`` by now, and may be one that wandb itself does not know.
    os.environ["WANDB_MODE"] = mode
    run_settings = settings(wandb)
    return wandb.init(
        mode=mode,
        dir=str(folder.path),
        project=tracked.project,
        entity=tracked.entity,
        group=tracked.group,
        name=tracked.name,
        id=tracked.id,
        tags=tracked.tags,
        config=tracked.config,
        resume="allow",
        settings=run_settings,
    )


def settings(wandb: Any) -> Any:
    """Return wandb's settings: no output, no code, no git, of the machine nothing but its name."""
    return wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
        silent=True,
        init_timeout=INIT_SECONDS,
        x_transaction_log_flush_interval=2,  # seconds that a killed run loses at the most
    )


def _figures(folder: RunFolder) -> dict[str, Any]:
    """Figures of the run's row in the table, for the W&B run's summary."""
    steps, result = metrics.read(folder.metrics, Brief).lines, folder.result() or {}
    prediction = read_prediction(folder)
    figures = encode(measured(folder.spec(), steps, result, folder.events(), prediction))
    return {name: value for name, value in figures.items() if value is not None}


def _log_file(folder: RunFolder) -> Path:
    return folder.logs / "tracking.txt"


def _print_exception(failure: "threading.ExceptHookArgs") -> None:
    """Print an unforeseen exception of a thread as one line; the other thread goes on."""
    message = " ".join(str(failure.exc_value).split())
    thread = failure.thread and failure.thread.name
    print(f"{thread}: {failure.exc_type.__name__}: {message}", flush=True)


def _options(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="launcher.workers.tracking.tracker", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the run's folder")
    parser.add_argument("--rank", type=int, required=True, help="process id of rank 0")
    parser.add_argument("--known", type=int, required=True, help="time of the last old samples")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
