"""Correct predictions by what has been measured, and say how sure they are then.

Two Gaussian processes, over the logarithm of measured / predicted step time and memory. A run that
fitted says that its memory is below what the device has, one that did not that it is above, and a
run whose memory was measured says it exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, ndtr

from launcher.planner.points import Array

FEW = 3
"""Runs before which nothing can be said of how wrong the formulas are."""

BELIEF = 10.0
"""Runs that as many have to contradict before what was expected counts half."""

CHI_SQUARE_MEDIAN = 0.455
"""Of one degree of freedom."""

SWEEPS, DAMPING = 40, 0.7
"""Of expectation propagation."""

DEGREES = 4.0
"""Of freedom of the noise: one odd run moves little."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Standard deviations of log(measured / predicted) before anything was measured."""

    common: float
    """Of what all points of a grid have in common: the machine, the software."""
    axis: float
    """Of what points with the same value on one axis have in common."""
    unknown_axis: float
    """The same for an axis that the formulas know nothing of, such as a kernel."""
    joint: float
    """Of what only points near each other on all axes have in common."""
    noise: float
    """Of one run."""


TIME = Spread(common=0.15, axis=0.035, unknown_axis=0.15, joint=0.05, noise=0.02)
CPU_NOISE = 0.08
"""Noise of a step time where ranks share cores with everything else."""
MEMORY = Spread(common=0.06, axis=0.02, unknown_axis=0.12, joint=0.02, noise=0.015)

TIME_PARTS: Mapping[str, float] = {
    "compute": 0.08, "host": 0.15, "recompute": 0.15, "tensor": 0.4, "experts": 0.5,
    "pipeline": 0.5, "bubble": 0.15, "data": 0.5, "optimizer": 0.5, "other": 0.5,
}  # fmt: skip
"""Standard deviation of log(true / predicted) of each part of a step time."""
MEMORY_PARTS: Mapping[str, float] = {
    "weights": 0.02, "gradients": 0.1, "optimizer": 0.03, "activations": 0.1, "logits": 0.3,
    "buffers": 0.4, "other": 0.5,
}  # fmt: skip
"""The same of memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axes:
    """Where points lie: columns of numbers, of which only some have an order."""

    known: Array
    """(points, axes), as logarithms to base 2 where that makes sense; formulas know of these."""
    unknown: Array
    """(points, axes), numbers that stand for names."""
    parts: Array
    """(points, parts): the share of each part of a prediction, times how wrong that part may be."""

    def __getitem__(self, chosen: Array) -> "Axes":
        return Axes(
            known=self.known[chosen], unknown=self.unknown[chosen], parts=self.parts[chosen]
        )


def covariance(a: Axes, b: Axes, spread: Spread) -> Array:
    """(len(a), len(b)): how alike the corrections of two points are."""
    total = np.full((len(a.known), len(b.known)), spread.common**2)
    joint = np.full_like(total, spread.joint**2)
    for column in range(a.known.shape[1]):
        near = np.exp(-np.abs(a.known[:, column, None] - b.known[None, :, column]) / 2)
        total += spread.axis**2 * near
        joint *= near
    for column in range(a.unknown.shape[1]):
        same = a.unknown[:, column, None] == b.unknown[None, :, column]
        total += spread.unknown_axis**2 * same
        joint *= same
    return total + joint + a.parts @ b.parts.T


def variance(a: Axes, spread: Spread) -> Array:
    """The diagonal of `covariance(a, a)`."""
    known, unknown = a.known.shape[1], a.unknown.shape[1]
    one = spread.common**2 + spread.joint**2
    one += known * spread.axis**2 + unknown * spread.unknown_axis**2
    return one + np.sum(a.parts**2, axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """What measurements say of log(measured / predicted)."""

    axes: Axes
    """Of what was measured."""
    spread: Spread
    weights: Array
    """K^-1 mean."""
    inverse: Array
    """(K + noise)^-1."""
    surprise: float = 1.0
    """How much larger than expected the squares of most corrections are, where they are: the
    formulas are as wrong elsewhere."""

    def mean(self, axes: Axes) -> Array:
        """Expected correction of other points."""
        return covariance(axes, self.axes, self.spread) @ self.weights

    def deviation(self, axes: Axes) -> Array:
        """Its standard deviation, the noise of a run not counted."""
        cross = covariance(axes, self.axes, self.spread)
        known = np.einsum("ij,jk,ik->i", cross, self.inverse, cross)
        left = np.maximum(variance(axes, self.spread) - known, 1e-9)
        return np.sqrt(self.surprise * left)

    def joint(self, axes: Axes) -> Array:
        """Covariance of the corrections of a few points."""
        cross = covariance(axes, self.axes, self.spread)
        left = covariance(axes, axes, self.spread) - cross @ self.inverse @ cross.T
        return self.surprise * left


def from_times(axes: Axes, ratios: Array, spread: Spread = TIME) -> Correction:
    """From log(measured / predicted) of runs. The noise has heavy tails (Student's t)."""
    prior = covariance(axes, axes, spread)
    noise = np.full(len(ratios), spread.noise**2)
    mean = np.zeros(len(ratios))
    for _ in range(8 if len(ratios) > 2 else 1):
        inverse = np.linalg.inv(prior + np.diag(noise))
        mean = prior @ inverse @ ratios
        odd = (ratios - mean) ** 2
        noise = (DEGREES * spread.noise**2 + odd) / (DEGREES + 1)
    return Correction(
        axes=axes, spread=spread, weights=inverse @ ratios, inverse=inverse,
        surprise=_surprise(prior, ratios, spread),
    )  # fmt: skip


def _surprise(prior: Array, ratios: Array, spread: Spread) -> float:
    """Median of the squared corrections in units of what was expected of each after the others."""
    if len(ratios) < FEW:
        return 1.0
    root = np.linalg.cholesky(prior + spread.noise**2 * np.eye(len(ratios)))
    squares = np.linalg.solve(root, ratios) ** 2
    count, seen = len(ratios), float(np.median(squares)) / CHI_SQUARE_MEDIAN
    return (BELIEF + count * max(seen, 1.0)) / (BELIEF + count)


def from_memory(
    axes: Axes, room: Array, fitted: Sequence[bool], ratios: Array, spread: Spread = MEMORY
) -> Correction:
    """From runs that fitted or did not (expectation propagation).

    Args:
        axes: of the runs.
        room: log(available / predicted) bytes of each.
        fitted: whether it did.
        ratios: log(measured / predicted), nan where that was not measured.
        spread: what is known beforehand.
    """
    prior = covariance(axes, axes, spread)
    measured, sure = np.isfinite(ratios), 1 / spread.noise**2
    # Each run is stood for by a measurement (its precision, and precision times value).
    precision = np.where(measured, sure, 1e-6)
    shift = np.where(measured, np.where(measured, ratios, 0.0) * sure, 0.0)
    for _ in range(SWEEPS):
        inverse = np.linalg.inv(prior + np.diag(1 / precision))
        post = prior - prior @ inverse @ prior
        mean, var = post @ shift, np.diagonal(post)
        new = _matched(mean, var, (precision, shift), room, np.asarray(fitted), spread.noise)
        step = np.where(measured, 0.0, DAMPING * (new[0] - precision))
        shift = shift + np.where(measured, 0.0, DAMPING * (new[1] - shift))
        precision = precision + step
        if np.max(np.abs(step) / precision, initial=0.0) < 1e-3:
            break
    inverse = np.linalg.inv(prior + np.diag(1 / precision))
    return Correction(
        axes=axes, spread=spread, weights=inverse @ (shift / precision), inverse=inverse
    )


def _matched(
    mean: Array, var: Array, site: tuple[Array, Array], room: Array, fitted: Array, noise: float
) -> tuple[Array, Array]:
    """Measurements with the moments of what is known of a run without it, cut off at its room.

    Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), algorithm 3.5.
    """
    precision, shift = site
    without = np.maximum(1 / var - precision, 1e-9)
    v, m = 1 / without, (mean / var - shift) / without
    sign, wide = np.where(fitted, -1.0, 1.0), np.sqrt(noise**2 + v)
    z = sign * (m - room) / wide
    ratio = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(z))
    cut_mean = m + sign * v * ratio / wide
    cut_var = np.maximum(v - v**2 * ratio * (z + ratio) / wide**2, 1e-12)
    new = np.maximum(1 / cut_var - without, 1e-6)
    return new, cut_mean * (new + without) - m * without


def chance_of_oom(mean: Array, deviation: Array, room: Array, spread: Spread = MEMORY) -> Array:
    """Probability that log(measured / predicted) exceeds the room there is."""
    return ndtr((mean - room) / np.sqrt(deviation**2 + spread.noise**2))
