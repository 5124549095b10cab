"""The spike detector: what is an event, when it ends, and that its state goes on exactly.

Modules: launcher.spikes.detector, launcher.spec.spike_guard.
"""

import csv
import json
import math
from collections.abc import Iterable, Sequence

import pytest
import yaml

from launcher.decode import decode, encode
from launcher.errors import ConfigError
from launcher.spec.spike_guard import SpikeGuard
from launcher.spikes.detector import SIGMA, Detector, Event, Reading
from tests.conftest import ROOT

GUARD = SpikeGuard(window=16, patience=20)
CALM = [2.0, 2.1] * 8
"""A full window: median 2.05, noise 0.05 x SIGMA, so the floor of 0.25 is not the limit."""
LIMIT = 8 * SIGMA * 0.05
FLAT = [2.0] * 16


def events(
    losses: Iterable[float], norms: Iterable[float | None] = (), guard: SpikeGuard = GUARD
) -> list[Event]:
    return [event for reading in readings(losses, norms, guard) for event in reading.events]


def readings(
    losses: Iterable[float], norms: Iterable[float | None] = (), guard: SpikeGuard = GUARD
) -> list[Reading]:
    detector, remaining_norms = Detector(guard), iter(norms)
    return [
        detector.update(i, loss, next(remaining_norms, None)) for i, loss in enumerate(losses, 1)
    ]


def kinds(found_events: Sequence[Event]) -> list[tuple[str, int]]:
    return [(event.kind, event.step) for event in found_events]


@pytest.mark.parametrize(
    ("history", "value", "is_spike"),
    [
        (FLAT, 2.251, True),
        (FLAT, 2.249, False),  # below loss_nats
        (FLAT, 0.5, False),  # downwards
        (CALM, 2.05 + LIMIT + 0.001, True),
        (CALM, 2.05 + LIMIT - 0.001, False),  # above loss_nats, below 8 sigmas
        (FLAT[:8], 2.3, True),
        (FLAT[:7], 9.0, False),  # less than half a window is known
        ([5.0] * 8 + FLAT[:8], 2.3, True),  # the newer half is the baseline
        ([3.0] * 24 + FLAT[:8], 2.3, True),  # what has left the window does not count
    ],
)
def test_a_spike_is_above_the_floor_and_the_noise(
    history: list[float], value: float, is_spike: bool
) -> None:
    expected = [("loss_spike", len(history) + 1)] if is_spike else []
    assert kinds(events([*history, value])) == expected


def test_an_event_says_how_large_it_is_and_its_end_how_long() -> None:
    first, last = events([*FLAT, 3.0, 4.5, 2.2, 2.1])
    assert first == Event(
        kind="loss_spike", of="loss", step=17, start=17, value=3.0, baseline=2.0, size=1.0
    )
    assert last == Event(
        kind="recovery", of="loss", step=20, start=17, value=2.1, baseline=2.0, size=2.5
    )
    assert (first.steps, last.steps) == (0, 3)


@pytest.mark.parametrize(("value", "over"), [(2.126, False), (2.124, True)])
def test_it_is_over_at_half_the_limit(value: float, over: bool) -> None:
    assert len(events([*FLAT, 3.0, value])) == 1 + over


def test_the_baseline_of_an_even_number_is_between_the_middle_two() -> None:
    (event,) = events([*[2.0] * 11, 2.1, *[2.2] * 4, 3.0])
    assert event.baseline == pytest.approx(2.15)


def test_what_is_in_a_spike_is_not_learnt() -> None:
    spikes = events([*FLAT, *[3.0] * 15, 2.0, 2.251])
    assert kinds(spikes) == [("loss_spike", 17), ("recovery", 32), ("loss_spike", 33)]
    assert spikes[2].baseline == 2.0


def test_what_comes_back_is_learnt() -> None:
    spikes = events([*FLAT[:8], 2.3, *[2.12] * 9, 2.375])
    assert kinds(spikes) == [("loss_spike", 9), ("recovery", 10), ("loss_spike", 19)]
    assert spikes[2].baseline == pytest.approx(2.12)


def test_not_back_within_patience_is_a_divergence_and_the_new_level_is_learnt() -> None:
    spikes = events([*FLAT, *[3.0] * 21, *[3.0] * 7, 9.0, 3.0, 3.3])
    assert kinds(spikes) == [("loss_spike", 17), ("divergence", 37), ("loss_spike", 47)]
    assert (spikes[1].steps, spikes[1].size, spikes[2].baseline) == (20, 1.0, 3.0)


def test_a_fall_is_no_event() -> None:
    assert not events([12.0 * math.exp(-i / 30) for i in range(200)])


def rising(slope: float, steps: int) -> list[float]:
    return [*FLAT, *(2.0 + slope * i for i in range(1, steps + 1))]


def test_a_rise_too_slow_for_a_spike_is_a_creep_once_it_has_lasted() -> None:
    # The baseline of step t is the middle of steps t - 8 to t - 1: 0.01 x (t - 20.5) above 2. It
    # leaves 0.125 after step 33 and 0.25 after step 45, and patience is 20.
    (creep,) = events(rising(0.01, 40))
    assert (creep.kind, creep.of, creep.step, creep.start) == ("creep", "loss", 53, 33)
    assert (creep.value, creep.baseline, creep.size) == pytest.approx((2.37, 2.0, 0.37))


def test_a_creep_is_above_the_floor_and_the_noise() -> None:
    plateau = [2.0 + 0.01 * i for i in range(1, 25)]
    assert not events([*FLAT, *plateau, *[2.24] * 50])
    assert kinds(events([*FLAT, *plateau, *[2.26] * 50])) == [("creep", 53)]
    noisy = [value + sign * 0.05 for value in [2.0] * 16 + [2.3] * 99 for sign in (-1, 1)]
    assert not events(noisy)


def test_a_rise_that_comes_back_in_time_is_no_creep() -> None:
    assert not events([*rising(0.01, 35), *[2.0] * 60])


def test_after_a_creep_the_new_level_is_learnt() -> None:
    losses = [*rising(0.01, 37), *[2.37] * 8, 2.63, *[2.37] * 99]
    assert kinds(events(losses)) == [("creep", 53), ("loss_spike", 62), ("recovery", 63)]


def test_the_norm_may_creep() -> None:
    assert not events([2.0] * 400, [0.1 * 1.03**i for i in range(400)])


def test_an_expected_shift_is_no_creep() -> None:
    detector, seen_events = Detector(GUARD), []
    for step, loss in enumerate(rising(0.01, 60), 1):
        if step in (40, 60):
            detector.expect_shift(step)
        seen_events += detector.update(step, loss).events
    assert seen_events == []


@pytest.mark.parametrize(
    ("value", "kind"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "inf")]
)
def test_what_is_not_finite_is_an_event_at_once(value: float, kind: str) -> None:
    first, last = events([2.0, value, value, 7.0])
    assert (first.kind, first.step, first.value, first.baseline, first.size) == (
        kind,
        2,
        None,
        None,
        None,
    )
    assert (last.kind, last.step, last.start, last.value) == ("recovery", 4, 2, 7.0)


def test_a_spike_that_gets_nan_stays_one_event() -> None:
    spikes = events([*FLAT, 3.0, math.nan, math.inf, 4.0, math.nan, 2.0])
    assert kinds(spikes) == [("loss_spike", 17), ("nan", 18), ("recovery", 22)]
    assert [event.start for event in spikes] == [17, 17, 17]
    assert (spikes[1].value, spikes[1].size, spikes[2].size) == (None, 1.0, 2.0)


def test_after_nan_the_loss_has_to_come_back_too() -> None:
    spikes = events([*FLAT, math.nan, *[3.0] * 25])
    assert kinds(spikes) == [("nan", 17), ("divergence", 37)]
    assert spikes[1].size == 1.0


def test_nan_without_end_diverges() -> None:
    spikes = events([2.0, *[math.nan] * 22])
    assert kinds(spikes) == [("nan", 2), ("divergence", 22), ("nan", 23)]
    assert spikes[1].value is None


NORMS = [0.2] * 16


@pytest.mark.parametrize(
    ("value", "kind", "ratio"),
    [
        (1.01, "norm_spike", 5.05),
        (0.99, None, 4.95),
        (0.001, None, 0.005),
        (math.nan, "nan", math.inf),
        (math.inf, "inf", math.inf),
        (0.0, None, None),  # not filled in
        (None, None, None),
    ],
)
def test_norms_are_compared_as_times_of_their_baseline(
    value: float | None, kind: str | None, ratio: float | None
) -> None:
    last = readings([2.0] * 17, [*NORMS, value])[-1]
    assert [event.kind for event in last.events] == ([kind] if kind else [])
    assert last.norm_ratio == (ratio if ratio is None else pytest.approx(ratio))


def test_the_noise_of_norms_is_of_their_logarithm() -> None:
    norms = [0.1, 0.4] * 8  # a factor of 2 around 0.2: a sigma is log 2 x SIGMA
    limit = 0.2 * math.exp(8 * SIGMA * math.log(2))
    assert not events([2.0] * 17, [*norms, limit * 0.99])
    assert kinds(events([2.0] * 17, [*norms, limit * 1.01])) == [("norm_spike", 17)]


def test_a_spike_of_the_norm_says_times_and_is_over_at_the_root_of_the_factor() -> None:
    first, last = events([2.0] * 20, [*NORMS, 2.0, 8.0, 0.46, 0.44])
    assert (first.value, first.of, last.kind, last.step) == (2.0, "grad_norm", "recovery", 20)
    assert (first.baseline, first.size, last.size) == pytest.approx((0.2, 10, 40))


def test_both_quantities_may_have_an_event_at_one_step() -> None:
    last = readings([*FLAT, 3.0], [*NORMS, 2.0])[-1]
    assert [event.of for event in last.events] == ["loss", "grad_norm"]


def test_the_ratio_in_a_spike_is_to_the_baseline_before_it() -> None:
    steps = readings([2.0] * 26, [*NORMS, *[2.0] * 10])
    assert steps[-1].norm_ratio == pytest.approx(10)
    assert steps[7].norm_ratio is None and steps[8].norm_ratio == pytest.approx(1)


def shifted(
    shift_step: int | None, losses: Sequence[float], guard: SpikeGuard = GUARD
) -> list[Event]:
    detector, seen_events = Detector(guard), []
    if shift_step is not None:
        detector.expect_shift(shift_step)
    for step, loss in enumerate(losses, 1):
        seen_events += detector.update(step, loss, 0.2 if step < 17 else 2.0).events
    return seen_events


def test_an_expected_shift_is_no_event_and_the_new_level_is_guarded() -> None:
    losses = [*FLAT, *[3.0] * 10, 3.3]
    assert kinds(shifted(None, losses)) == [("loss_spike", 17), ("norm_spike", 17)]
    assert kinds(shifted(17, losses)) == [("loss_spike", 27)]
    assert kinds(shifted(17, [*FLAT, 3.0, math.nan])) == [("nan", 18)]


def test_a_shift_that_is_still_to_come_changes_nothing_yet() -> None:
    assert kinds(shifted(18, [*FLAT, 3.0])) == [("loss_spike", 17), ("norm_spike", 17)]


def test_what_goes_on_at_a_shift_has_no_end() -> None:
    losses = [*FLAT, *[3.0] * 40]
    assert kinds(shifted(None, losses))[2:] == [("divergence", 37), ("divergence", 37)]
    assert kinds(shifted(20, losses)) == [("loss_spike", 17), ("norm_spike", 17)]


def test_a_log_that_goes_back_ends_nothing_and_keeps_the_baseline() -> None:
    detector = Detector(GUARD)
    for step, loss in enumerate([*FLAT, 3.0, 3.0], 1):
        detector.update(step, loss)
    assert not detector.update(18, 2.0).events
    assert kinds(detector.update(19, 2.3).events) == [("loss_spike", 19)]


STORY = [*CALM, 5.0, 2.0, *CALM, 5.0, math.nan, 3.0, *[5.0] * 20, *CALM, math.inf, *CALM, 4.0]
STORY += rising(0.01, 60)
STORY_NORMS = [0.3, 0.2, 0.25, 0.2, 9.0, 0.2, math.nan, 0.25, None, 0.2] * 20


@pytest.mark.parametrize("cut", range(len(STORY)))
def test_a_resumed_detector_goes_on_exactly(cut: int) -> None:
    unbroken = Detector(GUARD)
    unbroken.expect_shift(70)
    for step in range(cut):
        unbroken.update(step, STORY[step], STORY_NORMS[step])
    text = json.dumps(unbroken.state_dict(), allow_nan=False)
    resumed = Detector(GUARD)
    resumed.load_state_dict(json.loads(text))
    for step in range(cut, len(STORY)):
        reading = resumed.update(step, STORY[step], STORY_NORMS[step])
        assert repr(reading) == repr(unbroken.update(step, STORY[step], STORY_NORMS[step]))
    assert resumed.state_dict() == unbroken.state_dict()


def test_the_state_is_a_copy() -> None:
    detector = Detector(GUARD)
    detector.update(1, 2.0)
    state = detector.state_dict()
    detector.update(2, 2.0)
    assert state["loss"]["history"] == [2.0]
    copy = Detector(GUARD)
    copy.load_state_dict(state)
    copy.update(2, 2.0)
    assert state["loss"]["history"] == [2.0]


def test_the_defaults_are_those_of_the_document() -> None:
    text = (ROOT / "docs" / "spikes.md").read_text()
    for name, value in encode(SpikeGuard()).items():
        assert f"| `{name}` | {value:g} |" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{windo: 8}", "spike_guard.windo: no such key; did you mean 'spike_guard.window'?"),
        ("{window: 7}", "spike_guard.window: 7 is below 8"),
        ("{norm_factor: 1}", "spike_guard.norm_factor: 1.0 is not above 1"),
        ("{lr_factor: 1.5}", "spike_guard.lr_factor: 1.5 is above 1"),
        ("{patience: 0}", "spike_guard.patience: 0 is below 1"),
        ("{skip_factor: 4.5}", "spike_guard.skip_factor: 4.5 is below spike_guard.norm_factor 5:"
         " updates would be skipped unrecorded"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(SpikeGuard, yaml.safe_load(text), "spike_guard").check()
    assert str(caught.value) == message


def test_settings_come_from_yaml() -> None:
    guard = decode(SpikeGuard, yaml.safe_load("{patience: 1.0e+3, margin: 0, skip_factor: 5}"))
    guard.check()
    assert guard == SpikeGuard(patience=1000, margin=0, skip_factor=5.0)


def excerpt(name: str) -> list[tuple[int, float, float | None]]:
    with (ROOT / "tests" / "data" / "losses" / name).open() as file:
        rows = list(csv.DictReader(file))
    return [
        (
            int(row["iteration"]),
            float(row["lm_loss"]),
            float(row["grad_norm"]) if "grad_norm" in row else None,
        )
        for row in rows
    ]


def of_excerpt(name: str, guard: SpikeGuard) -> list[tuple[str, int]]:
    detector = Detector(guard)
    return kinds([e for point in excerpt(name) for e in detector.update(*point).events])


def test_the_spikes_of_a_mixture_of_experts_are_found_and_heal() -> None:
    assert of_excerpt("mixtral.csv", SpikeGuard()) == [
        ("loss_spike", 3216), ("recovery", 3221), ("loss_spike", 3646), ("recovery", 3656),
        ("loss_spike", 3776), ("recovery", 3796),
    ]  # fmt: skip


def test_a_noisy_run_is_calm_because_of_its_noise() -> None:
    assert of_excerpt("bert.csv", SpikeGuard()) == []
    assert of_excerpt("bert.csv", SpikeGuard(sigmas=2.0)) != []


def test_the_norm_of_bloom_warns_three_steps_before_its_loss_peaks() -> None:
    detector = Detector(SpikeGuard())
    for step in range(31150, 31214):  # as calm as the excerpt's own first and last lines
        detector.update(step, 2.20 + 0.02 * (step % 3), 0.2 + 0.03 * (step % 3))
    alarms = [event for point in excerpt("bloom.csv") for event in detector.update(*point).events]
    assert [(event.of, event.kind, event.step) for event in alarms] == [
        ("loss", "loss_spike", 31216), ("grad_norm", "norm_spike", 31216),
        ("loss", "recovery", 31217), ("loss", "loss_spike", 31219),
        ("loss", "recovery", 31250), ("grad_norm", "recovery", 31250),
    ]  # fmt: skip
