"""Sweeps side by side: what the same points did in each, and what of that is more than noise.

Two runs of one layout never take the same time. What is expected of log(speed b / speed a) is the
standard error that the steps of both show (`Figures.step_ms_error`), and what is usual from one run
to the next (`USUAL`: another node, another neighbour). The other points of the two sweeps then say
how much more or less than expected it was this time: by the median of their squared ratios to what
was expected, so that up to half of them may have changed, together with `PRIOR` points that were as
expected. A point differs where it is further from the median of the others, and from no change,
than Student's t allows, at `ERROR` for all points together (Bonferroni): with nothing changed, one
comparison in a hundred says that something is. It is no part of the noise it is measured against.

A shift of all points together is told where it is further from 0 than that of one point may be:
machines drift, and the points of one sweep drift together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from analysis.effects import axes, text
from launcher.errors import ConfigError
from launcher.results.columns import CHOICES

if TYPE_CHECKING:
    from analysis.runs import Runs

USUAL = {"mem_gib": 0.01, "rss_gib": 0.03}
"""Standard deviation of log(speed) of one layout from one run to the next: on nodes of one's own,
and on the cores of a shared machine, which the kind of memory tells apart."""

SHARED = 0.1
"""Standard deviation of log(speed) of all points of a sweep together, on a shared machine."""

PRIOR = 4.0
"""Points that were as noisy as expected, before anything is known."""

ERROR = 0.01
"""Probability of telling a difference of any point where nothing changed."""

MEDIAN_CHI2 = 0.4549
"""Median of the square of a standard normal value."""

WORTH = 0.37
"""Efficiency: a median of n squares tells as much of the noise as a mean of WORTH n of them."""

ENOUGH = 3
"""Other points whose median tells where all of them moved."""

TOO_MUCH = 0.25
"""Share of a speed: a comparison that cannot see that is said to be no use."""

LOSS = 0.005
"""Relative difference of the last losses of one spec that is none of rounding."""


class Comparison:
    """Two or more sweeps; the first is what the others are compared with. Made by
    `analysis.compare`; printed, it says what changed."""

    def __init__(self, runs: Sequence["Runs"], names: Sequence[str] | None = None) -> None:
        """Raises ConfigError: less than two, or another number of names."""
        if len(runs) < 2:
            raise ConfigError(f"compare: takes two sweeps or more, not {len(runs)}")
        if names is not None and len(names) != len(runs):
            raise ConfigError(f"compare: {len(names)} names for {len(runs)} sweeps")
        self.names = list(names or _names(runs))
        tables = [loaded.table() for loaded in runs]
        self._sides = [Side(tables[0], table) for table in tables[1:]]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The points that are in both.

        Returns:
            ``sweep`` (the one compared with the first), the columns in which points differ, then
            ``outcome_a``, ``outcome_b``, ``tokens_per_s_a``, ``tokens_per_s_b``, ``ratio`` (b / a),
            ``low`` and ``high`` (what noise makes of a ratio where nothing changed), ``mem_ratio``,
            ``loss_a``, ``loss_b``, and ``change``: what is more than noise, "" where nothing is.
        """
        sides = zip(self._sides, self.names[1:], strict=True)
        joined = pd.concat(
            [side.table.assign(sweep=name) for side, name in sides], ignore_index=True
        )
        return joined[["sweep", *(name for name in joined if name != "sweep")]]

    @property
    def only(self) -> dict[str, pd.DataFrame]:
        """For each sweep but the first the points that it has and the first has not; under the
        name of the first those that none of the others has."""
        missing = [set(side.only_a.index) for side in self._sides]
        first = self._sides[0].a.loc[sorted(set.intersection(*missing))]
        sides = zip(self._sides, self.names[1:], strict=True)
        return {self.names[0]: first, **{name: side.only_b for side, name in sides}}

    @property
    def changed(self) -> pd.DataFrame:
        """The rows of `table` in which something is more than noise."""
        return self.table[self.table["change"] != ""]

    def __str__(self) -> str:
        pairs = zip(self._sides, self.names[1:], strict=True)
        return "\n".join(line for side, name in pairs for line in side.lines(self.names[0], name))

    __repr__ = __str__


def _names(runs: Sequence["Runs"]) -> list[str]:
    names = [", ".join(path.name for path in loaded.paths) for loaded in runs]
    if len(set(names)) < len(names):
        names = [", ".join(map(str, loaded.paths)) for loaded in runs]
    return [
        f"{name} ({number})" if names.count(name) > 1 else name
        for number, name in enumerate(names, 1)
    ]


@dataclass(frozen=True)
class Side:
    """Two tables of points."""

    a: pd.DataFrame
    b: pd.DataFrame

    @cached_property
    def pairs(self) -> list[tuple[Any, Any]]:
        """Indices of the rows of a point in both: the same spec, else the same in all columns
        that both know."""
        filled = [
            name for name in CHOICES if self.a[name].notna().any() and self.b[name].notna().any()
        ]
        pairs: list[tuple[Any, Any]] = []
        for columns in (["spec_id"], [*filled, "remark"], filled) if filled else (["spec_id"],):
            a = self.a.drop([index for index, _ in pairs]).drop_duplicates(columns)
            b = self.b.drop([index for _, index in pairs]).drop_duplicates(columns)
            if columns == ["spec_id"]:
                a, b = a.dropna(subset=columns), b.dropna(subset=columns)
            in_b = {key: index for index, key in _keys(b, columns)}
            pairs += [(index, in_b[key]) for index, key in _keys(a, columns) if key in in_b]
        return pairs

    @property
    def only_a(self) -> pd.DataFrame:
        """Rows of points that b has not."""
        return self.a.drop([index for index, _ in self.pairs])

    @property
    def only_b(self) -> pd.DataFrame:
        """Rows of points that a has not."""
        return self.b.drop([index for _, index in self.pairs])

    @cached_property
    def table(self) -> pd.DataFrame:
        """Points that are in both, as in `Comparison.table`."""
        a = self.a.loc[[index for index, _ in self.pairs]].reset_index(drop=True)
        b = self.b.loc[[index for _, index in self.pairs]].reset_index(drop=True)
        ratio = np.log(_number(b, "tokens_per_s") / _number(a, "tokens_per_s"))
        usual = USUAL[max(self.a.attrs["memory"], self.b.attrs["memory"])]
        low, high = band(ratio, np.sqrt(_error(a) ** 2 + _error(b) ** 2 + usual**2))
        table = a[axes(a) or list(CHOICES[:2])].assign(
            outcome_a=a["outcome"],
            outcome_b=b["outcome"],
            tokens_per_s_a=a["tokens_per_s"],
            tokens_per_s_b=b["tokens_per_s"],
            ratio=np.exp(ratio),
            low=np.exp(low),
            high=np.exp(high),
            mem_ratio=_number(b, "mem_max_gib") / _number(a, "mem_max_gib"),
            loss_a=a["loss_last"],
            loss_b=b["loss_last"],
        )
        same_steps = (a["steps"] == b["steps"]).fillna(False)
        rows = zip(table.to_dict(orient="records"), same_steps, strict=True)
        return table.assign(change=[_change(row, bool(same)) for row, same in rows])

    @cached_property
    def shift(self) -> tuple[float, float]:
        """The median of ratio, as a share, and how far it may be from 0."""
        measured = self.table.dropna(subset=["ratio"])
        if len(measured) < 2:  # of one alone its own row says it
            return 0.0, 0.0
        wide = np.median(np.log(measured["high"] / measured["low"])) / 2
        shared = self.a.attrs["memory"] == "rss_gib" or self.b.attrs["memory"] == "rss_gib"
        drift = student.ppf(1 - ERROR / 2, PRIOR + len(measured)) * SHARED if shared else 0.0
        return float(measured["ratio"].median() - 1), float(max(wide, drift))

    @property
    def hidden(self) -> float:
        """Share by which the speed of a point may change within noise: the median of all."""
        measured = self.table.dropna(subset=["ratio", "low"])
        if measured.empty:
            return 0.0
        return float(np.sqrt((measured["high"] / measured["low"]).median())) - 1

    def lines(self, a: str, b: str) -> Iterator[str]:
        """Lines of the comparison, with these names for the two."""
        table, changed = self.table, self.table[self.table["change"] != ""]
        shift, noise = self.shift
        shifted = abs(np.log1p(shift)) > noise
        measured = int(table["ratio"].notna().sum())
        count = f"{_points(len(table))} in both {a} and {b}"
        if measured < len(table):
            count += f" ({measured} measured in both)"
        if len(changed) or shifted:
            yield f"{count}, {len(changed)} with a difference beyond noise"
        elif measured:
            yield f"{count}: no difference beyond noise, which is up to {self.hidden:.1%}"
        else:
            yield count
        if shifted:
            word = "faster" if shift > 0 else "slower"
            yield f"  all together {b} is {abs(shift):.1%} {word} (noise: {noise:.1%})"
        if self.hidden > TOO_MUCH:
            yield "  so much noise hides what matters: give trials more steps (train.steps)"
        keys = list(table.columns[: table.columns.get_loc("outcome_a")])
        for _, row in changed.iterrows():
            point = " ".join(f"{name} {row[name]}" for name in keys if pd.notna(row[name]))
            yield f"  {point}: {row['change']}"
        for name, rows in ((a, self.only_a), (b, self.only_b)):
            if len(rows):
                yield f"only in {name}: {_points(len(rows))}"


def _points(count: int) -> str:
    return f"{count} point{'' if count == 1 else 's'}"


def band(ratios: "np.ndarray[Any, Any]", expected: "np.ndarray[Any, Any]") -> Any:
    """For each log ratio the least and the largest that noise explains; nan where there is none.

    Args:
        ratios: log(b / a), nan where unknown.
        expected: standard deviation of each, before the others are looked at.
    """
    bands = np.full((2, len(ratios)), np.nan)
    measured = np.flatnonzero(np.isfinite(ratios) & np.isfinite(expected))
    for index in measured:
        peers = measured[measured != index]  # no point is part of its own noise
        centre = np.median(ratios[peers]) if len(peers) >= ENOUGH else 0.0
        variance, count = _noise(((ratios[peers] - centre) / expected[peers]) ** 2)
        scale = np.sqrt((PRIOR + variance * count) / (PRIOR + count))
        reach = student.ppf(1 - ERROR / 2 / len(measured), PRIOR + count)
        reach *= np.sqrt(1 + np.pi / 2 / max(len(peers), 1))  # the median is not exact either
        wide = reach * scale * expected[index]
        bands[:, index] = min(centre, 0.0) - wide, max(centre, 0.0) + wide
    return bands


def _noise(squares: "np.ndarray[Any, Any]") -> tuple[float, float]:
    """Variance in that of what was expected, and how many points' worth that is."""
    if not len(squares):
        return 1.0, 0.0
    return float(np.median(squares)) / MEDIAN_CHI2, WORTH * len(squares)


def _change(row: Mapping[Any, Any], same_steps: bool) -> str:
    if row["outcome_a"] != row["outcome_b"]:
        return f"{row['outcome_a']} -> {row['outcome_b']}"
    changes = []
    ratio, low, high = row["ratio"], row["low"], row["high"]
    if pd.notna(ratio) and pd.notna(low) and not low <= ratio <= high:
        word = "faster" if ratio > 1 else "slower"
        changes.append(
            f"{abs(ratio - 1):.1%} {word} ({row['tokens_per_s_a']:,.0f} ->"
            f" {row['tokens_per_s_b']:,.0f} tokens/s; noise is"
            f" {low - 1:+.1%} to {high - 1:+.1%})"
        )
    losses = same_steps and pd.notna(row["loss_a"]) and pd.notna(row["loss_b"])
    if losses and abs(row["loss_b"] - row["loss_a"]) > LOSS * abs(row["loss_a"]):
        changes.append(f"loss {row['loss_a']:.4f} -> {row['loss_b']:.4f}")
    return ", ".join(changes)


def _keys(rows: pd.DataFrame, columns: Sequence[str]) -> list[tuple[Any, tuple[str, ...]]]:
    cells = zip(*(text(rows[name]) for name in columns), strict=True)
    return list(zip(rows.index, cells, strict=True))


def _number(rows: pd.DataFrame, name: str) -> Any:
    return pd.to_numeric(rows[name]).to_numpy(float, na_value=np.nan)


def _error(rows: pd.DataFrame) -> Any:
    """Relative standard error of the speed; 0 where the steps do not tell."""
    share = _number(rows, "step_ms_error") / _number(rows, "step_ms_p50")
    return np.where(np.isfinite(share), share, 0.0)
