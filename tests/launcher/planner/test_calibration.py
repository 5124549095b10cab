"""Corrections of all predictions by a few measurements."""

from typing import Any

import numpy as np
import pytest

from launcher.planner.calibration import (
    MEMORY,
    TIME,
    Axes,
    Spread,
    chance_of_oom,
    covariance,
    from_memory,
    from_times,
    variance,
)

SPREAD = Spread(common=0.1, axis=0.05, unmodelled_axis=0.2, joint=0.04, noise=0.01)


def axes(modelled: Any, unmodelled: Any = None, parts: Any = None) -> Axes:
    """One row for each point; no unmodelled axes and no parts unless they are given."""
    places = np.array(modelled, dtype=float)
    none = np.zeros((len(places), 0))
    return Axes(
        modelled=places,
        unmodelled=none if unmodelled is None else np.array(unmodelled, dtype=float),
        parts=none if parts is None else np.array(parts, dtype=float),
    )


NOTHING = axes(np.zeros((0, 2)))
SQUARE = [[0, 0], [1, 0], [0, 1], [1, 1]]


def test_alike_points_share_their_corrections() -> None:
    alike = covariance(
        axes([[0, 0]], [[1]]), axes([[0, 0], [0, 2], [9, 9]], [[1], [1], [2]]), SPREAD
    )
    similarity = np.exp(-1)  # two apart on one axis
    far = np.exp(-4.5)
    assert alike[0] == pytest.approx([
        0.01 + 2 * 0.0025 + 0.04 + 0.0016,
        0.01 + 0.0025 + 0.0025 * similarity + 0.04 + 0.0016 * similarity,
        0.01 + 2 * 0.0025 * far,  # another value of the unknown axis, so no joint part either
    ])  # fmt: skip


def test_the_variance_is_the_diagonal() -> None:
    pair = axes([[0, 0], [3, 1]], [[1], [2]], [[0.0, 0.3], [0.1, 0.2]])
    assert variance(pair, SPREAD) == pytest.approx(np.diag(covariance(pair, pair, SPREAD)))
    assert variance(pair, SPREAD) == pytest.approx([0.0566 + 0.09, 0.0566 + 0.05])


def test_a_part_that_is_wrong_is_wrong_wherever_it_is_large() -> None:
    """Half of the first point is communication, which takes longer than predicted."""
    places, parts = [[0.0]] * 3, [[0.5 * 0.4], [0.5 * 0.4], [0.0]]
    correction = from_times(axes(places[:1], parts=parts[:1]), np.log([1.4]))
    alike, without = correction.mean(axes([[8.0], [8.0]], parts=parts[1:]))
    assert alike > 1.5 * without


@pytest.mark.parametrize("spread", [TIME, MEMORY])
def test_before_any_run_the_formulas_stand(spread: Spread) -> None:
    places = axes(SQUARE)
    corrections = [
        from_times(NOTHING, np.zeros(0), spread),
        from_memory(NOTHING, np.zeros(0), [], np.zeros(0), spread),
    ]
    prior = np.sqrt(spread.common**2 + spread.joint**2 + 2 * spread.axis**2)
    for correction in corrections:
        assert correction.mean(places).tolist() == [0.0] * 4
        assert correction.deviation(places) == pytest.approx([prior] * 4)


def test_a_common_factor_is_learnt() -> None:
    correction = from_times(axes(SQUARE[:3]), np.log([1.2] * 3))
    fourth = axes(SQUARE[3:])
    assert np.exp(correction.mean(fourth)[0]) == pytest.approx(1.2, rel=0.05)
    assert (
        correction.deviation(fourth)[0]
        < 0.3 * from_times(NOTHING, np.zeros(0)).deviation(fourth)[0]
    )


def test_what_was_measured_is_predicted_again() -> None:
    ratios = np.log([1.1, 1.3, 0.9, 1.0])
    correction = from_times(axes(SQUARE), ratios)
    assert correction.mean(axes(SQUARE)) == pytest.approx(ratios, abs=0.08)
    assert (correction.deviation(axes(SQUARE)) < 0.06).all()


@pytest.mark.parametrize("odd", range(5))
def test_one_odd_run_moves_little(odd: int) -> None:
    places = axes([*SQUARE, [2, 0]])
    ratios = np.full(5, np.log(1.2))
    ratios[odd] += np.log(3)
    usual = np.delete(np.exp(from_times(places, ratios).mean(places)), odd)
    assert usual == pytest.approx([1.2] * 4, rel=0.03)


def test_an_unknown_axis_is_learnt_for_its_value_alone() -> None:
    # the same kernel, 40 % slower, on three layouts; another one as predicted on the same
    layouts = [*SQUARE[:3], *SQUARE[:3]]
    places = axes(layouts, [[0]] * 3 + [[1]] * 3)
    correction = from_times(places, np.log([1.4] * 3 + [1.0] * 3))
    elsewhere = axes([[1, 1]] * 3, [[0], [1], [2]])
    factor, deviation = np.exp(correction.mean(elsewhere)), correction.deviation(elsewhere)
    assert factor[:2] == pytest.approx([1.4, 1.0], rel=0.03)
    assert 1.1 < factor[2] < 1.3  # of a third one nothing is known: between the two
    assert deviation[2] > 2 * deviation[:2].max()


def test_a_known_axis_matters_less_the_further_away() -> None:
    correction = from_times(axes([[0]]), np.log([1.2]))
    means = correction.mean(axes([[0], [1], [4], [16]]))
    assert (np.diff(means) < 0).all() and means[-1] > 0


SIZES = Spread(common=0.05, axis=0.02, unmodelled_axis=0.12, joint=0.02, noise=0.015)
"""Deviations of memory."""


def chance(axis: float, room: float, runs: list[tuple[float, float, bool, float]]) -> float:
    """Chance of not fitting, with (place, room, fitted, log(measured / predicted)) of some runs."""
    places = axes([[run[0]] for run in runs]) if runs else axes(np.zeros((0, 1)))
    room_there, fitted, ratios = (np.array([run[n] for run in runs]) for n in (1, 2, 3))
    fits = fitted.astype(bool).tolist()
    correction = from_memory(places, room_there, fits, ratios.astype(float), SIZES)
    point = axes([[axis]])
    mean, deviation = correction.mean(point), correction.deviation(point)
    return float(chance_of_oom(mean, deviation, np.array([room]), SIZES)[0])


BIG, NAN = -0.05, float("nan")
"""Room of a point that is predicted 5 % larger than the device, and "not measured"."""


def test_before_any_run_the_chance_is_that_of_the_formulas() -> None:
    # deviation: sqrt(0.05^2 + 2 x 0.02^2 + 0.015^2) = 0.0594; Phi(0.05 / 0.0594) = 0.800
    assert chance(0, BIG, []) == pytest.approx(0.800, abs=2e-3)
    assert chance(0, -BIG, []) == pytest.approx(0.200, abs=2e-3)
    assert chance(0, 0.0, []) == pytest.approx(0.5)


def test_a_run_that_fitted_lowers_the_chance_of_its_neighbours() -> None:
    prior, posterior = chance(1, BIG, []), chance(1, BIG, [(0, BIG, True, NAN)])
    assert posterior < 0.5 < prior
    assert posterior < chance(8, BIG, [(0, BIG, True, NAN)])  # less so far away


def test_a_run_that_did_not_fit_raises_it() -> None:
    prior, posterior = chance(1, -BIG, []), chance(1, -BIG, [(0, -BIG, False, NAN)])
    assert prior < 0.5 < posterior
    assert posterior > chance(8, -BIG, [(0, -BIG, False, NAN)])


@pytest.mark.parametrize(("room", "fitted"), [(0.5, True), (-0.5, False)])
def test_what_was_expected_teaches_nothing(room: float, fitted: bool) -> None:
    assert chance(1, BIG, [(0, room, fitted, NAN)]) == pytest.approx(chance(1, BIG, []), abs=0.01)


def test_measured_memory_pins_it() -> None:
    # measured as 8 % less than predicted, which is less than the device has
    run = (0, BIG, True, np.log(0.92))
    assert chance(0, BIG, [run]) < 0.1 < 0.15 < chance(0, BIG, [(0, BIG, True, NAN)])
    correction = from_memory(axes([[0]]), np.array([BIG]), [True], np.array([np.log(0.92)]), SIZES)
    assert correction.mean(axes([[0]]))[0] == pytest.approx(np.log(0.92), abs=0.01)
    noise = correction.deviation(axes([[0]]))[0]
    assert noise == pytest.approx(0.015, abs=1e-3)  # of one run


def test_runs_that_contradict_each_other_leave_it_open() -> None:
    runs = [(0.0, 0.0, True, NAN), (0.0, 0.0, False, NAN)]
    assert chance(0, 0.0, runs) == pytest.approx(0.5, abs=0.01)


def test_a_hundred_runs_of_one_point_are_no_trouble() -> None:
    correction = from_times(axes([[0, 0]] * 100), np.full(100, np.log(1.2)))
    assert np.exp(correction.mean(axes([[0, 0]]))[0]) == pytest.approx(1.2, rel=0.01)
    assert correction.deviation(axes([[0, 0]]))[0] < 0.005
