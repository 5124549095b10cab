"""Fit the constants of both formulas to a sheet of measured runs, and say how well they do.

Maximum a posteriori in the logarithms: each constant has a most likely value beforehand (the
defaults of `MemoryConstants` and `TimeConstants`) and a spread (`SPREADS`), and a source of many
rows weighs no more than `ROWS` of them, for its rows share their mistakes. Errors are those of
rows whose whole source was left out of the fit.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.optimize import least_squares

from launcher.errors import ConfigError
from launcher.planner import memory, steptime
from launcher.planner.constants import Constants
from launcher.planner.memory import MemoryConstants
from launcher.planner.points import GIB, Array, Points
from launcher.planner.sheet import Sheet
from launcher.planner.steptime import TimeConstants

T = TypeVar("T", MemoryConstants, TimeConstants)

ROWS = 20
"""Rows of one source beyond which it gains no more weight."""

NOISE = {"time": 0.10, "memory": 0.08}
"""Standard deviation of log(measured / predicted) of one row."""

LEAST_GIB = 1.0
"""Memory figures below say more about workspaces than about layouts."""

SPREADS: Mapping[str, float] = {
    # memory
    "activations": 0.1, "unfused": 0.1, "logit_bytes": 0.2, "score_bytes": 0.3,
    "workspace_gib": 0.5, "bucket_gib": 0.5, "reserved": 0.03, "squeezed": 0.01,
    "context_gib": 0.2, "communicator_gib": 0.15,
    # time
    "matmul": 0.05, "matmul_h100": 0.05, "matmul_fp8": 0.08, "half_rows": 0.4, "half_width": 0.4,
    "memory": 0.05, "hidden_bytes": 0.3, "ffn_bytes": 0.3, "score_traffic": 0.3, "flash": 0.15,
    "flash_h100": 0.15,
    "launch": 0.5, "link": 0.1, "network": 0.05, "collective": 0.4, "send": 0.5,
    "exposed_gradients": 0.4, "exposed_gathers": 0.4, "exposed_sends": 0.4, "step": 0.5,
}  # fmt: skip
"""Of the logarithm of each constant that is fitted; the others stay as they are."""

SHARES = {"matmul", "flash", "memory", "link", "network", "exposed_gradients", "exposed_gathers",
          "exposed_sends"}  # fmt: skip
"""Constants that cannot exceed 1."""

NO_TIME = re.compile(r"CI tests|LoRA|SFT|Moonlight|Nemotron.3|GPT OSS", re.I)
"""Notes and models of rows whose step time is no pretraining's."""
NO_MEMORY = re.compile(r"method not stated|LoRA|grpo", re.I)
"""The same for memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Errors:
    """Of one source that the fit did not see; shares of the measured value."""

    source: str
    what: str
    """step time, memory."""
    rows: int
    median: float
    bias: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """What one formula is fitted to."""

    points: Points
    measured: Array
    source: Array
    number: Array
    """Of the row in the sheet."""

    def __getitem__(self, chosen: Array) -> "_Rows":
        names = [one.name for one in dataclasses.fields(self)]
        return _Rows(**{name: getattr(self, name)[chosen] for name in names})


def fit(sheet: Sheet) -> tuple[Constants, list[Errors]]:
    """The constants, and the errors on each source if it is left out of the fit.

    Raises:
        ConfigError: there is nothing to fit to.
    """
    timed, weighed = _timed(sheet), _weighed(sheet)
    if not len(timed.measured) or not len(weighed.measured):
        raise ConfigError("no row has a step time, or none a mem_gb, and all sizes")
    kinds = np.array(sheet.memory_kinds)

    def seconds(rows: _Rows, constants: TimeConstants) -> Array:
        return np.log(steptime.step_time(rows.points, constants).total / rows.measured)

    def memories(rows: _Rows, constants: MemoryConstants) -> Array:
        return np.log(_figures(rows, kinds[rows.number], constants) / rows.measured)

    time_constants = _fitted(TimeConstants(), timed, seconds, NOISE["time"])
    memory_constants = _fitted(MemoryConstants(), weighed, memories, NOISE["memory"])
    errors = [
        *_left_out(TimeConstants(), timed, seconds, NOISE["time"], "step time"),
        *_left_out(MemoryConstants(), weighed, memories, NOISE["memory"], "memory"),
    ]
    return Constants(memory=memory_constants, time=time_constants), errors


def _timed(sheet: Sheet) -> _Rows:
    return _rows(sheet, sheet.step_seconds, NO_TIME, ("layers", "hidden", "micro_batch"))


def _weighed(sheet: Sheet) -> _Rows:
    measured = sheet.figure("mem_gb")
    measured = np.where(measured >= LEAST_GIB, measured * GIB, np.nan)
    return _rows(sheet, measured, NO_MEMORY, ("layers", "hidden", "micro_batch", "n_gpus"))


def _rows(sheet: Sheet, measured: Array, no: re.Pattern[str], needs: Sequence[str]) -> _Rows:
    """Rows that say all that matters."""
    whole = [
        not any(f"{name} " in f"{note}, " for name in needs)
        and not no.search(f"{row.get('notes', '')} {row.get('model', '')}")
        for row, note in zip(sheet.rows, sheet.notes, strict=True)
    ]
    # Expert parallel, but nothing is said of the experts.
    hidden = (sheet.points.ep > 1) & (sheet.points.experts == 0)
    number = np.flatnonzero(np.isfinite(measured) & np.array(whole) & ~hidden)
    source = np.array([sheet.rows[int(i)].get("source", "") or "?" for i in number])
    return _Rows(
        points=sheet.points[number], measured=measured[number], source=source, number=number
    )


def _figures(rows: _Rows, kinds: Array, constants: MemoryConstants) -> Array:
    out = np.zeros(len(rows.measured))
    for kind in np.unique(kinds):
        mine = kinds == kind
        out[mine] = memory.figure(rows.points[mine], constants, kind)
    return out


def _fitted(start: T, rows: _Rows, residual: Callable[[_Rows, T], Array], noise: float) -> T:
    """Constants of highest posterior probability; outliers count little (soft L1)."""
    names = [one.name for one in dataclasses.fields(start) if one.name in SPREADS]
    before = np.log([getattr(start, name) for name in names])
    spreads = np.array([SPREADS[name] for name in names])
    counts = {source: int((rows.source == source).sum()) for source in np.unique(rows.source)}
    weight = np.array([min(1.0, (ROWS / counts[source]) ** 0.5) for source in rows.source]) / noise

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


def _left_out(
    start: T, rows: _Rows, residual: Callable[[_Rows, T], Array], noise: float, what: str
) -> list[Errors]:
    out = []
    for source in np.unique(rows.source):
        mine = rows.source == source
        constants = _fitted(start, rows[~mine], residual, noise)
        error = np.exp(residual(rows[mine], constants)) - 1
        out.append(Errors(
            source=str(source), what=what, rows=int(mine.sum()),
            median=float(np.median(np.abs(error))), bias=float(np.median(error)),
        ))  # fmt: skip
    return out
