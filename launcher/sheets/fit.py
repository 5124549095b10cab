"""Fit the constants of both formulas to a sheet of measured runs.

Maximum a posteriori in the logarithms: each constant has a most likely value beforehand (the
defaults of `MemoryConstants` and `TimeConstants`) and a spread (`SPREADS`), and a source of many
rows weighs no more than `ROWS` of them, for its rows share their mistakes. Of a run that is only
known to have fitted, or not to, what it wants is bounded by what its device has.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.optimize import least_squares

from launcher.errors import ConfigError
from launcher.planner import memory, steptime
from launcher.planner.constants import Constants
from launcher.planner.memory import MemoryConstants
from launcher.planner.points import GIB, Array, Points
from launcher.planner.steptime import TimeConstants
from launcher.sheets.sheet import Sheet

T = TypeVar("T", MemoryConstants, TimeConstants)

ROWS = 20
"""Rows of one source beyond which it gains no more weight."""

NOISE = {"time": 0.10, "memory": 0.08}
"""Standard deviation of log(measured / predicted) of one row."""

LEAST_GIB = 20.0
"""Memory figures below say more about workspaces than about layouts."""

SPREADS: Mapping[str, float] = {
    # memory
    "activations": 0.05, "unfused": 0.1, "logit_bytes": 0.1, "score_bytes": 0.2,
    "workspace_gib": 0.5, "bucket_gib": 0.2, "reserved": 0.02, "squeezed": 0.01,
    "context_gib": 0.2, "communicator_gib": 0.15,
    # time
    "matmul": 0.05, "matmul_h100": 0.05, "matmul_fp8": 0.08,
    "half_rows": 0.25, "half_width": 0.25, "ring": 0.3,
    "memory": 0.05, "hidden_bytes": 0.2, "ffn_bytes": 0.2, "score_traffic": 0.2, "flash": 0.15,
    "flash_h100": 0.15,
    "launch": 0.2, "link": 0.1, "network": 0.05, "collective": 0.3, "send": 0.4,
    "exposed_gradients": 0.4, "exposed_gathers": 0.4, "exposed_sends": 0.4, "step": 0.5,
}  # fmt: skip
"""Of the logarithm of each constant that is fitted; the others stay as they are."""

SHARES = {"matmul", "flash", "memory", "link", "network", "exposed_gradients", "exposed_gathers",
          "exposed_sends"}  # fmt: skip
"""Constants that cannot exceed 1."""

NO_TIME = re.compile(r"CI tests|LoRA|SFT", re.I)
"""Notes and models of rows whose step time is no pretraining's."""
NO_MEMORY = re.compile(r"method not stated|LoRA|SFT|grpo", re.I)
"""The same for memory."""
SIZES = frozenset({"layers", "hidden", "micro_batch"})
"""Columns without which a row says nothing of a formula."""
SPLITS = frozenset({"n_gpus", "tp", "pp", "seq_len"})
"""And those that its memory needs besides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What one formula is compared with."""

    points: Points
    measured: Array
    """Seconds of a step, or bytes; nan where a run is only known to have fitted, or not to."""
    fitted: Array
    """1.0 or 0.0; nan where that is not known."""
    kind: Array
    """Of the bytes: a key of `launcher.planner.memory.KINDS`."""
    source: Array
    number: Array
    """Of the row in the sheet."""

    def __getitem__(self, chosen: Array) -> "Rows":
        names = [one.name for one in dataclasses.fields(self)]
        return Rows(**{name: getattr(self, name)[chosen] for name in names})


def fit(sheet: Sheet, without: str | None = None) -> Constants:
    """The constants that explain a sheet, or all of it but for one source.

    Raises:
        ConfigError: there is nothing to fit to.
    """
    time, used = timed(sheet), weighed(sheet)
    if not len(time.measured):
        raise ConfigError("no row states its sizes and a step_s or tokens_per_s_per_gpu above 0")
    if not np.isfinite(used.measured).any():
        raise ConfigError(f"no row states its sizes, layout and a mem_gb of {LEAST_GIB:g} or more")
    # What mixtures of experts lose to many small kernels is not modelled: they would bend the rest.
    dense = time[(time.source != without) & (time.points.experts == 0)]
    return Constants(
        time=_fitted(TimeConstants(), dense, slowness, NOISE["time"]),
        memory=_fitted(MemoryConstants(), used[used.source != without], fullness, NOISE["memory"]),
    )


def slowness(rows: Rows, constants: TimeConstants) -> Array:
    """log(predicted / measured) step time."""
    return np.log(steptime.step_time(rows.points, constants).total / rows.measured)


def fullness(rows: Rows, constants: MemoryConstants) -> Array:
    """log(predicted / measured) memory; where only a bound is known, how far it is broken."""
    out = np.zeros(len(rows.measured))
    for kind in np.unique(rows.kind):
        mine = rows.kind == kind
        out[mine] = np.log(memory.figure(rows.points[mine], constants, kind) / rows.measured[mine])
    over = np.log(memory.wanted(rows.points, constants) / rows.points.memory)
    broken = np.where(rows.fitted > 0, np.maximum(over, 0.0), np.minimum(over, 0.0))
    return np.where(np.isfinite(rows.measured), out, broken)


def timed(sheet: Sheet) -> Rows:
    """Rows with a step time."""
    return _rows(sheet, sheet.step_seconds, NO_TIME, SIZES, np.isfinite(sheet.step_seconds))


def weighed(sheet: Sheet) -> Rows:
    """Rows with a memory figure, or of which it is known whether they fitted."""
    measured = sheet.figure("mem_gb")
    measured = np.where(measured >= LEAST_GIB, measured * GIB, np.nan)
    bounded = np.isfinite(sheet.oom) & np.isfinite(sheet.points.memory) & (sheet.points.cpu == 0)
    # What did not fit shows what it had when it failed, not what it wanted.
    measured = np.where(sheet.oom == 1, np.nan, measured)
    return _rows(sheet, measured, NO_MEMORY, SIZES | SPLITS, np.isfinite(measured) | bounded)


def _rows(
    sheet: Sheet, measured: Array, no: re.Pattern[str], needs: frozenset[str], known: Array
) -> Rows:
    """Rows that say all that matters."""
    whole = [
        not assumed & needs and not no.search(f"{row.get('notes', '')} {row.get('model', '')}")
        for row, assumed in zip(sheet.rows, sheet.assumed, strict=True)
    ]
    # Expert parallel, but nothing is said of the experts.
    hidden = (sheet.points.ep > 1) & (sheet.points.experts == 0)
    # In fp8 or not, and nothing is said of it.
    vague = (sheet.points.peak_half > 500e12) & ["precision" in one for one in sheet.assumed]
    number = np.flatnonzero(known & np.array(whole) & ~hidden & ~vague)
    return Rows(
        points=sheet.points[number],
        measured=measured[number],
        fitted=1 - sheet.oom[number],
        kind=np.array(sheet.memory_kinds)[number],
        source=np.array([sheet.rows[int(i)].get("source", "") or "?" for i in number]),
        number=number,
    )


def _fitted(start: T, rows: Rows, residual: Callable[[Rows, T], Array], noise: float) -> T:
    """Constants of highest posterior probability; outliers count little (soft L1)."""
    names = [one.name for one in dataclasses.fields(start) if one.name in SPREADS]
    before = np.log([getattr(start, name) for name in names])
    spreads = np.array([SPREADS[name] for name in names])
    _, number, counts = np.unique(rows.source, return_inverse=True, return_counts=True)
    weight = np.minimum(1.0, (ROWS / counts[number]) ** 0.5) / noise

    def made(logs: Array) -> T:
        return dataclasses.replace(start, **dict(zip(names, np.exp(logs).tolist(), strict=True)))

    def residuals(logs: Array) -> Array:
        return np.concatenate([residual(rows, made(logs)) * weight, (logs - before) / spreads])

    most = [0.0 if name in SHARES else np.inf for name in names]
    bounds = (-np.inf, np.array(most))
    found = least_squares(
        residuals, before, bounds=bounds, loss="soft_l1", f_scale=1.5, max_nfev=60
    )
    return made(found.x)
