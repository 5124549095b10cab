"""Every transition of the ladder of answers to a spike."""

import json
import math

import pytest

from launcher.spec.spike_guard import SpikeGuard
from launcher.spikes.detector import Detector, Event, Reading
from launcher.spikes.ladder import APPLY, GuardAction, Ladder

GUARD = SpikeGuard(max_skips=2, margin=10, budget=2, lr_factor=0.5, lr_steps=5)


def reading_of(step: int, loss: float = 2.0, ratio: float | None = 1.0, *events: Event) -> Reading:
    return Reading(step, loss, ratio, events)


def event(
    kind: str, step: int, start: int, quantity: str = "loss", baseline: float | None = 2.0
) -> Event:
    return Event(
        kind=kind, of=quantity, step=step, start=start, value=None, baseline=baseline, size=None
    )  # type: ignore[arg-type]


def kinds(ladder: Ladder, *ratios: float | None) -> list[str]:
    return [ladder.decide(reading_of(i, ratio=ratio)).kind for i, ratio in enumerate(ratios, 1)]


@pytest.mark.parametrize(
    "reading",
    [
        reading_of(50),
        reading_of(50, 2.0, None),
        reading_of(
            50, 9.0, 9.99, event("loss_spike", 50, 50), event("norm_spike", 50, 50, "grad_norm")
        ),
        reading_of(50, 2.0, 1.0, event("recovery", 50, 40)),
        reading_of(50, 2.0, 1.0, event("divergence", 50, 20, "grad_norm")),  # the norm's alone
    ],
)
def test_events_alone_change_nothing(reading: Reading) -> None:
    ladder = Ladder(GUARD)
    assert ladder.decide(reading) is APPLY
    assert ladder.rollbacks == 0


def test_an_insane_norm_skips_the_update() -> None:
    assert Ladder(GUARD).decide(reading_of(7, ratio=10.0)) == GuardAction(
        kind="skip", reason="step 7: gradient norm 10 times its baseline"
    )
    assert Ladder(GUARD).decide(reading_of(7, ratio=math.inf)) == GuardAction(
        kind="skip", reason="step 7: gradient norm not finite"
    )


def test_after_max_skips_a_finite_norm_is_applied_until_it_is_sane_again() -> None:
    actions = kinds(Ladder(GUARD), 20, 20, 20, 20, 1, 20, 20, 20)
    assert actions == ["skip", "skip", "apply", "apply", "apply", "skip", "skip", "apply"]


def test_a_step_without_a_norm_ends_a_row_of_skips() -> None:
    assert kinds(Ladder(GUARD), 20, 20, None, 20) == ["skip", "skip", "apply", "skip"]


def test_after_max_skips_a_norm_that_is_not_finite_rolls_back() -> None:
    ladder = Ladder(GUARD)
    for step in (50, 51):
        assert ladder.decide(reading_of(step, ratio=math.inf)).kind == "skip"
    assert ladder.decide(reading_of(52, ratio=math.inf)) == GuardAction(
        kind="roll_back",
        to=39,
        reason="step 52: gradient norm not finite, after 2 skipped updates",
    )
    assert ladder.decide(reading_of(40, ratio=20.0)).kind == "skip"  # the row begins again


@pytest.mark.parametrize(
    ("loss", "name"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")]
)
def test_a_loss_that_is_not_finite_rolls_back_at_once(loss: float, name: str) -> None:
    action = Ladder(GUARD).decide(reading_of(50, loss, 1.0, event("nan", 50, 50)))
    assert action == GuardAction(kind="roll_back", reason=f"step 50: loss {name}", to=39)


def test_what_made_the_loss_nan_is_older_than_the_nan() -> None:
    assert Ladder(GUARD).decide(reading_of(50, math.nan, 1.0, event("nan", 50, 45))).to == 34
    assert Ladder(GUARD).decide(reading_of(50, math.nan)).to == 39  # still nan, without a new event


def test_a_divergence_rolls_back_to_before_its_start() -> None:
    action = Ladder(GUARD).decide(reading_of(250, 7.71, 1.0, event("divergence", 250, 50)))
    assert action == GuardAction(
        kind="roll_back",
        to=39,
        reason="step 250: loss 7.71 not back to 2, 200 steps after step 50",
    )
    assert (
        Ladder(GUARD).decide(reading_of(250, 2.5, 1.0, event("creep", 250, 30))).to == 39
    )  # 200 back
    unknown = event("divergence", 250, 50, baseline=None)
    assert Ladder(GUARD).decide(reading_of(250, 7.71, 1.0, unknown)).reason == (
        "step 250: loss 7.71 not back, 200 steps after step 50"
    )


def test_a_rollback_never_goes_below_the_start() -> None:
    assert Ladder(GUARD).decide(reading_of(5, math.nan)).to == 0


def test_the_data_of_the_window_is_passed_over_and_the_rate_lowered_for_a_while() -> None:
    ladder = Ladder(GUARD)
    assert (ladder.lr_factor(45), ladder.passes_over(45)) == (1.0, False)
    ladder.decide(reading_of(50, math.nan))
    assert [step for step in range(100) if ladder.passes_over(step)] == list(range(40, 51))
    assert [step for step in range(100) if ladder.lr_factor(step) == 0.5] == list(range(56))
    ladder.decide(reading_of(80, math.nan))
    assert [step for step in range(99) if ladder.passes_over(step)] == [
        *range(40, 51),
        *range(70, 81),
    ]


def test_the_rate_is_left_alone_by_default() -> None:
    ladder = Ladder(SpikeGuard())
    ladder.decide(reading_of(500, math.nan))
    assert ladder.lr_factor(450) == 1.0


def test_a_spent_budget_stops_and_says_why() -> None:
    ladder = Ladder(GUARD)
    assert [ladder.decide(reading_of(step, math.nan)).kind for step in (50, 60)] == [
        "roll_back"
    ] * 2
    assert ladder.decide(reading_of(70, math.nan)) == GuardAction(
        kind="stop",
        reason="step 70: loss nan; all 2 rollbacks of spike_guard.budget are spent",
    )
    assert not ladder.passes_over(65) and ladder.rollbacks == 2


def test_without_a_budget_the_first_loss_stops() -> None:
    assert Ladder(SpikeGuard(budget=0)).decide(reading_of(70, math.nan)).kind == "stop"


def test_without_skips_an_insane_norm_is_applied_and_one_not_finite_rolls_back() -> None:
    guard = SpikeGuard(max_skips=0, margin=0)
    assert Ladder(guard).decide(reading_of(5, ratio=99.0)) is APPLY
    assert Ladder(guard).decide(reading_of(5, ratio=math.inf)).to == 4


def resumed(*states: object) -> Ladder:
    ladder = Ladder(GUARD)
    ladder.load_state_dict(*json.loads(json.dumps(states)))
    return ladder


def test_the_state_goes_on_exactly() -> None:
    ladder = Ladder(GUARD)
    ladder.decide(reading_of(50, math.nan))
    ladder.decide(reading_of(60, ratio=20))
    restored = resumed(ladder.state_dict())
    assert restored.state_dict() == ladder.state_dict()
    assert (restored.rollbacks, restored.passes_over(45)) == (1, True)
    assert kinds(restored, 20, 20) == ["skip", "apply"]


def test_what_was_kept_at_the_rollback_counts_until_a_checkpoint_knows_of_it() -> None:
    ladder = Ladder(GUARD)
    earlier = ladder.state_dict()
    ladder.decide(reading_of(50, math.nan))
    at_rollback = ladder.state_dict()
    ladder.decide(reading_of(60, ratio=20))
    later = ladder.state_dict()
    assert resumed(earlier, at_rollback).state_dict() == at_rollback
    assert resumed(later, at_rollback).state_dict() == later
    assert resumed(earlier, None).state_dict() == earlier


def trained(bad: range, heals: bool) -> list[tuple[int, str]]:
    """The actions of a toy trainer: data of the steps in ``bad`` ruins its weights."""
    guard = SpikeGuard(window=16, patience=20, margin=5)
    ladder, detector, ruined, saved = Ladder(guard), Detector(guard), False, {}
    actions, step = [], 0
    while step < 200:
        if step % 10 == 0:
            saved[step] = detector.state_dict()
        step += 1
        if ladder.passes_over(step):
            continue
        ruined = step in bad or (ruined and not heals)
        action = ladder.decide(detector.update(step, 5.0 if ruined else 2.0))
        if action.kind != "apply":
            actions.append((step, action.kind))
        if action.kind == "stop":
            break
        if action.kind == "roll_back":
            assert action.to is not None
            step, ruined = max(saved_step for saved_step in saved if saved_step <= action.to), False
            detector.load_state_dict(saved[step])
    return actions


def test_a_spike_that_heals_is_left_alone() -> None:
    assert trained(range(50, 60), heals=True) == []


def test_a_spike_that_does_not_heal_is_rolled_back_passed_over_and_gone() -> None:
    assert trained(range(50, 51), heals=False) == [(70, "roll_back")]


def test_one_that_always_comes_again_ends_in_a_stop() -> None:
    # It is seen 20 steps after it began, whatever is passed over.
    assert trained(range(50, 999), heals=False) == [
        (70, "roll_back"),
        (91, "roll_back"),
        (112, "roll_back"),
        (133, "stop"),
    ]
