"""Cost of a step: time, memory and power of every rank, reduced by one small collective."""

import json
import math
import os
import resource
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launcher import nvml
from launcher.files import append
from launcher.results.metrics import encoded
from launcher.spec.run import RunSpec
from launcher.workers.collectives import gather
from launcher.workers.engines.engine import RankStep

GIB = 2.0**30
POWER_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class StepFigures:
    """Loss and gradient norm of a step over all ranks; equal on each of them."""

    loss: float
    """Mean over the tokens of the batch, nats."""
    grad_norm: float
    """L2 norm of the gradient of the whole model, before clipping."""


def reduce(rank_step: RankStep) -> StepFigures:
    """Reduce the loss and the norm of a step over all ranks; a NaN of any rank is not lost."""
    table = gather([rank_step.loss_sum, rank_step.tokens, rank_step.grad_norm])
    return StepFigures(
        sum(row[0] for row in table) / sum(row[1] for row in table),
        # max alone may pass over a NaN: every comparison with one is False.
        max((row[2] for row in table), key=lambda value: (math.isnan(value), value)),
    )


class Meter:
    """Writes one line of metrics a step; every rank must call `record` for every step."""

    def __init__(self, spec: RunSpec, path: Path) -> None:
        self._spec, self._path = spec, path
        self._power = Power()
        self._line: dict[str, Any] = {}
        self._unwritten = ""
        self.seconds: float | None = None
        """Seconds of the last step; None before the first."""
        self._began = time.perf_counter()

    def record(
        self, step: int, figures: StepFigures | None, flags: Sequence[float]
    ) -> list[list[float]]:
        """Measure a step that ends now, for `write`; return the flags of all ranks, a row for each.

        Args:
            step: its number.
            figures: its loss and gradient norm; None where nothing was trained.
            flags: numbers that each rank passes to the others, in the same collective.
        """
        table = gather([*_memory(), self._power.mean(), *flags])
        now = time.perf_counter()
        self.seconds, self._began = now - self._began, now
        stage = self._spec.stage
        self._line = (
            {"step": step, "tokens": self._spec.tokens_through(step)}
            | {"loss": encoded(figures.loss) if figures else None}
            | {"grad_norm": encoded(figures.grad_norm) if figures else None}
            | self._speed(step, trained=figures is not None)
            | _extremes(table)
            | {"stage": stage.name if stage else None}
        )
        return [row[3:] for row in table]

    def write(self, extra: dict[str, Any]) -> None:
        """Append the line of the step on rank 0, with ``extra`` keys of the caller's."""
        if dist.get_rank() == 0:
            self._unwritten += json.dumps(self._line | extra, allow_nan=False) + "\n"
            with suppress(OSError):  # a full disk; it may have room again at the next step
                self._flush()

    def _flush(self) -> None:
        append(self._path, self._unwritten)
        self._unwritten = ""

    def _speed(self, step: int, trained: bool) -> dict[str, float | None]:
        if not trained or self.seconds is None:
            return {"step_ms": None, "tokens_per_s": None, "tflops_per_gpu": None}
        speed = self._spec.batch_at(step) * self._spec.model.sequence / self.seconds
        flops = speed * self._spec.model.flops_per_token / dist.get_world_size()
        return {
            "step_ms": 1000 * self.seconds,
            "tokens_per_s": speed,
            "tflops_per_gpu": flops / 1e12,
        }

    def forget(self) -> None:
        """Drop the lines that a full disk has kept unwritten: a rollback gives them up."""
        self._unwritten = ""

    def start(self) -> None:
        """Begin to measure the next step now."""
        self._power.drop()
        self._began = time.perf_counter()

    def close(self) -> None:
        """Flush the lines to the disk, before the result says that they are complete.

        Raises:
            OSError: they cannot be written.
        """
        self._flush()
        with self._path.open("rb") as file:
            os.fsync(file.fileno())


class Power:
    """Samples the power of this rank's card, W, in a thread; NaN where there is no NVML."""

    def __init__(self) -> None:
        self._samples: list[float] = []
        self._last = math.nan
        handle = _nvml_handle()
        if handle is not None:
            threading.Thread(target=self._sample, args=(handle,), daemon=True).start()

    def mean(self) -> float:
        """Mean W since the last call, or the last mean where there was no sample; NaN if none."""
        samples, self._samples = self._samples, []
        if samples:
            self._last = sum(samples) / len(samples)
        return self._last

    def drop(self) -> None:
        """Drop the samples since the last call: they are of no step."""
        self._samples = []

    def _sample(self, handle: Any) -> None:
        import pynvml

        while True:
            try:
                self._samples.append(pynvml.nvmlDeviceGetPowerUsage(handle) / 1000)
            except pynvml.NVMLError:  # a card that does not say
                return
            time.sleep(POWER_SECONDS)


def memory_kind() -> str:
    """Kind of memory that the memory figures measure."""
    return "cuda reserved" if torch.cuda.is_available() else "rss"


def _nvml_handle() -> Any:
    driver = nvml.library() if torch.cuda.is_available() else None
    if driver is None:  # an image without it has no figures of power, and trains all the same
        return None
    try:
        uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
        return driver.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except driver.NVMLError:
        return None


def _memory() -> tuple[float, float]:
    """Peak GiB of this rank: reserved from the device or host, and in tensors (NaN on the CPU)."""
    if torch.cuda.is_available():
        reserved, allocated = torch.cuda.max_memory_reserved(), torch.cuda.max_memory_allocated()
        return reserved / GIB, allocated / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, math.nan


def _extremes(table: list[list[float]]) -> dict[str, float | None]:
    memory, allocated, power = ([row[column] for row in table] for column in range(3))
    return {
        "mem_min_gib": _finite(min(memory)),
        "mem_max_gib": _finite(max(memory)),
        "mem_allocated_max_gib": _finite(max(allocated)),
        "power_min_w": _finite(min(power)),
        "power_max_w": _finite(max(power)),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
