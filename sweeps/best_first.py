"""Run what is expected to gain most, learn, and stop when little is left to gain.

The gain of a point is what it is expected to add to the best so far, over all that its speed may
be, times the chance that it fits. Speeds are drawn together: where one point is slower than
predicted, points like it are too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from launcher.planner.forecast import Forecast, Observation
from launcher.planner.points import GIB, Array
from sweeps.dominance import dominated
from sweeps.search import Answer, Search

DRAWS = 400
"""Joint draws of the speeds of the most promising points."""
CANDIDATES = 200
"""Points whose speeds are drawn: the others are far behind."""
FIRST_BASE = 0.6
"""Share of the highest expected speed that the gain of the first trials is counted from."""
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
    candidates = [i for i in search.open if i not in given_up]
    reason = search.exhausted_budget or (_stop_reason(search, candidates) if candidates else None)
    if reason:
        return Answer(given_up=given_up | dict.fromkeys(candidates, reason), ended=reason)
    return Answer(next=_batch(search, candidates), given_up=given_up)


def ruled_out(search: Search) -> dict[int, str]:
    """Points that cannot fit, or cannot be the fastest, by what has been seen of others."""
    by_speed = search.merits is None
    reasons = dominated(search.grid, search.observations) if by_speed else {}
    for i in np.flatnonzero(search.forecast.oom > HOPELESS):
        required = search.forecast.required_bytes[i] / GIB
        available = search.grid.points.memory[i] / GIB
        message = f"predicted {required:.1f} GiB, the device has {available:.1f}"
        reasons.setdefault(int(i), message)
    return {i: reason for i, reason in reasons.items() if i not in search.observations}


def _stop_reason(search: Search, candidates: list[int]) -> str | None:
    """Reason for which nothing more is worth a trial; None where something is."""
    best = search.best
    timed = sum(run.step is not None for run in search.observations.values())
    if best is None or timed < FEWEST:
        return None
    if search.stop.patience is not None and search.trials_since_best >= search.stop.patience:
        return f"sweep.stop.patience={search.stop.patience} trials without a better one"
    chance = _Samples.of(search, candidates).chance(best * (1 + search.stop.tolerance))
    if chance >= search.stop.chance:
        return None
    return (
        f"{100 * chance:.1f} % chance that anything left is more than"
        f" {100 * search.stop.tolerance:g} % faster than the best"
    )


def _batch(search: Search, candidates: list[int]) -> tuple[int, ...]:
    """As many points as may be started, each chosen as if the ones before did as predicted."""
    chosen: list[int] = []
    while search.free_slots and len(chosen) < len(candidates):
        remaining = [i for i in candidates if i not in chosen]
        gains = _Samples.of(search, remaining).gains(search.best)
        point = max(gains, key=lambda i: gains[i])
        chosen.append(point)
        search = replace(search, running=search.running | {point})
    return tuple(chosen)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Samples:
    """Speeds drawn for the most promising points, and the chance that each fits."""

    points: Array
    fits: Array
    speeds: Array
    """(draws, points) tokens per second and device."""
    seed: int

    @classmethod
    def of(cls, search: Search, candidates: list[int]) -> "_Samples":
        """Draw from the forecast, with the runs that have not ended taken as predicted."""
        forecast = _with_pending(search)
        index = np.array(candidates)
        fits = 1 - forecast.oom[index]
        # An upper confidence bound of two deviations preselects.
        bound = forecast.speed[index] * np.exp(2 * forecast.deviation[index]) * np.sqrt(fits)
        top = index[np.argsort(-bound, kind="stable")[:CANDIDATES]]
        speeds = forecast.draw(top, DRAWS, search.seed)
        return cls(points=top, fits=1 - forecast.oom[top], speeds=speeds, seed=search.seed)

    def chance(self, speed: float) -> float:
        """Probability that any of the points fits and is faster."""
        likely = np.where(self.fits < UNLIKELY, 0.0, self.fits)
        lots = np.random.default_rng(self.seed + 1).random(self.speeds.shape)
        return float(((self.speeds > speed) & (lots < likely)).any(axis=1).mean())

    def gains(self, best: float | None) -> dict[int, float]:
        """Expected improvement on the best speed, weighed by the chance of fitting; by point."""
        if best is None:
            best = FIRST_BASE * float(np.max(self.speeds.mean(axis=0) * (self.fits > 0.5)))
        gain = np.maximum(self.speeds / max(best, 1e-9) - 1, 0).mean(axis=0) * self.fits**CAUTION
        gain = gain + 1e-9 * self.fits  # where there is nothing to gain, what fits
        return dict(zip(self.points.tolist(), gain.tolist(), strict=True))


def _with_pending(search: Search) -> Forecast:
    """Return the forecast as if pending trials had ended with their predicted results.

    Otherwise the points of a batch would all be neighbours of the same best guess.
    """
    forecast = search.forecast
    if not search.running:
        return forecast
    pending: Mapping[int, Observation] = {
        i: Observation(fitted=True, step=float(np.exp(forecast.log_seconds[i])))
        for i in search.running
    }
    return Forecast(grid=search.grid, observations={**search.observations, **pending})
