"""The runs below some folders, as frames."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import best, table
from analysis.loading import frames, sweeps
from analysis.loading.rows import UNFINISHED, Row, of_folder
from analysis.text import printable
from launcher.errors import ConfigError
from launcher.results import find
from launcher.results.columns import COLUMNS, resolved
from launcher.results.outcomes import NEVER_RAN
from launcher.results.run_folder import RunFolder
from launcher.results.sweep_folder import SweepFolder


class Runs:
    """What is below one or more folders: runs, sweeps, curricula. Made by `analysis.load`.

    It is read at first use, and again by another `analysis.load`.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises ConfigError: a path is no folder, or has no runs."""
        if not paths:
            raise ConfigError("load: name a folder")
        self.paths = paths
        self._sweeps: dict[Path, list[Path]] = {}
        """Of each path the sweeps below it; none where it is a run."""
        seen: set[Path] = set()
        for path in paths:
            find.check(path)
            alone = find.is_run(path)
            found = [] if alone else list(find.sweeps(path))
            if not found and not alone:
                raise ConfigError(f"{path}: no runs below this folder")
            real = {path.resolve()} if alone else {one.resolve() for one in found}
            if alone and (real & seen or path.resolve().parent in seen):
                continue  # it is there already
            self._sweeps[path] = [one for one in found if one.resolve() not in seen]
            if alone or self._sweeps[path]:
                seen |= real
            else:
                del self._sweeps[path]

    def __repr__(self) -> str:
        counts = self.table(unfinished=True)["outcome"].value_counts()
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        return f"Runs({', '.join(map(str, self.paths))}): {counts.sum()} points, {told}"

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
        rows = [row for row in self._rows if unfinished or row["outcome"] not in UNFINISHED]
        return table.arranged(rows, sort)

    def best(self, by: str = "tokens_per_s") -> "pd.Series[Any]":
        """The row of the best run that went well.

        Args:
            by: a column; where less is better (memory, milliseconds, loss ...) the least is best.

        Raises:
            ConfigError: no such column; nothing ran well, or nobody knows that of it.
        """
        by = resolved(by, "by")
        rows = self.table()
        well = rows[(rows["outcome"] == "ok") & rows[by].notna()]
        if well.empty:
            raise ConfigError(f"no run that went well has a {by}")
        values = pd.to_numeric(well[by])
        at = values.argmin() if COLUMNS[by].better == "less" else values.argmax()
        return well.iloc[int(at)]

    def best_config(self, by: str = "tokens_per_s") -> str:
        """The best run as YAML that ``launch --config FILE`` starts the real run from.

        Raises:
            ConfigError: as `best`; or it is a stage, or this project did not start it.
        """
        row = self.best(by)
        if pd.isna(row["folder"]):
            raise ConfigError(f"the best, row {row['row']}, has no folder here, only its record")
        return best.config(row, self._folders[row["folder"]].run)

    def failures(self) -> pd.DataFrame:
        """What was started and did not go well, or cannot be read, in the columns of `table`: by
        outcome, the most frequent first."""
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
        """
        wanted = None if folders is None else set(folders)
        return frames.steps([one for one in self._places if wanted is None or one.name in wanted])

    def events(self) -> pd.DataFrame:
        """What happened besides steps: spikes, skips, rollbacks, failed saves, starts, stops.

        Returns:
            ``sweep``, ``folder``, kind, step, time (s since 1970), and what a kind has besides.
        """
        return frames.events(self._places)

    def attempts(self) -> pd.DataFrame:
        """Every start of every run.

        Returns:
            ``sweep``, ``folder``, attempt, state, started and ended (s since 1970; NA while it
            runs), stopped (why its scheduler ended it), reason, gpus, gpu_hours, hosts, job_id.
        """
        return frames.attempts(self._places)

    @property
    def gpu_hours(self) -> float:
        """Of all attempts that have ended, GPU hours: nodes are held from start to end."""
        return float(pd.to_numeric(self.attempts()["gpu_hours"]).sum())

    @property
    def price_per_gpu_hour(self) -> float | None:
        """What the commands that started all of it said; None where not, or not the same."""
        found = {
            SweepFolder(sweep).price_per_gpu_hour
            for path in self.paths
            for sweep in self._sweeps[path] or [path]
        }
        return found.pop() if len(found) == 1 else None

    @cached_property
    def notes(self) -> list[str]:
        """What else a reader of the table should know, one line each."""
        self._rows  # noqa: B018 - reads them
        return self._noted

    @cached_property
    def _rows(self) -> list[Row]:
        self._noted: list[str] = []
        self._folders: dict[str, frames.Place] = {}
        """By their names in the column ``folder``."""
        return [row for path in self._sweeps for row in self._below(path)]

    def _below(self, path: Path) -> list[Row]:
        if not self._sweeps[path]:
            return [self._placed(of_folder(path), path.resolve().parent, path)]
        out = []
        for sweep in self._sweeps[path]:
            found = sweeps.found(sweep)
            for row in found.rows:
                folder = None if row["folder"] is None else sweep / row["folder"]
                out.append(self._placed(row, sweep, folder))
            self._noted += [printable(f"{sweep}: {note}") for note in found.notes]
            self._noted += _missing(sweep, found.rows)
        return out

    def _placed(self, row: Row, sweep: Path, folder: Path | None) -> Row:
        """A row that says where it is, in texts; a name on disk may be none."""
        texts = {name: printable(value) for name, value in row.items() if isinstance(value, str)}
        name = None if folder is None else printable(str(folder))
        row = row | texts | {"sweep": printable(str(sweep)), "folder": name}
        if folder is not None and name is not None:
            self._folders[name] = frames.Place(row["sweep"], name, RunFolder(folder), row["gpus"])
        return row

    @property
    def imported(self) -> set[str]:
        """Folders of runs that this project did not start."""
        return {one.name for one in self._places if one.run.is_imported}

    @property
    def _places(self) -> Sequence[frames.Place]:
        self._rows  # noqa: B018 - reads them
        return list(self._folders.values())


def _missing(sweep: Path, rows: Sequence[Row]) -> list[str]:
    """That a sweep has points which have not ended, or were cancelled."""
    points = SweepFolder(sweep).positions()
    outcomes = {row["name"]: row["outcome"] for row in rows}
    states = [outcomes.get(name, "not started") for name in points]
    left = Counter(state for state in states if state in UNFINISHED)
    out = []
    if left:
        told = ", ".join(f"{count} {state}" for state, count in left.most_common())
        of = f"{left.total()} of {len(points)} points"
        out.append(f"{sweep}: {of} have not been run to their end yet: {told}")
    if cancelled := states.count("cancelled"):
        of = f"{cancelled} of {len(points)} points"
        out.append(f"{sweep}: {of} were cancelled; the same launch runs them again")
    return out
