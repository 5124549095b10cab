"""One rank of a run: ``python -m launcher.workers.train --folder RUN --cache CACHE``."""

import argparse
import os
import platform as host
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from launcher.folder import RunFolder
from launcher.schedule import learning_rate
from launcher.spec import RunSpec
from launcher.workers import orphans
from launcher.workers.errors import DeviceError
from launcher.workers.watchdog import Watchdog


def main() -> None:
    """Train, and leave quickly either way: 0 when every step is done, 1 after an exception."""
    orphans.die_with_parent()
    options = _options()
    watchdog = Watchdog(options.hang_after)
    try:
        train(RunFolder(options.folder), options.cache, watchdog)
    except BaseException:
        # Leaving through the interpreter would wait in destructors for peers that wait for us.
        traceback.print_exc()
        _leave(1)
    _leave(0)


def train(folder: RunFolder, cache: Path, watchdog: Watchdog) -> None:
    """Set up, do every step of the folder's spec, write the result."""
    clock, spec = Clock(), folder.spec()
    _import(spec)
    clock.lap("import")
    engine, meter = _set_up(spec, folder, cache)
    clock.lap("setup")
    watchdog.ready()
    meter.start()
    for step in range(1, spec.train.steps + 1):
        lr = learning_rate(spec.train.optimizer, step, spec.train.steps)
        meter.record(step, lr, engine.step(step, lr))
        watchdog.beat(step)
    clock.lap("train")
    watchdog.stop()
    if int(os.environ["RANK"]) == 0:
        meter.close()
        folder.write_result(_result(spec, engine, clock.seconds))


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
    if wanted != "cpu" and int(os.environ["LOCAL_RANK"]) >= cards:
        local = os.environ["LOCAL_RANK"]
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
    from launcher.workers import dataset, engine, groups, measure
    from launcher.workers.batches import Batches

    if int(os.environ["RANK"]) == 0:  # the others wait for it in connect
        dataset.prepare(spec, cache)
    place = groups.connect(spec)
    batches = Batches(spec, place, cache)
    return engine.build(spec, place, batches), measure.Meter(spec, folder.metrics)


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
    return parser.parse_args()


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
