"""The runs below some folders, as frames."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import best, table
from analysis.loading import frames, sweeps
from analysis.loading.frames import RunPlace
from analysis.loading.rows import UNFINISHED, Row, of_folder
from analysis.text import printable
from launcher.errors import ConfigError
from launcher.results import find
from launcher.results.columns import COLUMNS, SPEED, resolved
from launcher.results.outcomes import NEVER_RAN
from launcher.results.run_folder import RunFolder
from launcher.results.sweep_folder import SweepFolder
from launcher.spec.run import RunSpec


@dataclass(frozen=True, slots=True)
class Loaded:
    """Contents of the folders of runs."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Lines that a reader of the rows should know."""
    places: dict[str, RunPlace] = field(default_factory=dict)
    """Runs that have a folder, by its name in the column ``folder``."""

    def add(self, row: Row, sweep: Path, folder: Path | None) -> None:
        """Take a row, and where it is, as text: a name on disk need be none."""
        texts = {name: printable(value) for name, value in row.items() if isinstance(value, str)}
        name = None if folder is None else printable(str(folder))
        row = row | texts | {"sweep": printable(str(sweep)), "folder": name}
        self.rows.append(row)
        if folder is not None and name is not None:
            self.places[name] = RunPlace(row["sweep"], name, RunFolder(folder), row["gpus"])


class Runs:
    """Runs, sweeps and curricula below one or more folders. Made by `analysis.load`.

    It is read at first use, and again by another `analysis.load`.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises ConfigError: a path is no folder, or has no runs."""
        if not paths:
            raise ConfigError("load: name a folder")
        self.paths = paths
        self._sweeps: dict[Path, list[Path]] = {}
        """Path -> the sweeps below it; none where it is a run."""
        resolved: set[Path] = set()
        for path in paths:
            find.check(path)
            is_run = find.is_run(path)
            below = [] if is_run else list(find.sweeps(path))
            if not below and not is_run:
                raise ConfigError(f"{path}: no runs below this folder")
            if is_run:
                if not {path.resolve(), path.resolve().parent} & resolved:
                    self._sweeps[path] = []
                    resolved.add(path.resolve())
                continue
            new = [sweep for sweep in below if sweep.resolve() not in resolved]
            if new:
                self._sweeps[path] = new
                resolved |= {sweep.resolve() for sweep in below}

    def __repr__(self) -> str:
        counts = self.table(unfinished=True)["outcome"].value_counts()
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        return f"Runs({', '.join(map(str, self.paths))}): {counts.sum()} points, {outcomes}"

    def table(self, sort: str | None = None, unfinished: bool = False) -> pd.DataFrame:
        """One row per point: best first, then what failed, what never ran, what has not ended.

        Args:
            sort: a column, ascending; with a leading "-" descending.
            unfinished: also points that run now, are queued, or have not begun.

        Returns:
            The columns of `launcher.results.columns`; what is unknown is NA. ``sweep`` is the
            folder of the sweep, ``folder`` that of the run, both as the paths were given. The
            outcome of a folder that cannot be read is "unreadable"; its cause says why.

        Raises:
            ConfigError: no such column, or it is empty.
        """
        rows = [row for row in self._loaded.rows if unfinished or row["outcome"] not in UNFINISHED]
        return table.arranged(rows, sort, self.goal)

    @cached_property
    def goal(self) -> str:
        """Column that the sweeps here look for the best of; speed where they differ."""
        goals = {SweepFolder(sweep).goal for below in self._sweeps.values() for sweep in below}
        return goals.pop() if len(goals) == 1 else SPEED

    def best(self, by: str | None = None, ours: bool = False) -> "pd.Series[Any]":
        """The row of the best run that went well.

        Args:
            by: a column; where less is better (memory, milliseconds, loss ...) the least is best.
                None is the goal of the sweep.
            ours: leave out runs that were imported, as long as there are others.

        Raises:
            ConfigError: no such column; nothing ran well, or nobody knows that of it.
        """
        by = resolved(by or self.goal, "by")
        rows = self.table()
        ok = rows[(rows["outcome"] == "ok") & rows[by].notna()]
        if ok.empty:
            raise ConfigError(f"no run that went well has a {by}")
        if ours and ok["spec_id"].notna().any():
            ok = ok[ok["spec_id"].notna()]
        values = pd.to_numeric(ok[by])
        index = values.argmin() if COLUMNS[by].better == "less" else values.argmax()
        return ok.iloc[int(index)]

    def best_config(self, by: str | None = None) -> str:
        """The best run as YAML that ``launch --config FILE`` starts the real run from.

        Raises:
            ConfigError: as `best`; or it is a stage, or this project did not start it.
        """
        row = self.best(by, ours=True)
        return best.config(row, self._folder_of(row))

    def best_document(self, by: str | None = None) -> dict[str, Any]:
        """The best run as plain data: ``row``, of `table`, and ``config``, of `best_config`.

        Raises:
            ConfigError: as `best_config`.
        """
        row = self.best(by, ours=True)
        config = best.values(self._folder_of(row))
        return {"row": table.records(row.to_frame().T)[0], "config": config}

    def best_spec(self, by: str | None = None) -> RunSpec:
        """Spec of the real run that the best one stands for.

        Raises:
            ConfigError: as `best_config`.
        """
        return best.real_run(self._folder_of(self.best(by, ours=True)))

    def _folder_of(self, row: "pd.Series[Any]") -> RunFolder:
        if pd.isna(row["folder"]):
            raise ConfigError(f"the best, row {row['row']}, has no folder here, only its record")
        return self._loaded.places[row["folder"]].run

    def failures(self) -> pd.DataFrame:
        """Rows of `table` that were started and did not go well, or cannot be read: by outcome,
        the most frequent first."""
        rows = self.table()
        bad = rows[~rows["outcome"].isin(["ok", *NEVER_RAN])]
        count = bad.groupby("outcome")["outcome"].transform("size").astype(int)
        order = bad.assign(count=-count).sort_values(["count", "outcome", "row"], kind="stable")
        return order.drop(columns="count").reset_index(drop=True)

    def steps(self, folders: Iterable[str] | None = None) -> pd.DataFrame:
        """The metrics of all runs, one row per step, in the order of the steps.

        Args:
            folders: values of the column ``folder`` of `table`; None is all of them.

        Returns:
            ``sweep``, ``folder``, and the fields of `launcher.results.metrics.Line`: step, tokens,
            loss, grad_norm, lr, step_ms, tokens_per_s, tflops_per_gpu, mem_min_gib, mem_max_gib ...
            and ``finite``: False where loss or gradient norm was nan or inf, and not just unknown.
        """
        names = self._loaded.places.keys() if folders is None else set(folders)
        return frames.steps([place for place in self.places if place.name in names])

    def events(self) -> pd.DataFrame:
        """Events besides steps: spikes, skips, rollbacks, failed saves, starts, stops.

        Returns:
            ``sweep``, ``folder``, kind, step, time (s since 1970), and what a kind has besides.
        """
        return frames.events(self.places)

    def attempts(self) -> pd.DataFrame:
        """Every start of every run.

        Returns:
            ``sweep``, ``folder``, attempt, state, started and ended (s since 1970; NA while it
            runs), stopped (why its scheduler ended it), reason, gpus, gpu_hours, hosts, job_id.
        """
        return frames.attempts(self.places)

    @property
    def gpu_hours(self) -> float | None:
        """GPU hours of all attempts that have ended: nodes are held from start to end. None where
        of none it is known, as of imported logs."""
        hours = pd.to_numeric(self.attempts()["gpu_hours"]).sum(min_count=1)
        return None if pd.isna(hours) else float(hours)

    @property
    def price_per_gpu_hour(self) -> float | None:
        """Price that the commands which started all of it stated; None where they stated none, or
        not the same."""
        folders = [sweep for path, below in self._sweeps.items() for sweep in below or [path]]
        prices = {SweepFolder(folder).price_per_gpu_hour for folder in folders}
        return prices.pop() if len(prices) == 1 else None

    @property
    def notes(self) -> list[str]:
        """Lines that a reader of the table should know."""
        return self._loaded.notes

    @cached_property
    def _loaded(self) -> Loaded:
        loaded = Loaded()
        for path, below in self._sweeps.items():
            if not below:
                loaded.add(of_folder(path), path.resolve().parent, path)
            for sweep in below:
                loaded_sweep = sweeps.read(sweep)
                for row in loaded_sweep.rows:
                    loaded.add(row, sweep, None if row["folder"] is None else sweep / row["folder"])
                loaded.notes.extend(printable(f"{sweep}: {note}") for note in loaded_sweep.notes)
                loaded.notes.extend(_unfinished(sweep, loaded_sweep.rows))
        return loaded

    @property
    def places(self) -> Sequence[RunPlace]:
        """Folders of the runs that have one, in the order of the table."""
        return list(self._loaded.places.values())


def _unfinished(sweep: Path, rows: Sequence[Row]) -> list[str]:
    """Notes on the points of a sweep that have not ended, or were cancelled."""
    points = SweepFolder(sweep).positions()
    outcomes = {row["name"]: row["outcome"] for row in rows}
    states = [outcomes.get(name, "not started") for name in points]
    counts = Counter(state for state in states if state in UNFINISHED)
    notes = []
    if counts:
        by_state = ", ".join(f"{count} {state}" for state, count in counts.most_common())
        share = f"{counts.total()} of {len(points)} points"
        notes.append(f"{sweep}: {share} have not been run to their end yet: {by_state}")
    if cancelled := states.count("cancelled"):
        share = f"{cancelled} of {len(points)} points"
        notes.append(f"{sweep}: {share} were cancelled; the same launch runs them again")
    return notes
