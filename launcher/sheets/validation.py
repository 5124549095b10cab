"""How wrong the formulas are on sources that their constants have never seen."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import spearmanr

from launcher.planner.constants import Constants
from launcher.planner.forecast import Forecast, Grid, Seen
from launcher.planner.points import Array
from launcher.sheets import fit
from launcher.sheets.fit import Rows
from launcher.sheets.sheet import Sheet

GRID = ("source", "model", "layers", "hidden", "seq_len", "n_gpus", "hardware")
"""Rows that agree on these columns are one grid."""
LEAST = 8
"""Rows of a grid in which an order means something."""
TRIALS, DRAWS = 3, 5
"""Measured runs by which a grid is corrected, chosen at random so many times."""
ALL = "all of these"
"""In place of a source: the rows of all, each by the constants that have not seen its source."""
EVEN = 0.5
"""Chance of not fitting above which a run counts as predicted not to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Errors:
    """Of one source that the fit did not see; shares of the measured value. None: too few rows."""

    source: str
    what: str
    """step time, memory, or fits: whether a run fits its device."""
    rows: int
    median: float | None = None
    """Of the absolute error."""
    bias: float | None = None
    rank: float | None = None
    """Spearman's correlation of predicted and measured speed inside a grid, on average."""
    corrected: float | None = None
    """Median absolute error after `TRIALS` runs of a grid, of the other rows."""
    right: float | None = None
    """Share of rows that were classified right."""
    missed: float | None = None
    """Share of rows that did not fit though they were predicted to."""


def errors(sheet: Sheet) -> list[Errors]:
    """Errors on each source if it is left out of the fit, and on all of them together.

    Raises:
        ConfigError: there is nothing to fit to.
    """
    timed, used = fit.timed(sheet), fit.weighed(sheet)
    sources = np.unique(np.concatenate([timed.source, used.source])).tolist()
    left_out = {source: fit.fit(sheet, without=source) for source in sources}
    measured, known = used[np.isfinite(used.measured)], used[np.isfinite(used.fitted)]

    slow = _each(timed, lambda rows, of: fit.slowness(rows, left_out[of].time))
    full = _each(measured, lambda rows, of: fit.fullness(rows, left_out[of].memory))
    out = _each(known, lambda rows, of: Forecast(grid=_grid(rows, left_out[of])).oom)
    found = [
        replace(one, rank=rank, corrected=corrected)
        for one in _summed("step time", timed, slow)
        for rank, corrected in [_in_grids(sheet, timed, one.source, left_out)]
    ]
    return [*found, *_summed("memory", measured, full), *_classified(known, out > EVEN)]


def _each(rows: Rows, what: Callable[[Rows, str], Array]) -> Array:
    """A figure of each row, by the constants of its source."""
    out = np.zeros(len(rows.source))
    for source in np.unique(rows.source).tolist():
        mine = rows.source == source
        out[mine] = what(rows[mine], source)
    return out


def _parts(rows: Rows) -> Iterator[tuple[str, Array]]:
    """Each source and its rows, and all of them; nothing of no rows."""
    if not len(rows.source):
        return
    for source in np.unique(rows.source).tolist():
        yield source, rows.source == source
    yield ALL, np.ones(len(rows.source), dtype=bool)


def _summed(what: str, rows: Rows, logs: Array) -> list[Errors]:
    off = np.exp(logs) - 1
    return [
        Errors(source=source, what=what, rows=int(mine.sum()),
               median=float(np.median(np.abs(off[mine]))), bias=float(np.median(off[mine])))
        for source, mine in _parts(rows)
    ]  # fmt: skip


def _classified(rows: Rows, out: Array) -> list[Errors]:
    failed = rows.fitted == 0
    return [
        Errors(source=source, what="fits", rows=int(mine.sum()),
               right=float((out == failed)[mine].mean()),
               missed=float((failed & ~out)[mine].mean()))
        for source, mine in _parts(rows)
    ]  # fmt: skip


def _in_grids(
    sheet: Sheet, rows: Rows, source: str, left_out: Mapping[str, Constants]
) -> tuple[float | None, float | None]:
    """Rank correlation in the grids of a source, and the error after some of their runs."""
    ranks: list[float] = []
    rest: list[float] = []
    for mine in _grids(sheet, rows):
        of = str(rows.source[mine[0]])
        if source not in (of, ALL):
            continue
        grid, seconds = _grid(rows[mine], left_out[of]), rows.measured[mine]
        predicted = grid.tokens / grid.seconds
        if np.ptp(predicted) > 0:  # rows may differ in what no formula knows
            ranks.append(float(spearmanr(predicted, grid.tokens / seconds).statistic))
        rest.extend(_corrected(grid, seconds, seed) for seed in range(DRAWS))
    return _mean(ranks), _mean(rest)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _grids(sheet: Sheet, rows: Rows) -> Iterator[Array]:
    """Positions of the rows of each grid, if they are enough."""
    keys = [tuple(sheet.rows[int(i)].get(name, "") for name in GRID) for i in rows.number]
    for key in dict.fromkeys(keys):
        mine = np.flatnonzero([key == one for one in keys])
        if len(mine) >= LEAST and np.ptp(rows.measured[mine]) > 0:
            yield mine


def _corrected(grid: Grid, seconds: Array, seed: int) -> float:
    """Median error on the other rows once some have been measured."""
    order = np.random.default_rng(seed).permutation(len(seconds))
    seen = {int(i): Seen(fitted=True, step=float(seconds[i])) for i in order[:TRIALS]}
    rest = order[TRIALS:]
    predicted = np.exp(Forecast(grid=grid, seen=seen).log_seconds[rest])
    return float(np.median(np.abs(predicted / seconds[rest] - 1)))


def _grid(rows: Rows, constants: Constants) -> Grid:
    return Grid(points=rows.points, constants=constants, extra=np.zeros((len(rows.source), 0)))
