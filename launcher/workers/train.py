"""One rank of a run: ``python -m launcher.workers.train --folder RUN --cache CACHE``."""

import argparse
import dataclasses
import json
import os
import platform as host
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.decode import decode
from launcher.errors import WorkError
from launcher.files import write_json
from launcher.results.run_folder import RunFolder
from launcher.spec.checkpointing import Checkpointing
from launcher.spec.run import RunSpec
from launcher.spec.sampling import Sampling
from launcher.workers import libraries
from launcher.workers.process import environment, flight_recorder, lenient_output, orphans
from launcher.workers.process.heartbeat import Heartbeat
from launcher.workers.process.stop_request import StopRequest
from launcher.workers.process.watchdog import Watchdog


def main(words: Sequence[str] | None = None) -> None:
    """Train as the words say, by default those of the command line; leave quickly in any case.

    Exit code: 0 when every step is done, 75 when asked to stop before, 1 after an exception.
    """
    orphans.die_with_parent()
    flight_recorder.enable()
    lenient_output.install()
    options = parsed(words)
    stop = StopRequest(heeded=options.checkpoint_every is not None)
    folder = RunFolder(options.folder)
    heartbeat = Heartbeat(folder, options.hang_after)
    watchdog = Watchdog(
        options.hang_after,
        heartbeat.silent_peers,
        options.hang_follows,
        lambda: flight_recorder.write(folder, int(os.environ["RANK"])),
    )
    heartbeat.start(lambda: watchdog.step)
    # Gives the log a block on the disk: should that be full one day, the error message still fits.
    print(
        f"rank {os.environ['RANK']} on {host.node()}, process {os.getpid()},"
        f" attempt {heartbeat.attempt}"
    )
    try:
        finished = _train(options, folder, watchdog, stop, heartbeat.attempt)
    except BaseException as error:
        # A normal exit would wait, in destructors of process groups, for peers that wait for us.
        if isinstance(error, OSError | WorkError):
            print(error, file=sys.stderr)  # on a full disk there may be room for no more than that
        traceback.print_exc()
        _leave(1)
    _leave(0 if finished else os.EX_TEMPFAIL)


def _train(
    options: argparse.Namespace,
    folder: RunFolder,
    watchdog: Watchdog,
    stop: StopRequest,
    attempt: int,
) -> bool:
    """Set up, do every step that is not done yet, write the result; False if stopped before."""
    clock, spec = Clock(), folder.spec().trained
    environment.set_for(spec)
    _import(spec)
    clock.lap("import")
    from launcher.workers.sampling.forward import Forward
    from launcher.workers.tracking import tracker
    from launcher.workers.training_loop import Parts, Run

    place, engine, batches, meter = _set_up(spec, folder, options)
    first_rank = int(os.environ["RANK"]) == 0
    parts = Parts(
        spec=spec,
        folder=folder,
        engine=engine,
        batches=batches,
        meter=meter,
        watchdog=watchdog,
        stop=stop,
        attempt=attempt,
        start=options.start,
        checkpoints=_checkpoints(spec, folder, options, attempt),
        every=options.checkpoint_every or 0,
        evaluation=_evaluation(folder, options, Forward(spec, place, engine, watchdog.evaluating)),
    )
    run = Run(parts)
    resumed = run.resume()
    clock.lap("setup")
    # Started after `resume`, so that it follows the metrics that this restores, too.
    follower = tracker.start(folder) if first_rank else None
    finished = run.steps(spec.first if resumed is None else resumed)
    clock.lap("train")
    watchdog.stop()
    if not finished:
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
        """End a phase now, and begin the next one."""
        now = time.perf_counter()
        self.seconds[phase], self._began = now - self._began, now


def _import(spec: RunSpec) -> None:
    """Import the libraries: here, so that their time is measured and the watchdog runs before.

    Raises:
        DeviceError: the spec asks for cards, and there is none for this rank.
    """
    accelerator = spec.cluster.accelerator.name
    libraries.load(accelerator)
    libraries.check_card(accelerator)


def _set_up(
    spec: RunSpec, folder: RunFolder, options: argparse.Namespace
) -> tuple[Any, Any, Any, Any]:
    """Connect the ranks, prepare the data; return this one's place, engine, batches and meter."""
    from launcher.workers import collectives, measure
    from launcher.workers.data import dataset
    from launcher.workers.data.batches import Batches
    from launcher.workers.engines import engine

    place = _connect(spec, folder)
    if int(os.environ["RANK"]) == 0:
        # Data that later stages lack is an error now, not weeks later.
        for needed in (spec, *(RunFolder(path).spec() for path in options.prepare)):
            dataset.prepare(needed, options.cache)
    collectives.gather([0.0])  # the others wait here
    batches = Batches(spec, place, options.cache)
    meter = measure.Meter(spec, folder.metrics)
    return place, engine.build(spec, place, batches), batches, meter


def _evaluation(folder: RunFolder, options: argparse.Namespace, forward: Any) -> Any:
    """Return the evaluation of the model after checkpoints; None where none is asked for."""
    if options.sampling is None:
        return None
    from launcher.workers.sampling.evaluation import Evaluation

    sampling = decode(Sampling, json.loads(options.sampling), "sampling")
    return Evaluation(folder, options.cache, sampling, forward)


def _checkpoints(
    spec: RunSpec, folder: RunFolder, options: argparse.Namespace, attempt: int
) -> Any:
    """Return the run's checkpoints; None for a run that makes none."""
    if options.checkpoint_every is None:
        return None
    from launcher.workers.checkpoints.checkpoints import Checkpoints

    policy = decode(Checkpointing, json.loads(options.checkpoints), "checkpoints")
    return Checkpoints(folder, spec, attempt, policy, options.start)


def _connect(spec: RunSpec, folder: RunFolder) -> Any:
    """Meet the other ranks, and measure their connection where that is asked for."""
    from launcher.workers.model import groups
    from launcher.workers.process import linkcheck

    check = linkcheck.requested()
    if check is None:
        return groups.connect(spec)
    with check.limit():
        place, link = groups.connect(spec), check.measure()
    if int(os.environ["RANK"]) == 0:
        write_json(folder.link_file, dataclasses.asdict(link))
    return place


def _result(spec: RunSpec, engine: Any, seconds: dict[str, float]) -> dict[str, Any]:
    import torch

    from launcher.workers import measure
    from launcher.workers.model import experts
    from launcher.workers.process import versions

    cuda = torch.cuda.is_available()
    return {
        "steps": spec.train.steps,
        "params": engine.built.params,
        "layers": engine.built.layers,
        "memory_kind": measure.memory_kind(),
        "device": torch.cuda.get_device_name() if cuda else host.processor() or host.machine(),
        "optimizer": engine.optimizer_name,
        "expert_product": experts.product_of(spec),
        "versions": versions.of_rank(),
        "environment": environment.recorded(spec, os.environ),
        "seconds": seconds,
    }


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the options that words say; None are those of the command line."""
    parser = argparse.ArgumentParser(prog="python -m launcher.workers.train", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the run's folder")
    parser.add_argument("--cache", type=Path, required=True, help="where datasets are kept")
    parser.add_argument("--hang-after", type=float, required=True, help="seconds without a step")
    parser.add_argument("--hang-follows", action="store_true", help="steps that are measured")
    parser.add_argument("--checkpoint-every", type=int, help="steps; without, none is read either")
    parser.add_argument("--checkpoints", default="{}", metavar="JSON", help="a Checkpointing")
    parser.add_argument("--sampling", metavar="JSON", help="a Sampling")
    parser.add_argument("--start", type=Path, help="folder of the run that this one goes on from")
    parser.add_argument(
        "--prepare",
        type=Path,
        nargs="*",
        default=(),
        metavar="FOLDER",
        help="of runs to come, whose data is looked at now",
    )
    return parser.parse_args(words)


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
