"""Parts of a report: each sweep, each curriculum, each run by itself."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.charts.curves import floats
from analysis.charts.names import names
from launcher.results.columns import COLUMNS, SPEED
from launcher.results.run_folder import RunFolder
from launcher.results.sweep_folder import SweepFolder

Kind = Literal["run", "sweep", "curriculum"]


@dataclass(frozen=True, kw_only=True)  # no slots: what follows from the tables is kept
class Part:
    """The tables of one folder of runs; columns as in `analysis.runs`."""

    name: str
    table: pd.DataFrame
    steps: pd.DataFrame
    events: pd.DataFrame
    attempts: pd.DataFrame

    @property
    def kind(self) -> Kind:
        """Kind of its runs."""
        if len(self.table) and self.table["stage"].notna().all():
            return "curriculum"
        return "run" if len(self.table) == 1 else "sweep"

    @property
    def title(self) -> str:
        """Its kind as it is called."""
        if not self.imported:
            return self.kind
        return "imported run" if self.kind == "run" else "imported runs"

    @cached_property
    def imported(self) -> bool:
        """True where this project started none of it, as far as it can be read."""
        ours = ~self.foreign & (self.table["outcome"] != "unreadable")
        return bool(self.foreign.any() and not ours.any())

    @cached_property
    def foreign(self) -> "pd.Series[bool]":
        """True for each point that this project did not start."""
        unknown = self.table["spec_id"].isna()
        damaged = unknown & (self.table["outcome"] == "unreadable")
        folders = self.table["folder"][damaged].dropna().astype(str)
        is_imported = [RunFolder(Path(folder)).is_imported for folder in folders]
        return (unknown & ~damaged) | self.table.index.isin(folders[is_imported].index)

    @cached_property
    def ok(self) -> pd.DataFrame:
        """The points that ran well."""
        return self.table[self.table["outcome"] == "ok"]

    @cached_property
    def names(self) -> "pd.Series[str]":
        """Name of each point by what tells it from the others."""
        return names(self.table)

    @property
    def goal(self) -> str:
        """Column of which the best is sought."""
        goal: str = self.table.attrs.get("goal", SPEED)
        return goal

    @cached_property
    def best(self) -> "pd.Series[Any] | None":
        """The row of the best point that ran well; where none did, of the fastest of all."""
        for rows, goal in ((self.ok, self.goal), (self.ok, SPEED), (self.table, SPEED)):
            merits = floats(rows[goal]) * (-1 if COLUMNS[goal].better == "less" else 1)
            if not np.isnan(merits).all():
                return rows.iloc[int(np.nanargmax(merits))]
        return None

    @cached_property
    def seconds(self) -> float | None:
        """From its first start to its last end, breaks included; None while it runs."""
        began, ended = floats(self.attempts["started"]), floats(self.attempts["ended"])
        last = np.argmax(began) if len(began) else None
        return None if last is None or np.isnan(ended[last]) else float(ended[last] - began.min())

    @cached_property
    def useful_seconds(self) -> float | None:
        """Seconds of optimizer steps that count; a step that was done again counts once."""
        counted = self.steps.drop_duplicates(["folder", "step"], keep="last")
        spans = floats(counted["step_ms"])
        return None if np.isnan(spans).all() else float(np.nansum(spans)) / 1000


def gpu_hours(part: Part) -> "pd.Series[float]":
    """Hours of cards of all attempts, by the outcome of their point; unknown ones are left out."""
    outcomes = dict(zip(part.table["folder"], part.table["outcome"], strict=True))
    by_outcome = part.attempts["folder"].map(outcomes)
    return _series(part.attempts["gpu_hours"]).groupby(by_outcome).sum(min_count=1).dropna()


def with_whole_paths(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of runs with whole paths as sweeps: of a run that was given by itself there is but
    the name of its sweep, or of ``.`` none, and two sweeps may have one name."""
    folders = frame["folder"].dropna().astype(str)
    parents = {folder: os.path.dirname(os.path.abspath(folder)) for folder in folders.unique()}
    sweeps = {sweep: os.path.abspath(sweep) for sweep in frame["sweep"].dropna().unique()}
    by_sweep = frame["sweep"].map(sweeps).astype(object)
    by_folder = folders.map(parents).astype(object).reindex(frame.index)
    return frame.assign(sweep=by_folder.where(by_folder.notna(), by_sweep))


def parts(
    table: pd.DataFrame, steps: pd.DataFrame, events: pd.DataFrame, attempts: pd.DataFrame
) -> list[Part]:
    """One for each sweep, in the order of the table."""
    short_names = short_sweeps(table["sweep"].dropna().unique())
    steps_of, events_of, attempts_of = map(_by_sweep, (steps, events, attempts))
    sweeps = []
    for name, rows in table.groupby("sweep", sort=False):
        if rows["stage"].notna().all():
            rows = rows.sort_values("row", kind="stable")
        rows.attrs = table.attrs | {"goal": SweepFolder(Path(str(name))).goal}
        rows.attrs |= {"memory": "rss_gib"} if _of_processes(rows) else {}
        sweeps.append(
            Part(
                name=short_names[str(name)],
                table=rows,
                steps=steps_of.get(name, steps.iloc[:0]),
                events=events_of.get(name, events.iloc[:0]),
                attempts=attempts_of.get(name, attempts.iloc[:0]),
            )
        )
    return sweeps


def _by_sweep(frame: pd.DataFrame) -> dict[Any, pd.DataFrame]:
    return dict(list(frame.groupby("sweep", sort=False)))


def _of_processes(rows: pd.DataFrame) -> bool:
    """True where the memory is that of processes: no prediction of a card is compared with it."""
    predicted = rows[rows["pred_mem_gib"].notna() & rows["mem_max_gib"].notna()]
    return len(predicted) > 0 and bool(predicted["pred_mem_err_pct"].isna().all())


def short_sweeps(sweeps: Iterable[str]) -> dict[str, str]:
    """Folders of sweeps -> what is left of them without the folder that they are all in."""
    paths = [str(sweep) for sweep in sweeps]
    try:
        above = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # there are none, or some are from the root and some are not
        return {path: path for path in paths}
    return {path: os.path.relpath(path, above) if above else path for path in paths}


def _series(values: "pd.Series[float]") -> "pd.Series[float]":
    return pd.Series(floats(values), index=values.index)
