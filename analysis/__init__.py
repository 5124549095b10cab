"""Records as tables; what was measured, what failed and why.

    import analysis
    s = analysis.load("runs/parallelism_grid")
    s.table()

Nothing here needs torch: a copy of the folder on a laptop will do.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.results.columns import OF_SPEC

if TYPE_CHECKING:
    import pandas as pd

    from analysis.comparison import Comparison
    from analysis.runs import Runs

__all__ = ["AXES", "compare", "load", "pareto", "sensitivity", "spikes"]

AXES = tuple(OF_SPEC)
"""Columns of a table that the spec of a run decides."""


def load(*paths: str | Path) -> "Runs":
    """The runs below folders: of one run, of a sweep, of a curriculum, or of many of them.

    Args:
        paths: folders, such as ``runs/parallelism_grid``. Nothing is written in them but a hidden
            file of what was read, so that the next time only what is new is.

    Raises:
        ConfigError: a path is no folder, or no runs are below it.
    """
    from analysis.runs import Runs

    return Runs([Path(path).expanduser() for path in paths])


def compare(*runs: "Runs | str | Path", names: Sequence[str] | None = None) -> "Comparison":
    """Two or more sweeps side by side: what the same specs did in each, and what is only in one.

    Printed, it says what changed beyond noise: see `analysis.comparison`.

    Args:
        runs: the first is what the others are compared with; of `load`, or folders.
        names: what to call them; their folders' names where not given.

    Raises:
        ConfigError: less than two.
    """
    from analysis.comparison import Comparison

    loaded = [load(item) if isinstance(item, str | Path) else item for item in runs]
    return Comparison(loaded, names)


def sensitivity(runs: "Runs") -> "pd.DataFrame":
    """Cost of each axis, others equal.

    Every two points that differ in nothing but one axis are a pair.

    Returns:
        One row per axis and value but the first: ``axis``, ``base``, ``value``, ``pairs`` (that ran
        well both), ``tokens_per_s_ratio`` (median of value / base), ``low`` and ``high`` (its
        least and its largest), ``mem_ratio`` (median of mem_max_gib), ``failed`` (pairs whose base
        ran well and whose value did not), ``mended`` (the other way round).
    """
    from analysis.effects import sensitivity

    return sensitivity(runs.table())


def pareto(runs: "Runs", *columns: str) -> "pd.DataFrame":
    """The rows of `Runs.table` that ran well and than which none is better in all columns.

    Args:
        columns: such as ``"tokens_per_s", "mem_max_gib"``. Its row in
            `launcher.results.columns` says whether more or less of one is better: less memory,
            time, power, loss and GPUs is.

    Raises:
        ConfigError: no such column, or none at all.
    """
    from analysis.effects import pareto

    return pareto(runs.table(), columns)


def spikes(runs: "Runs") -> "pd.DataFrame":
    """Alarms of the spike detector in the losses of runs, whether they had a guard or not.

    Returns:
        One row per alarm: ``sweep``, ``folder``, kind, of ("loss" or "grad_norm"), step, value,
        baseline, size (in deviations), end and steps (until it). See docs/spikes.md.
    """
    from analysis.alarms import of_runs

    return of_runs(runs)
