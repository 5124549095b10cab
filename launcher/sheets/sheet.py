"""Rows of a sheet somebody else made, as points: what is blank gets a default, and is named.

What the columns are called, and how their cells are written: `launcher.sheets.spelling`. Columns
that are not known are left alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from launcher.planner.points import Array, Points
from launcher.sheets import aliases, reading, spelling
from launcher.sheets.row import Row, RowReader
from launcher.spec.cluster import Cluster
from launcher.spec.shape import ModelShape


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """The rows, as columns."""

    written: Sequence[Row]
    """The rows as they are in the file."""
    rows: Sequence[Row]
    """The rows with the columns of `launcher.sheets.spelling.COLUMNS` besides."""
    points: Points
    notes: Sequence[str]
    """For each row what was assumed: ``seq_len 2048, vocab 51200``."""
    assumed: Sequence[frozenset[str]]
    """For each row the columns that the notes give a value."""
    refusals: Sequence[str | None]
    """For each row the reason for which it gets no prediction; None where it gets one."""

    def numbers(self, column: str) -> Array:
        """A column of numbers, nan where a cell is blank or holds none."""
        cells = [spelling.number(row.get(column, "")) for row in self.rows]
        return np.array([np.nan if value is None else value for value in cells])

    @property
    def speed(self) -> Array:
        """Measured tokens per second and device; nan where not measured."""
        per_gpu, points = self.numbers("tokens_per_s_per_gpu"), self.points
        counted = ["n_gpus" not in assumed for assumed in self.assumed]
        of_total = np.where(counted, self.numbers("tokens_per_s") / points.gpus, np.nan)
        per_gpu = np.where(per_gpu > 0, per_gpu, of_total)
        tokens = points.global_batch * points.sequence / points.gpus
        with np.errstate(divide="ignore", invalid="ignore"):
            speed = np.where(per_gpu > 0, per_gpu, tokens / self.numbers("step_s"))
        return np.where((speed > 0) & np.isfinite(speed), speed, np.nan)  # 0 s is no measurement

    @property
    def step_seconds(self) -> Array:
        """Measured seconds of a step; nan where not measured."""
        points, step_s = self.points, self.numbers("step_s")
        of_speed = points.global_batch * points.sequence / (self.speed * points.gpus)
        batch_stated = ["global_batch" not in assumed for assumed in self.assumed]
        return np.where(step_s > 0, step_s, np.where(batch_stated, of_speed, np.nan))

    @property
    def memory_kinds(self) -> list[str]:
        """For each row what its ``mem_gb`` means: a key of `launcher.planner.memory.KINDS`."""
        return [_memory_kind(row) for row in self.rows]

    @property
    def oom(self) -> Array:
        """1.0 where a run did not fit, 0.0 where it did, nan where that is not known."""
        return np.array([_oom(row) for row in self.rows])


def read(
    rows: Sequence[Row], clusters: Mapping[str, Cluster], models: Mapping[str, ModelShape]
) -> Sheet:
    """Understand a sheet.

    Args:
        rows: column name -> text.
        clusters: by name; a row's hardware picks the one whose accelerator it names.
        models: by name, for rows that say no sizes.
    """
    by_name = aliases.by_bare_name(models)
    readers = [RowReader(reading.normalized(row), clusters, by_name) for row in rows]
    values = [reader.values() for reader in readers]
    return Sheet(
        written=rows,
        rows=[reader.row for reader in readers],
        points=Points.from_rows(values),
        notes=[", ".join(reader.notes) for reader in readers],
        assumed=[frozenset(reader.assumed) for reader in readers],
        refusals=["; ".join(dict.fromkeys(reader.refusals)) or None for reader in readers],
    )


def _oom(row: Row) -> float:
    """1.0, 0.0 or nan, by the column oom, else by the outcome."""
    oom = spelling.flag("oom", row.get("oom", ""))
    if oom is None:
        oom = {"oom": True, "ok": False}.get(row.get("outcome", "").lower())
    return np.nan if oom is None else float(oom)


def _memory_kind(row: Row) -> str:
    """Kind of a row's memory figure, by its column mem_kind, else by its notes."""
    text = (row.get("mem_kind") or row.get("notes") or "").lower()
    if "nvidia-smi" in text or "device" in text:
        return "device"
    if "allocated" in text:
        return "allocated last" if "last rank" in text else "allocated first"
    return "reserved"
