"""Cost of our training loop beside megatron-core itself: data, metrics, watchdog.

    python -m tests.benchmarks.overhead [--steps N]

One rank; whole steps of ours and bare steps (the same model, optimizer and schedule on batches
that are in memory already) take turns, so that what else the machine does hits both. Prints
the median of the ratios of neighbours. Exit code 1 above `LIMIT`.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launcher.results.run_folder import RunFolder
from launcher.workers import train
from launcher.workers.process.stop_request import StopRequest
from launcher.workers.process.watchdog import Watchdog
from tests.launcher.workers import ranks

LIMIT = 1.03
WARM_UP = 3


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    steps = parser.parse_args().steps + WARM_UP
    with tempfile.TemporaryDirectory() as folder:
        ratios = measure(steps, Path(folder))[WARM_UP:]
    ratio = statistics.median(ratios)
    print(f"a step of ours / a bare step: {ratio:.4f} (limit {LIMIT}, {len(ratios)} pairs)")
    return int(ratio > LIMIT)


def measure(steps: int, folder: Path) -> list[float]:
    """Ratio of the times of each pair of steps."""
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(ranks.free_port())}
    spec = ranks.spec(
        1,
        model__hidden=256,
        model__ffn=768,
        model__sequence=256,
        train__steps=steps,
    )
    target = RunFolder(folder / "run")
    target.create(spec)
    watchdog = Watchdog(600)
    train._import(spec)
    from launcher.workers.training_loop import Parts, Run

    options = argparse.Namespace(cache=folder / "cache", prepare=[])
    _, engine, batches, meter = train._set_up(spec, target, options)
    run = Run(
        Parts(
            spec=spec,
            folder=target,
            engine=engine,
            batches=batches,
            meter=meter,
            watchdog=watchdog,
            stop=StopRequest(heeded=False),
            attempt=1,
            start=None,
            checkpoints=None,
            every=0,
            evaluation=None,
        )
    )
    in_memory = list(engine._data(1))
    ratios = []
    for step in range(1, steps + 1):

        def ours(step: int = step) -> None:
            run._step(step)
            watchdog.beat(step)

        pair = [ours, lambda: bare(engine, in_memory)]
        if step % 2:  # what comes second finds warmer caches
            seconds = [timed(program) for program in pair]
        else:
            seconds = [timed(program) for program in reversed(pair)][::-1]
        ratios.append(seconds[0] / seconds[1])
    return ratios


def bare(engine: Any, batches: list[Any]) -> None:
    """One step with megatron-core alone."""
    from launcher.workers.engines.megatron import _forward

    for chunk in engine._chunks:
        chunk.zero_grad_buffer()
    engine._optimizer.zero_grad()
    engine._run(
        forward_step_func=_forward,
        data_iterator=iter(batches),
        model=engine._chunks[0],
        num_microbatches=len(batches),
        seq_length=engine._spec.model.sequence,
        micro_batch_size=engine._spec.layout.micro_batch,
        forward_only=False,
    )
    engine._optimizer.step()


def timed(work: Callable[[], None]) -> float:
    """Seconds, the card's work included."""
    import torch

    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
