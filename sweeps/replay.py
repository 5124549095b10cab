"""Run a strategy against a table of measurements instead of a cluster.

The strategy sees what a row measured only after it has chosen the row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from launcher.decode import hint
from launcher.errors import ConfigError
from launcher.planner.constants import Constants
from launcher.planner.forecast import Grid, Observation
from launcher.planner.points import GIB, Array
from launcher.sheets import spelling
from launcher.sheets.sheet import Sheet
from sweeps.search import Search, Stop, Strategy

GROUP_BY = ("model", "seq_len", "n_gpus", "hardware")
"""Columns whose rows are compared with each other where nothing else is said."""


MEASURED = ("tokens_per_s_per_gpu", "tokens_per_s", "step_s", "mem_gb", "oom", "outcome",
            "tflops_per_gpu", "mfu", "loss", "loss_last", "mem_max_gib")  # fmt: skip
"""Columns that no strategy may see before it has chosen a row."""

MARGINS = (0.01, 0.02)
"""Shares of the best speed within which a trial counts as having found it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """Trials of a strategy in one group of rows, and how well it did."""

    group: Mapping[str, str]
    rows: int
    """Rows of the group that were measured, or ran out of memory."""
    fit: int
    """Rows whose speed was measured."""
    oom: int
    """Rows that ran out of memory."""
    trials: tuple[Mapping[str, Any], ...]
    """In the order they were chosen: row (from 1, in the file), outcome, tokens_per_s_per_gpu."""
    trials_to_1pct: int | None
    """Trials until one was within 1 % of the group's best; None where none was."""
    trials_to_2pct: int | None
    """The same within 2 %."""
    oom_trials: int
    """Trials that ran out of memory."""
    stopped: str
    """Reason for which it chose no more."""
    regret: float | None
    """Share by which the best chosen row is slower than the group's best."""


def groups(sheet: Sheet, by: Sequence[str]) -> dict[tuple[str, ...], list[int]]:
    """Rows that were measured and are compared with each other."""
    rows: dict[tuple[str, ...], list[int]] = {}
    usable = np.isfinite(sheet.speed) | (sheet.oom == 1)
    for number in np.flatnonzero(usable).tolist():
        row = sheet.rows[number]
        rows.setdefault(tuple(row.get(name, "") for name in by), []).append(number)
    return rows


def replay(
    sheet: Sheet,
    rows: Sequence[int],
    strategy: Strategy,
    constants: Constants,
    axes: Sequence[str] = (),
    stop: Stop | None = None,
    seed: int = 0,
) -> tuple[list[int], str]:
    """Choose rows until the strategy wants no more.

    Args:
        sheet: the table.
        rows: the numbers of the rows of one group.
        strategy: what chooses.
        constants: what it predicts with before it has seen anything.
        axes: columns beyond the schema whose effect is to be learnt.
        stop: budget, and gain below which it ends.
        seed: of its random draws.

    Returns:
        Positions in ``rows`` in the order they were chosen, and why it chose no more.
    """
    index = np.array(rows)
    points = sheet.points[index]
    kind, memory_bytes = _memory(sheet, rows)
    grid = Grid(points=points, constants=constants, extra=_codes(sheet, rows, axes), kind=kind)
    speed, oom = sheet.speed[index], sheet.oom[index] == 1
    runs: dict[int, Observation] = {}
    while True:
        search = Search(grid=grid, observations=dict(runs), stop=stop or Stop(), seed=seed)
        answer = strategy(search)
        if not answer.next:
            complete = len(runs) == len(rows)
            reason = "every row has been tried" if complete else "the others cannot be the best"
            return list(runs), answer.ended or reason
        for i in answer.next:
            step = None if oom[i] else float(grid.tokens_per_device[i] / speed[i])
            memory = memory_bytes[i] if np.isfinite(memory_bytes[i]) and not oom[i] else None
            runs[i] = Observation(fitted=not oom[i], step=step, memory=memory)


def judged(
    sheet: Sheet, by: Sequence[str], rows: Sequence[int], order: Sequence[int], stopped: str
) -> Replayed:
    """Compare the chosen rows with the best of their group.

    Args:
        sheet: the table.
        by: columns that make a group.
        rows: the numbers of the rows of one group.
        order: positions in ``rows``, as they were chosen.
        stopped: reason for which no more were.
    """
    index = np.array(rows)
    oom = sheet.oom[index] == 1
    speed = np.where(oom, 0.0, np.nan_to_num(sheet.speed[index]))
    best = float(speed.max())
    first = sheet.rows[rows[0]]
    trials = tuple(
        {
            "row": rows[i] + 1,
            "outcome": "oom" if oom[i] else "ok",
            "tokens_per_s_per_gpu": None if oom[i] else float(speed[i]),
        }
        for i in order
    )
    trials_to = [
        _trials_until(speed[list(order)], best * (1 - margin)) if best else None
        for margin in MARGINS
    ]
    return Replayed(
        group={name: first.get(name, "") for name in by},
        rows=len(rows),
        fit=int((~oom).sum()),
        oom=int(oom.sum()),
        trials=trials,
        trials_to_1pct=trials_to[0],
        trials_to_2pct=trials_to[1],
        oom_trials=int(oom[list(order)].sum()),
        stopped=stopped,
        regret=1 - float(speed[list(order)].max()) / best if best and order else None,
    )


def _trials_until(speeds: Array, enough: float) -> int | None:
    reached = np.flatnonzero(speeds >= enough)
    return int(reached[0]) + 1 if len(reached) else None


def _memory(sheet: Sheet, rows: Sequence[int]) -> tuple[str, Array]:
    """Kind of the memory figures of rows, and their bytes; nan where the rows differ in kind."""
    figures, row_kinds = sheet.numbers("mem_gb")[list(rows)] * GIB, sheet.memory_kinds
    kinds = {row_kinds[i] for i, size in zip(rows, figures, strict=True) if np.isfinite(size)}
    if len(kinds) != 1:
        return "reserved", np.full(len(rows), np.nan)
    return kinds.pop(), figures


def _codes(sheet: Sheet, rows: Sequence[int], axes: Sequence[str]) -> Array:
    columns = [[sheet.rows[number].get(name, "") for number in rows] for name in axes]
    codes = [[sorted(set(column)).index(value) for value in column] for column in columns]
    return np.array(codes, dtype=float).T.reshape(len(rows), len(axes))


def replayed(
    sheet: Sheet,
    constants: Constants,
    strategy: Strategy,
    by: Sequence[str],
    axes: Sequence[str],
    seed: int,
    stop: Stop,
) -> Iterator[Replayed]:
    """Replay a strategy in each group of rows. Raises ConfigError on a column there is not."""
    columns = dict.fromkeys(sheet.rows[0])
    for option, names in (("--group-by", by), ("--axis", axes)):
        for name in names:
            if name not in columns:
                raise ConfigError(f"{option}: no column {name!r}{hint(name, columns)}")
    for name in axes:
        if spelling.column(name) in MEASURED or name in MEASURED:
            raise ConfigError(f"--axis: {name} is what a run measures, not what it tries")
    for rows in groups(sheet, by).values():
        order, stopped = replay(sheet, rows, strategy, constants, axes=axes, stop=stop, seed=seed)
        yield judged(sheet, by, rows, order, stopped)
