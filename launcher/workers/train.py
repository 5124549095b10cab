"""One rank of a run: ``python -m launcher.workers.train --folder RUN --cache CACHE``."""

import argparse
import dataclasses
import json
import os
import platform as host
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from launcher.decode import decode
from launcher.errors import WorkError
from launcher.files import write_json
from launcher.results.run_folder import RunFolder
from launcher.spec.checkpointing import Checkpointing
from launcher.spec.run import RunSpec
from launcher.spec.sampling import Sampling
from launcher.workers.errors import DeviceError
from launcher.workers.process import lenient_output, orphans
from launcher.workers.process.heartbeat import Heartbeat
from launcher.workers.process.stop_request import StopRequest
from launcher.workers.process.watchdog import Watchdog

SAMPLING_SECONDS = 120.0
"""What a run that is done waits for the samples of its last checkpoint."""


def main() -> None:
    """Train, and leave quickly in any case.

    Exit code: 0 when every step is done, 75 when asked to stop before, 1 after an exception.
    """
    orphans.die_with_parent()
    lenient_output.install()
    options = _options()
    stop = StopRequest(heeded=options.checkpoint_every is not None)
    folder = RunFolder(options.folder)
    beat = Heartbeat(folder, options.hang_after)
    watchdog = Watchdog(options.hang_after, beat.silent_peers)
    beat.start(lambda: watchdog.step)
    # The log then has a block on the disk: should that be full one day, the reason still fits.
    print(
        f"rank {os.environ['RANK']} on {host.node()}, process {os.getpid()}, attempt {beat.attempt}"
    )
    try:
        done = _train(options, folder, watchdog, stop, beat.attempt)
    except BaseException as error:
        # Leaving through the interpreter would wait in destructors for peers that wait for us.
        if isinstance(error, OSError | WorkError):
            print(error, file=sys.stderr)  # on a full disk there may be room for no more than that
        traceback.print_exc()
        _leave(1)
    _leave(0 if done else os.EX_TEMPFAIL)


def _train(
    options: argparse.Namespace,
    folder: RunFolder,
    watchdog: Watchdog,
    stop: StopRequest,
    attempt: int,
) -> bool:
    """Set up, do every step that is not done yet, write the result; False if stopped before."""
    clock, spec = Clock(), folder.spec()
    _import(spec)
    clock.lap("import")
    from launcher.workers.tracking import tracker
    from launcher.workers.training_loop import Parts, Run

    engine, batches, meter = _set_up(spec, folder, options)
    first_rank = int(os.environ["RANK"]) == 0
    sampler = _sampler(folder, options) if first_rank else None
    run = Run(Parts(
        spec=spec, folder=folder, engine=engine, batches=batches, meter=meter, watchdog=watchdog,
        stop=stop, attempt=attempt, start=options.start, every=options.checkpoint_every or 0,
        checkpoints=_checkpoints(spec, folder, options, attempt), sampler=sampler,
    ))  # fmt: skip
    resumed = run.resume()
    clock.lap("setup")
    # After that, so that it follows what the run starts with too.
    follower = tracker.start(folder) if first_rank else None
    done = run.steps(spec.first if resumed is None else resumed)
    clock.lap("train")
    watchdog.stop()
    if sampler:
        sampler.finish(SAMPLING_SECONDS if done else 0.0)
    if not done:
        return False
    if first_rank:
        meter.close()
        result = _result(spec, engine, clock.seconds) | {"resumed_from": resumed}
        folder.write_result(result | {"samples": batches.counts(spec.last)})
        tracker.wait(follower)
    return True


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

    from launcher.workers.model import fixes, platform

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


def _set_up(spec: RunSpec, folder: RunFolder, options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The engine, its batches, and what measures it."""
    from launcher.workers import collectives, measure
    from launcher.workers.data import dataset
    from launcher.workers.data.batches import Batches
    from launcher.workers.engines import engine

    place = _connect(spec, folder)
    if int(os.environ["RANK"]) == 0:
        # Data that later stages lack is to be known now.
        for one in (spec, *(RunFolder(path).spec() for path in options.prepare)):
            dataset.prepare(one, options.cache)
    collectives.gather([0.0])  # the others wait here
    batches = Batches(spec, place, options.cache)
    return engine.build(spec, place, batches), batches, measure.Meter(spec, folder.metrics)


def _sampler(folder: RunFolder, options: argparse.Namespace) -> Any:
    """What tries checkpoints; None where nothing is to be tried."""
    if options.sampling is None:
        return None
    from launcher.workers.sampling.sampler import Sampler

    sampling = decode(Sampling, json.loads(options.sampling), "sampling")
    return Sampler(folder, options.cache, sampling)


def _checkpoints(
    spec: RunSpec, folder: RunFolder, options: argparse.Namespace, attempt: int
) -> Any:
    """Where they are written and read; None for a run that makes none."""
    if options.checkpoint_every is None:
        return None
    from launcher.workers.checkpoints.checkpoints import Checkpoints

    policy = decode(Checkpointing, json.loads(options.checkpoints), "checkpoints")
    return Checkpoints(folder, spec, attempt, policy, options.start)


def _connect(spec: RunSpec, folder: RunFolder) -> Any:
    """Meet the other ranks, and try how fast they can talk where that is asked for."""
    from launcher.workers.model import groups
    from launcher.workers.process import linkcheck

    check = linkcheck.requested()
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
    parser.add_argument("--checkpoints", default="{}", metavar="JSON", help="a Checkpointing")
    parser.add_argument("--sampling", metavar="JSON", help="a Sampling")
    parser.add_argument("--start", type=Path, help="folder of the run that this one goes on from")
    parser.add_argument("--prepare", type=Path, nargs="*", default=(), metavar="FOLDER",
                        help="of runs to come, whose data is looked at now")  # fmt: skip
    return parser.parse_args()


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
