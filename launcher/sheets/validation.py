"""Errors of the formulas on sources that their constants were not fitted to."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import spearmanr

from launcher.planner.constants import Constants
from launcher.planner.forecast import Forecast, Grid, Observation
from launcher.planner.points import Array
from launcher.sheets import fit
from launcher.sheets.fit import Rows
from launcher.sheets.sheet import Sheet

GRID = ("source", "model", "layers", "hidden", "seq_len", "n_gpus", "hardware")
"""Rows that agree on these columns are one grid."""
FEWEST_ROWS = 8
"""Rows of a grid in which an order means something."""
TRIALS, DRAWS = 3, 5
"""Measured runs by which a grid is corrected, chosen at random so many times."""
ALL = "all of these"
"""In place of a source: the rows of all, each by the constants that have not seen its source."""
EVEN = 0.5
"""Chance of not fitting above which a run counts as predicted not to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Errors:
    """Errors on one source that the fit did not see, as shares of the measured value.

    None where there are too few rows.
    """

    source: str
    quantity: str
    """step time, memory, or fits: whether a run fits its device."""
    rows: int
    median: float | None = None
    """Median of the absolute error."""
    bias: float | None = None
    """Median of the error with its sign."""
    rank: float | None = None
    """Spearman's correlation of predicted and measured speed inside a grid, on average."""
    corrected: float | None = None
    """Median absolute error after `TRIALS` runs of a grid, of the other rows."""
    right: float | None = None
    """Share of rows that were classified right."""
    missed: float | None = None
    """Share of rows that did not fit though they were predicted to."""


def errors(sheet: Sheet, start: Constants = fit.DEFAULTS) -> list[Errors]:
    """Errors on each source if it is left out of the fit, and on all of them together.

    Args:
        sheet: what was measured.
        start: see `fit.fit`; of a single source these are the constants that have not seen it.

    Raises:
        ConfigError: there is nothing to fit to.
    """
    timed, weighed = fit.time_rows(sheet), fit.memory_rows(sheet)
    sources = np.unique(np.concatenate([timed.source, weighed.source])).tolist()
    left_out = {source: fit.fit(sheet, source, start) for source in sources}
    measured = weighed[np.isfinite(weighed.measured)]
    classified = weighed[np.isfinite(weighed.fitted)]

    def time_residuals(rows: Rows, source: str) -> Array:
        return fit.time_residuals(rows, left_out[source].time)

    def memory_residuals(rows: Rows, source: str) -> Array:
        return fit.memory_residuals(rows, left_out[source].memory)

    def oom_chance(rows: Rows, source: str) -> Array:
        return Forecast(grid=_grid(rows, left_out[source])).oom

    times = _magnitudes("step time", timed, _by_source(timed, time_residuals))
    memories = _magnitudes("memory", measured, _by_source(measured, memory_residuals))
    in_grids = [_in_grids(sheet, timed, error.source, left_out) for error in times]
    return [
        *(replace(e, rank=rank, corrected=c) for e, (rank, c) in zip(times, in_grids, strict=True)),
        *memories,
        *_classification(classified, _by_source(classified, oom_chance) > EVEN),
    ]


def _by_source(rows: Rows, figure: Callable[[Rows, str], Array]) -> Array:
    """Compute a figure of each row by the constants that have not seen its source."""
    figures = np.zeros(len(rows.source))
    for source in np.unique(rows.source).tolist():
        mask = rows.source == source
        figures[mask] = figure(rows[mask], source)
    return figures


def _masks(rows: Rows) -> Iterator[tuple[str, Array]]:
    """Yield each source and its rows, then all of them; nothing where there are no rows."""
    if not len(rows.source):
        return
    for source in np.unique(rows.source).tolist():
        yield source, rows.source == source
    yield ALL, np.ones(len(rows.source), dtype=bool)


def _magnitudes(quantity: str, rows: Rows, residuals: Array) -> list[Errors]:
    """Size and bias of log(predicted / measured)."""
    relative = np.exp(residuals) - 1
    return [
        Errors(
            source=source,
            quantity=quantity,
            rows=int(mask.sum()),
            median=float(np.median(np.abs(relative[mask]))),
            bias=float(np.median(relative[mask])),
        )
        for source, mask in _masks(rows)
    ]


def _classification(rows: Rows, predicted_oom: Array) -> list[Errors]:
    """Shares of rows that are predicted right, and of those that failed against prediction."""
    failed = rows.fitted == 0
    return [
        Errors(
            source=source,
            quantity="fits",
            rows=int(mask.sum()),
            right=float((predicted_oom == failed)[mask].mean()),
            missed=float((failed & ~predicted_oom)[mask].mean()),
        )
        for source, mask in _masks(rows)
    ]


def _in_grids(
    sheet: Sheet, rows: Rows, source: str, left_out: Mapping[str, Constants]
) -> tuple[float | None, float | None]:
    """Rank correlation in the grids of a source, and the error after some of their runs."""
    ranks: list[float] = []
    corrected: list[float] = []
    for positions in _grids(sheet, rows):
        grid_source = str(rows.source[positions[0]])
        if source not in (grid_source, ALL):
            continue
        grid, seconds = _grid(rows[positions], left_out[grid_source]), rows.measured[positions]
        speed = grid.tokens_per_device / grid.seconds
        if np.ptp(speed) > 0:  # rows may differ in what no formula knows
            ranks.append(float(spearmanr(speed, grid.tokens_per_device / seconds).statistic))
        corrected.extend(_corrected_error(grid, seconds, seed) for seed in range(DRAWS))
    return _mean(ranks), _mean(corrected)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _grids(sheet: Sheet, rows: Rows) -> Iterator[Array]:
    """Positions of the rows of each grid that has enough of them."""
    keys = [tuple(sheet.rows[int(i)].get(name, "") for name in GRID) for i in rows.number]
    for key in dict.fromkeys(keys):
        positions = np.flatnonzero([key == row_key for row_key in keys])
        if len(positions) >= FEWEST_ROWS and np.ptp(rows.measured[positions]) > 0:
            yield positions


def _corrected_error(grid: Grid, seconds: Array, seed: int) -> float:
    """Median error on the other rows once some have been measured."""
    order = np.random.default_rng(seed).permutation(len(seconds))
    trials, unseen = order[:TRIALS], order[TRIALS:]
    observations = {int(i): Observation(fitted=True, step=float(seconds[i])) for i in trials}
    predicted = np.exp(Forecast(grid=grid, observations=observations).log_seconds[unseen])
    return float(np.median(np.abs(predicted / seconds[unseen] - 1)))


def _grid(rows: Rows, constants: Constants) -> Grid:
    return Grid(points=rows.points, constants=constants, extra=np.zeros((len(rows.source), 0)))
