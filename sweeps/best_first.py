"""Run what is expected to gain most, learn, and stop when little is left to gain.

The gain of a point is what it is expected to add to the best so far, over all that its speed may
be, times the chance that it fits. Speeds are drawn together: where one point is slower than
predicted, points like it are too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from launcher.planner.forecast import Forecast, Seen
from launcher.planner.points import Array
from sweeps.dominance import dominated
from sweeps.search import Answer, Search

DRAWS = 400
"""Of the speeds of the most promising points."""
LOOKED_AT = 200
"""Points of which speeds are drawn: the others are far behind."""
FIRST_BASE = 0.6
"""What the first trials are compared with, as a share of the highest speed that is expected."""
HOPELESS = 0.98
"""Chance of not fitting from which on a point is not tried."""
UNLIKELY = 0.4
"""Chance of fitting below which a point does not keep the search going."""
CAUTION = 4
"""Power of the chance of fitting by which a gain is weighed: a failure costs a trial as well."""
FEWEST = 3
"""Measured points before the search may end."""


def best_first(search: Search) -> Answer:
    """The points of highest expected gain; none once the chance of a better one is small."""
    given_up = ruled_out(search)
    left = [i for i in search.open if i not in given_up]
    reason = search.spent or (_enough(search, left) if left else None)
    if reason:
        return Answer(given_up=given_up | dict.fromkeys(left, reason), ended=reason)
    return Answer(next=_batch(search, left), given_up=given_up)


def ruled_out(search: Search) -> dict[int, str]:
    """Points that cannot fit, or cannot be the best, by what has been seen of others."""
    out = dominated(search.grid, search.seen)
    chance = search.forecast.oom
    for i in np.flatnonzero(chance > HOPELESS):
        wanted, has = search.forecast.wanted[i] / 2**30, search.grid.points.memory[i] / 2**30
        out.setdefault(int(i), f"predicted {wanted:.1f} GiB, the device has {has:.1f}")
    return {i: why for i, why in out.items() if i not in search.seen}


def _enough(search: Search, left: list[int]) -> str | None:
    """Why nothing more is worth a trial; None where something is."""
    best = search.best
    if best is None or sum(one.step is not None for one in search.seen.values()) < FEWEST:
        return None
    if search.stop.patience is not None and search.in_vain >= search.stop.patience:
        return f"sweep.stop.patience={search.stop.patience} trials without a better one"
    view = _View.of(search, left)
    better = view.chance(best * (1 + search.stop.tolerance))
    if better >= search.stop.chance:
        return None
    return (f"{100 * better:.1f} % chance that anything left is more than"
            f" {100 * search.stop.tolerance:g} % faster than the best")  # fmt: skip


def _batch(search: Search, left: list[int]) -> tuple[int, ...]:
    """As many points as may be started, each chosen as if the ones before did as expected."""
    chosen: list[int] = []
    while search.free and len(chosen) < len(left):
        rest = [i for i in left if i not in chosen]
        gains = _View.of(search, rest).gains(search.best)
        pick = max(gains, key=lambda i: gains[i])
        chosen.append(pick)
        search = replace(search, running=search.running | {pick})
    return tuple(chosen)


@dataclass(frozen=True, kw_only=True, slots=True)
class _View:
    """Speeds that the most promising points may have, and the chance that they fit."""

    points: Array
    fits: Array
    speeds: Array
    """(draws, points) tokens per second and device."""
    seed: int

    @classmethod
    def of(cls, search: Search, left: list[int]) -> "_View":
        forecast = _imagined(search)
        index = np.array(left)
        fits = 1 - forecast.oom[index]
        hopes = forecast.speed[index] * np.exp(2 * forecast.deviation[index]) * np.sqrt(fits)
        top = index[np.argsort(-hopes, kind="stable")[:LOOKED_AT]]
        speeds = forecast.draw(top, DRAWS, search.seed)
        return cls(points=top, fits=1 - forecast.oom[top], speeds=speeds, seed=search.seed)

    def chance(self, speed: float) -> float:
        """That any of the points fits and is faster."""
        likely = np.where(self.fits < UNLIKELY, 0.0, self.fits)
        lots = np.random.default_rng(self.seed + 1).random(self.speeds.shape)
        return float(((self.speeds > speed) & (lots < likely)).any(axis=1).mean())

    def gains(self, best: float | None) -> dict[int, float]:
        """Of each point."""
        if best is None:
            best = FIRST_BASE * float(np.max(self.speeds.mean(axis=0) * (self.fits > 0.5)))
        gain = np.maximum(self.speeds / max(best, 1e-9) - 1, 0).mean(axis=0) * self.fits**CAUTION
        gain = gain + 1e-9 * self.fits  # where there is nothing to gain, what fits
        return dict(zip(self.points.tolist(), gain.tolist(), strict=True))


def _imagined(search: Search) -> Forecast:
    """The forecast if what runs now did as is expected."""
    now = search.forecast
    dreams: Mapping[int, Seen] = {
        i: Seen(fitted=True, step=float(np.exp(now.log_seconds[i]))) for i in search.running
    }
    return Forecast(grid=search.grid, seen={**search.seen, **dreams}) if dreams else now
