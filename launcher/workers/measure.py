"""What a step cost: time, memory and power of every rank, reduced by one small collective."""

import json
import math
import os
import resource
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launcher.spec import RunSpec
from launcher.workers import platform
from launcher.workers.engine import Done
from launcher.workers.errors import DivergedError

GIB = 2.0**30
POWER_SECONDS = 0.5


class Meter:
    """Writes one line of metrics a step; every rank must call `record` for every step."""

    def __init__(self, spec: RunSpec, path: Path) -> None:
        self._spec, self._path = spec, path
        self._power = Power()
        self._began = time.perf_counter()

    def record(self, step: int, lr: float, done: Done, stop: bool = False) -> bool:
        """Reduce the figures of a step over the ranks and append them on rank 0.

        Returns whether any rank was asked to ``stop``: the same on all of them.

        Raises:
            DivergedError: on every rank, when the loss or the gradient norm is not finite.
        """
        table = gather(
            [done.loss_sum, done.tokens, done.grad_norm, *_memory(), self._power.mean(), stop]
        )
        now = time.perf_counter()
        milliseconds, self._began = (now - self._began) * 1000, now
        loss = sum(row[0] for row in table) / sum(row[1] for row in table)
        norm = max((row[2] for row in table), key=lambda value: (math.isnan(value), value))
        if dist.get_rank() == 0:
            self._write(
                {"step": step, "tokens": step * self._spec.tokens_per_step}
                | {"loss": _finite(loss), "grad_norm": _finite(norm), "lr": lr}
                | self._speed(milliseconds)
                | _extremes(table)
                | {"stage": None}
            )
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(f"step {step}: loss {loss:g}, grad norm {norm:g}")
        return any(row[6] for row in table)

    def _speed(self, milliseconds: float) -> dict[str, float]:
        speed = self._spec.tokens_per_step / milliseconds * 1000
        flops = speed * self._spec.model.flops_per_token / dist.get_world_size()
        return {"step_ms": milliseconds, "tokens_per_s": speed, "tflops_per_gpu": flops / 1e12}

    def _write(self, line: Mapping[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def start(self) -> None:
        """The next step begins now."""
        self._began = time.perf_counter()

    def close(self) -> None:
        """Have the lines on disk before the result says that they are all there."""
        with self._path.open("rb") as file:
            os.fsync(file.fileno())


class Power:
    """Samples the watts of this rank's card in a thread; knows nothing where there is no NVML."""

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

    def _sample(self, handle: Any) -> None:
        import pynvml

        while True:
            try:
                self._samples.append(pynvml.nvmlDeviceGetPowerUsage(handle) / 1000)
            except pynvml.NVMLError:  # a card that does not say
                return
            time.sleep(POWER_SECONDS)


def memory_kind() -> str:
    """What the memory figures are."""
    return "cuda reserved" if torch.cuda.is_available() else "rss"


def _nvml_handle() -> Any:
    if not torch.cuda.is_available():
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except pynvml.NVMLError:
        return None


def _memory() -> tuple[float, float]:
    """Peak GiB of this rank: taken from the machine, and in tensors (NaN on the CPU)."""
    if torch.cuda.is_available():
        reserved, allocated = torch.cuda.max_memory_reserved(), torch.cuda.max_memory_allocated()
        return reserved / GIB, allocated / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, math.nan


def gather(figures: Sequence[float]) -> list[list[float]]:
    """One row of figures a rank, on every rank; whole numbers are exact below 2**53."""
    mine = torch.tensor(figures, dtype=torch.float64, device=platform.device())
    rows = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, mine)
    return torch.stack(rows).tolist()


def _extremes(table: list[list[float]]) -> dict[str, float | None]:
    memory, allocated, power = ([row[column] for row in table] for column in (3, 4, 5))
    return {
        "mem_min_gib": _finite(min(memory)),
        "mem_max_gib": _finite(max(memory)),
        "mem_allocated_max_gib": _finite(max(allocated)),
        "power_min_w": _finite(min(power)),
        "power_max_w": _finite(max(power)),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
