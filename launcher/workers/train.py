"""One rank of a run: ``python -m launcher.workers.train --folder RUN --cache CACHE``."""

import argparse
import dataclasses
import os
import platform as host
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from launcher.folder import RunFolder, write_json
from launcher.schedule import learning_rate
from launcher.spec import RunSpec
from launcher.workers import history, orphans, tracking
from launcher.workers.errors import DeviceError
from launcher.workers.heartbeat import Heartbeat
from launcher.workers.stop import StopRequest
from launcher.workers.watchdog import Watchdog


def main() -> None:
    """Train, and leave quickly in any case.

    Exit code: 0 when every step is done, 75 when asked to stop before, 1 after an exception.
    """
    orphans.die_with_parent()
    options = _options()
    stop = StopRequest(heeded=options.checkpoint_every is not None)
    folder = RunFolder(options.folder)
    beat = Heartbeat(folder, options.hang_after)
    watchdog = Watchdog(options.hang_after, beat.silent_peers)
    beat.start(lambda: watchdog.step)
    try:
        run = Run(folder, watchdog, stop, options.checkpoint_every, beat.attempt)
        done = run.train(options.cache)
    except BaseException:
        # Leaving through the interpreter would wait in destructors for peers that wait for us.
        traceback.print_exc()
        _leave(1)
    _leave(0 if done else os.EX_TEMPFAIL)


class Run:
    """One rank's part of one attempt at a run."""

    def __init__(
        self,
        folder: RunFolder,
        watchdog: Watchdog,
        stop: StopRequest,
        checkpoint_every: int | None,
        attempt: int,
    ) -> None:
        self._folder, self._watchdog, self._stop = folder, watchdog, stop
        self._every, self._attempt = checkpoint_every, attempt
        self._spec = folder.spec()

    def train(self, cache: Path) -> bool:
        """Set up, do every step that is not done yet, write the result; False if stopped before."""
        clock, spec = Clock(), self._spec
        _import(spec)
        clock.lap("import")
        self._engine, self._meter = _set_up(spec, self._folder, cache)
        resumed = self._resume() if self._every else None
        clock.lap("setup")
        # After that, so that it follows what the run starts with too.
        tracker = tracking.start(self._folder) if int(os.environ["RANK"]) == 0 else None
        if not self._steps(resumed or 0):
            return False
        clock.lap("train")
        self._watchdog.stop()
        if int(os.environ["RANK"]) == 0:
            self._meter.close()
            result = _result(spec, self._engine, clock.seconds)
            self._folder.write_result(result | {"resumed_from": resumed})
            tracking.wait(tracker)
        return True

    def _resume(self) -> int | None:
        """Go on from the newest checkpoint; its step."""
        from launcher.workers.checkpoint import Checkpoints

        self._checkpoints = Checkpoints(self._folder, self._spec, self._attempt)
        loaded = self._checkpoints.load(self._engine.state())
        step = loaded.step if loaded else None
        if int(os.environ["RANK"]) == 0:
            history.restart(self._folder, step or 0)
        return step

    def _steps(self, first: int) -> bool:
        """Every step after ``first``; False where any rank was asked to stop."""
        train = self._spec.train
        if self._every and self._asked_before():
            print(f"stopped on request before step {first + 1}")
            return False
        self._watchdog.ready(first)
        self._meter.start()
        for step in range(first + 1, train.steps + 1):
            lr = learning_rate(train.optimizer, step, train.steps)
            done = self._engine.step(step, lr)
            asked = self._meter.record(step, lr, done, self._stop.asked)
            self._watchdog.beat(step)
            if self._every and step < train.steps and (asked or step % self._every == 0):
                saved = self._save(step)
                if asked:
                    print(f"stopped on request at step {step}, {saved}")
                    return False
        return True

    def _asked_before(self) -> bool:
        from launcher.workers.measure import gather

        return any(asked for (asked,) in gather([self._stop.asked]))

    def _save(self, step: int) -> str:
        """Write a checkpoint, in nobody's step; what became of it."""
        self._watchdog.saving()
        written = self._checkpoints.save(step, self._engine.state(), {"step": step})
        self._watchdog.beat(step)
        self._meter.start()
        return "checkpoint written" if written else "checkpoint not written"


class Clock:
    """Seconds of each phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def lap(self, phase: str) -> None:
        """The phase ends now, and the next one begins."""
        now = time.perf_counter()
        self.seconds[phase], self._began = now - self._began, now


def _import(spec: RunSpec) -> None:
    """Everything heavy, so that its time is known and the watchdog runs before it.

    Raises:
        DeviceError: the spec asks for cards, and there is none for this rank.
    """
    wanted = spec.cluster.accelerator.name
    if wanted == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # also where there are cards
    import torch

    from launcher.workers import fixes, platform

    cards = torch.cuda.device_count()
    if wanted != "cpu" and (local := platform.card()) >= cards:
        raise DeviceError(f"local rank {local} wants a {wanted}, torch finds {cards} cards here")
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    # Said beforehand, because DeepSpeed warns when it has to find out.
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    # Kernels then start in the order they were asked for, so that communication comes first.
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    platform.import_megatron()
    fixes.apply()


def _set_up(spec: RunSpec, folder: RunFolder, cache: Path) -> tuple[Any, Any]:
    from launcher.workers import dataset, engine, measure
    from launcher.workers.batches import Batches

    place = _connect(spec, folder)
    if int(os.environ["RANK"]) == 0:
        dataset.prepare(spec, cache)
    measure.gather([0.0])  # the others wait here
    batches = Batches(spec, place, cache)
    return engine.build(spec, place, batches), measure.Meter(spec, folder.metrics)


def _connect(spec: RunSpec, folder: RunFolder) -> Any:
    """Meet the other ranks, and try how fast they can talk where that is asked for."""
    from launcher.workers import groups, linkcheck

    check = linkcheck.asked()
    if check is None:
        return groups.connect(spec)
    with check.limit():
        place, link = groups.connect(spec), check.measure()
    if int(os.environ["RANK"]) == 0:
        write_json(folder.path / "link.json", dataclasses.asdict(link))
    return place


def _result(spec: RunSpec, engine: Any, seconds: dict[str, float]) -> dict[str, Any]:
    import torch

    from launcher.workers import measure

    cuda = torch.cuda.is_available()
    return {
        "steps": spec.train.steps,
        "params": engine.built.params,
        "layers": engine.built.layers,
        "memory_kind": measure.memory_kind(),
        "device": torch.cuda.get_device_name() if cuda else host.processor() or host.machine(),
        "versions": _versions(),
        "seconds": seconds,
    }


def _versions() -> dict[str, str | None]:
    """Versions of what trained; None for a library this engine did not import."""
    modules = {"torch": "torch", "megatron_core": "megatron.core", "deepspeed": "deepspeed"}
    versions = {
        name: getattr(sys.modules.get(module), "__version__", None)
        for name, module in modules.items()
    }
    return versions | {"python": host.python_version()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m launcher.workers.train", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the run's folder")
    parser.add_argument("--cache", type=Path, required=True, help="where datasets are kept")
    parser.add_argument("--hang-after", type=float, required=True, help="seconds without a step")
    parser.add_argument("--checkpoint-every", type=int, help="steps; without, none is read either")
    return parser.parse_args()


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
