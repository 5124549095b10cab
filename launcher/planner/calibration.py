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

FEWEST_RUNS = 3
"""Runs before which nothing can be said of how wrong the formulas are."""

BELIEF = 10.0
"""Runs that as many have to contradict before what was expected counts half."""

CHI_SQUARE_MEDIAN = 0.455
"""Median of chi-square with one degree of freedom."""

SWEEPS, DAMPING = 40, 0.7
"""Most sweeps over all runs, and the damping of each, in expectation propagation."""

DEGREES = 4.0
"""Degrees of freedom of the noise, Student's t: one odd run moves little."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Standard deviations of log(measured / predicted) before anything was measured."""

    common: float
    """Deviation that all points of a grid share: the machine, the software."""
    axis: float
    """Deviation that points with the same value on one axis share."""
    unmodelled_axis: float
    """Deviation shared on an axis that the formulas know nothing of, such as a kernel."""
    joint: float
    """Deviation that only points near each other on all axes share."""
    noise: float
    """Deviation of one run from the next."""


TIME = Spread(common=0.15, axis=0.035, unmodelled_axis=0.15, joint=0.05, noise=0.02)
CPU_NOISE = 0.08
"""Noise of a step time where ranks share cores with everything else."""
MEMORY = Spread(common=0.06, axis=0.02, unmodelled_axis=0.12, joint=0.02, noise=0.015)

TIME_PARTS: Mapping[str, float] = {
    "compute": 0.08, "host": 0.15, "recompute": 0.15, "tensor": 0.4, "experts": 0.5,
    "pipeline": 0.5, "bubble": 0.15, "data": 0.5, "optimizer": 0.5, "other": 0.5,
}  # fmt: skip
"""Standard deviation of log(true / predicted) of each part of a step time."""
MEMORY_PARTS: Mapping[str, float] = {
    "weights": 0.02, "gradients": 0.1, "optimizer": 0.03, "activations": 0.1, "logits": 0.3,
    "buffers": 0.4, "other": 0.5,
}  # fmt: skip
"""Standard deviation of log(true / predicted) of each part of the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axes:
    """Positions of points: columns of numbers, of which only some have an order."""

    modelled: Array
    """(points, axes), as logarithms to base 2 where that makes sense; formulas know of these."""
    unmodelled: Array
    """(points, axes), numbers that stand for names."""
    parts: Array
    """(points, parts): the share of each part of a prediction, times how wrong that part may be."""

    def __getitem__(self, chosen: Array) -> "Axes":
        return Axes(
            modelled=self.modelled[chosen],
            unmodelled=self.unmodelled[chosen],
            parts=self.parts[chosen],
        )


def covariance(a: Axes, b: Axes, spread: Spread) -> Array:
    """(len(a), len(b)): how alike the corrections of two points are."""
    total = np.full((len(a.modelled), len(b.modelled)), spread.common**2)
    joint = np.full_like(total, spread.joint**2)
    for column in range(a.modelled.shape[1]):
        similarity = np.exp(-np.abs(a.modelled[:, column, None] - b.modelled[None, :, column]) / 2)
        total += spread.axis**2 * similarity
        joint *= similarity
    for column in range(a.unmodelled.shape[1]):
        equal = a.unmodelled[:, column, None] == b.unmodelled[None, :, column]
        total += spread.unmodelled_axis**2 * equal
        joint *= equal
    return total + joint + a.parts @ b.parts.T


def variance(a: Axes, spread: Spread) -> Array:
    """The diagonal of `covariance(a, a)`."""
    shared = spread.common**2 + spread.joint**2
    shared += (
        a.modelled.shape[1] * spread.axis**2 + a.unmodelled.shape[1] * spread.unmodelled_axis**2
    )
    return shared + np.sum(a.parts**2, axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """Posterior of log(measured / predicted), given what was measured."""

    axes: Axes
    """Positions of the points that were measured."""
    spread: Spread
    weights: Array
    """K^-1 mean."""
    inverse: Array
    """(K + noise)^-1."""
    surprise: float = 1.0
    """Factor by which the squares of most corrections exceed what was expected of them, 1 or more:
    the formulas are as wrong elsewhere."""

    def mean(self, axes: Axes) -> Array:
        """Expected correction of other points."""
        return covariance(axes, self.axes, self.spread) @ self.weights

    def deviation(self, axes: Axes) -> Array:
        """Its standard deviation, the noise of a run not counted."""
        cross = covariance(axes, self.axes, self.spread)
        explained = np.einsum("ij,jk,ik->i", cross, self.inverse, cross)
        unexplained = np.maximum(variance(axes, self.spread) - explained, 1e-9)
        return np.sqrt(self.surprise * unexplained)

    def joint(self, axes: Axes) -> Array:
        """Covariance of the corrections of a few points."""
        cross = covariance(axes, self.axes, self.spread)
        unexplained = covariance(axes, axes, self.spread) - cross @ self.inverse @ cross.T
        return self.surprise * unexplained


def from_times(axes: Axes, ratios: Array, spread: Spread = TIME) -> Correction:
    """Correct by log(measured / predicted) of runs, whose noise has heavy tails (Student's t)."""
    prior = covariance(axes, axes, spread)
    noise = np.full(len(ratios), spread.noise**2)
    mean = np.zeros(len(ratios))
    for _ in range(8 if len(ratios) > 2 else 1):
        inverse = np.linalg.inv(prior + np.diag(noise))
        mean = prior @ inverse @ ratios
        residuals = (ratios - mean) ** 2
        noise = (DEGREES * spread.noise**2 + residuals) / (DEGREES + 1)
    return Correction(
        axes=axes,
        spread=spread,
        weights=inverse @ ratios,
        inverse=inverse,
        surprise=_surprise(prior, ratios, spread),
    )


def _surprise(prior: Array, ratios: Array, spread: Spread) -> float:
    """Median of the squared corrections in units of what was expected of each after the others."""
    if len(ratios) < FEWEST_RUNS:
        return 1.0
    root = np.linalg.cholesky(prior + spread.noise**2 * np.eye(len(ratios)))
    squares = np.linalg.solve(root, ratios) ** 2
    count, factor = len(ratios), float(np.median(squares)) / CHI_SQUARE_MEDIAN
    return (BELIEF + count * max(factor, 1.0)) / (BELIEF + count)


def from_memory(
    axes: Axes, room: Array, fitted: Sequence[bool], ratios: Array, spread: Spread = MEMORY
) -> Correction:
    """Correct by runs that fitted or did not (expectation propagation).

    Args:
        axes: positions of the runs.
        room: log(available / predicted) bytes of each.
        fitted: True for each that did.
        ratios: log(measured / predicted), nan where that was not measured.
        spread: deviations expected beforehand.
    """
    prior = covariance(axes, axes, spread)
    measured, exact = np.isfinite(ratios), 1 / spread.noise**2
    # A run that only fitted or did not is replaced by a measurement of the same effect (a "site"):
    # its precision, and precision times value.
    precision = np.where(measured, exact, 1e-6)
    shift = np.where(measured, np.where(measured, ratios, 0.0) * exact, 0.0)
    for _ in range(SWEEPS):
        inverse = np.linalg.inv(prior + np.diag(1 / precision))
        posterior = prior - prior @ inverse @ prior
        mean, var = posterior @ shift, np.diagonal(posterior)
        matched = _matched_sites(
            mean, var, (precision, shift), room, np.asarray(fitted), spread.noise
        )
        step = np.where(measured, 0.0, DAMPING * (matched[0] - precision))
        shift = shift + np.where(measured, 0.0, DAMPING * (matched[1] - shift))
        precision = precision + step
        if np.max(np.abs(step) / precision, initial=0.0) < 1e-3:
            break
    inverse = np.linalg.inv(prior + np.diag(1 / precision))
    return Correction(
        axes=axes, spread=spread, weights=inverse @ (shift / precision), inverse=inverse
    )


def _matched_sites(
    mean: Array, var: Array, site: tuple[Array, Array], room: Array, fitted: Array, noise: float
) -> tuple[Array, Array]:
    """Sites with the moments of each run's distribution without its site, cut off at its room.

    Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), algorithm 3.5.
    """
    precision, shift = site
    # The cavity: the distribution of a run without its own site.
    cavity = np.maximum(1 / var - precision, 1e-9)
    v, m = 1 / cavity, (mean / var - shift) / cavity
    sign, deviation = np.where(fitted, -1.0, 1.0), np.sqrt(noise**2 + v)
    z = sign * (m - room) / deviation
    ratio = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(z))
    cut_mean = m + sign * v * ratio / deviation
    cut_var = np.maximum(v - v**2 * ratio * (z + ratio) / deviation**2, 1e-12)
    matched = np.maximum(1 / cut_var - cavity, 1e-6)
    return matched, cut_mean * (matched + cavity) - m * cavity


def chance_of_oom(mean: Array, deviation: Array, room: Array, spread: Spread = MEMORY) -> Array:
    """Probability that log(measured / predicted) exceeds the room there is."""
    return ndtr((mean - room) / np.sqrt(deviation**2 + spread.noise**2))
