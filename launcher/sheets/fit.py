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
"""Standard deviation beforehand of the logarithm of each constant that is fitted; the others stay
as they are."""

SHARES = {"matmul", "flash", "memory", "link", "network", "exposed_gradients", "exposed_gathers",
          "exposed_sends"}  # fmt: skip
"""Constants that cannot exceed 1."""

NO_TIME = re.compile(r"CI tests|LoRA|SFT", re.I)
"""Notes and models of rows whose step time is not that of pretraining."""
NO_MEMORY = re.compile(r"method not stated|LoRA|SFT|grpo", re.I)
"""Notes and models of rows whose memory is not that of pretraining, or is not comparable."""
SIZES = frozenset({"layers", "hidden", "micro_batch"})
"""Columns without which a row says nothing of a formula."""
SPLITS = frozenset({"n_gpus", "tp", "pp", "seq_len"})
"""Columns that its memory needs besides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Measured rows that one formula is compared with."""

    points: Points
    measured: Array
    """Seconds of a step, or bytes; nan where a run is only known to have fitted, or not to."""
    fitted: Array
    """1.0 or 0.0; nan where that is not known."""
    kind: Array
    """Kind of the bytes: a key of `launcher.planner.memory.KINDS`."""
    source: Array
    number: Array
    """Position of the row in the sheet."""

    def __getitem__(self, chosen: Array) -> "Rows":
        names = [field.name for field in dataclasses.fields(self)]
        return Rows(**{name: getattr(self, name)[chosen] for name in names})


DEFAULTS = Constants()
"""Most likely values of the constants before any row was seen."""


def fit(sheet: Sheet, without: str | None = None, start: Constants = DEFAULTS) -> Constants:
    """Fit the constants to a sheet, or to all of it without one source.

    Args:
        sheet: what was measured.
        without: a source to leave out.
        start: values of the constants that are most likely beforehand; those of a formula that no
            row tells of (`gaps`) stay as they are.

    Raises:
        ConfigError: there is nothing to fit to.
    """
    timed, weighed, missing = time_rows(sheet), memory_rows(sheet), gaps(sheet)
    if len(missing) == len(NOISE):
        raise ConfigError("; ".join(missing.values()))
    # What mixtures of experts lose to many small kernels is not modelled: they would bend the rest.
    dense = timed[(timed.source != without) & (timed.points.experts == 0)]
    others = weighed[weighed.source != without]
    return Constants(
        time=start.time
        if "time" in missing
        else _fitted(start.time, dense, time_residuals, NOISE["time"]),
        memory=start.memory
        if "memory" in missing
        else _fitted(start.memory, others, memory_residuals, NOISE["memory"]),
    )


def gaps(sheet: Sheet) -> dict[str, str]:
    """Formulas that no row has a figure of, by the fields of `Constants`, and what is missing."""
    missing = {}
    if not (time_rows(sheet).points.experts == 0).any():
        figures = "a step_s or tokens_per_s_per_gpu above 0"
        missing["time"] = f"no row of a dense model states its sizes and {figures}"
    if not np.isfinite(memory_rows(sheet).measured).any():
        gib = f"{LEAST_GIB:g}"
        missing["memory"] = f"no row states its sizes, layout and a mem_gb of {gib} or more"
    return missing


def time_residuals(rows: Rows, constants: TimeConstants) -> Array:
    """log(predicted / measured) step time."""
    return np.log(steptime.step_time(rows.points, constants).total / rows.measured)


def memory_residuals(rows: Rows, constants: MemoryConstants) -> Array:
    """log(predicted / measured) memory; where only a bound is known, how far it is broken."""
    residuals = np.zeros(len(rows.measured))
    for kind in np.unique(rows.kind):
        mask = rows.kind == kind
        predicted = memory.reported_bytes(rows.points[mask], constants, kind)
        residuals[mask] = np.log(predicted / rows.measured[mask])
    excess = np.log(memory.required_bytes(rows.points, constants) / rows.points.memory)
    violation = np.where(rows.fitted > 0, np.maximum(excess, 0.0), np.minimum(excess, 0.0))
    return np.where(np.isfinite(rows.measured), residuals, violation)


def time_rows(sheet: Sheet) -> Rows:
    """Rows with a step time."""
    return _rows(sheet, sheet.step_seconds, NO_TIME, SIZES, np.isfinite(sheet.step_seconds))


def memory_rows(sheet: Sheet) -> Rows:
    """Rows with a memory figure, or that are known to have fitted or not."""
    measured = sheet.numbers("mem_gb")
    measured = np.where(measured >= LEAST_GIB, measured * GIB, np.nan)
    bounded = np.isfinite(sheet.oom) & np.isfinite(sheet.points.memory) & (sheet.points.cpu == 0)
    # What did not fit shows what it had when it failed, not what it wanted.
    measured = np.where(sheet.oom == 1, np.nan, measured)
    return _rows(sheet, measured, NO_MEMORY, SIZES | SPLITS, np.isfinite(measured) | bounded)


def _rows(
    sheet: Sheet, measured: Array, unfit: re.Pattern[str], needs: frozenset[str], usable: Array
) -> Rows:
    """Usable rows that state all that a formula needs.

    Args:
        sheet: the rows.
        measured: figure of each.
        unfit: pattern of notes and models of rows to leave out.
        needs: columns that must be stated.
        usable: True for rows with a figure, or with a bound of it.
    """
    complete = [
        not assumed & needs and not unfit.search(f"{row.get('notes', '')} {row.get('model', '')}")
        for row, assumed in zip(sheet.rows, sheet.assumed, strict=True)
    ]
    # Expert parallel, but nothing is said of the experts.
    no_experts = (sheet.points.ep > 1) & (sheet.points.experts == 0)
    # In fp8 or not, and nothing is said of it.
    unstated = ["precision" in assumed for assumed in sheet.assumed]
    no_precision = (sheet.points.peak_half > 500e12) & unstated
    number = np.flatnonzero(usable & np.array(complete) & ~no_experts & ~no_precision)
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
    names = [field.name for field in dataclasses.fields(start) if field.name in SPREADS]
    prior = np.log([getattr(start, name) for name in names])
    spreads = np.array([SPREADS[name] for name in names])
    _, source, counts = np.unique(rows.source, return_inverse=True, return_counts=True)
    weight = np.minimum(1.0, (ROWS / counts[source]) ** 0.5) / noise

    def constants(logs: Array) -> T:
        return dataclasses.replace(start, **dict(zip(names, np.exp(logs).tolist(), strict=True)))

    def residuals(logs: Array) -> Array:
        return np.concatenate([residual(rows, constants(logs)) * weight, (logs - prior) / spreads])

    upper = [0.0 if name in SHARES else np.inf for name in names]
    bounds = (-np.inf, np.array(upper))
    solution = least_squares(
        residuals, prior, bounds=bounds, loss="soft_l1", f_scale=1.5, max_nfev=60
    )
    return constants(solution.x)
