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
from launcher.planner.forecast import Grid, Seen
from launcher.planner.points import GIB, Array
from launcher.sheets import spelling
from launcher.sheets.sheet import Sheet
from sweeps.search import Search, Stop, Strategy

GROUP_BY = ("model", "seq_len", "n_gpus", "hardware")
"""Columns whose rows are compared with each other where nothing else is said."""


MEASURED = ("tokens_per_s_per_gpu", "tokens_per_s", "step_s", "mem_gb", "oom", "outcome",
            "tflops_per_gpu", "mfu", "loss", "loss_last", "mem_max_gib")  # fmt: skip
"""Columns that no strategy may see before it has chosen a row."""

NEAR = (0.01, 0.02)
"""Shares of the best speed within which a trial counts as having found it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What a strategy did in one group of rows."""

    group: Mapping[str, str]
    rows: int
    fit: int
    """Rows whose speed was measured."""
    oom: int
    trials: tuple[Mapping[str, Any], ...]
    """In the order they were chosen: row (from 1, in the file), outcome, tokens_per_s_per_gpu."""
    trials_to_1pct: int | None
    """Trials until one was within 1 % of the group's best; None where none was."""
    trials_to_2pct: int | None
    oom_trials: int
    stopped: str
    """Why it chose no more."""
    regret: float | None
    """Share by which the best chosen row is slower than the group's best."""


def groups(sheet: Sheet, by: Sequence[str]) -> dict[tuple[str, ...], list[int]]:
    """Rows that were measured and are compared with each other."""
    out: dict[tuple[str, ...], list[int]] = {}
    usable = np.isfinite(sheet.speed) | (sheet.oom == 1)
    for number in np.flatnonzero(usable).tolist():
        row = sheet.rows[number]
        out.setdefault(tuple(row.get(name, "") for name in by), []).append(number)
    return out


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
        stop: when to end.
        seed: of what it draws.

    Returns:
        Positions in ``rows`` in the order they were chosen, and why it chose no more.
    """
    index = np.array(rows)
    points = sheet.points[index]
    kind, used = _memory(sheet, rows)
    grid = Grid(points=points, constants=constants, extra=_codes(sheet, rows, axes), kind=kind)
    speed, oom = sheet.speed[index], sheet.oom[index] == 1
    seen: dict[int, Seen] = {}
    while True:
        answer = strategy(Search(grid=grid, seen=dict(seen), stop=stop or Stop(), seed=seed))
        if not answer.next:
            all_of_it = len(seen) == len(rows)
            why = "every row has been tried" if all_of_it else "the others cannot be the best"
            return list(seen), answer.ended or why
        for chosen in answer.next:
            step = None if oom[chosen] else float(grid.tokens[chosen] / speed[chosen])
            memory = used[chosen] if np.isfinite(used[chosen]) and not oom[chosen] else None
            seen[chosen] = Seen(fitted=not oom[chosen], step=step, memory=memory)


def judged(
    sheet: Sheet, by: Sequence[str], rows: Sequence[int], order: Sequence[int], why: str
) -> Replayed:
    """What came of a replay."""
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
    found = [_until(speed[list(order)], best * (1 - near)) if best else None for near in NEAR]
    return Replayed(
        group={name: first.get(name, "") for name in by},
        rows=len(rows),
        fit=int((~oom).sum()),
        oom=int(oom.sum()),
        trials=trials,
        trials_to_1pct=found[0],
        trials_to_2pct=found[1],
        oom_trials=int(oom[list(order)].sum()),
        stopped=why,
        regret=1 - float(speed[list(order)].max()) / best if best and order else None,
    )


def _until(speeds: Array, enough: float) -> int | None:
    reached = np.flatnonzero(speeds >= enough)
    return int(reached[0]) + 1 if len(reached) else None


def _memory(sheet: Sheet, rows: Sequence[int]) -> tuple[str, Array]:
    """What the memory figures of rows mean, and their bytes; nan where they differ in that."""
    used, every = sheet.figure("mem_gb")[list(rows)] * GIB, sheet.memory_kinds
    kinds = {every[i] for i, one in zip(rows, used, strict=True) if np.isfinite(one)}
    if len(kinds) != 1:
        return "reserved", np.full(len(rows), np.nan)
    return kinds.pop(), used


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
    """What a strategy does in each group of rows. Raises ConfigError on a column there is not."""
    known = dict.fromkeys(sheet.rows[0])
    for option, names in (("--group-by", by), ("--axis", axes)):
        for name in names:
            if name not in known:
                raise ConfigError(f"{option}: no column {name!r}{hint(name, known)}")
    for name in axes:
        if spelling.column(name) in MEASURED or name in MEASURED:
            raise ConfigError(f"--axis: {name} is what a run measures, not what it tries")
    for rows in groups(sheet, by).values():
        order, why = replay(sheet, rows, strategy, constants, axes=axes, stop=stop, seed=seed)
        yield judged(sheet, by, rows, order, why)
