"""Every transition of what is done about a spike."""

import json
import math

import pytest

from launcher.spec.spike_guard import SpikeGuard
from launcher.spikes.detector import Detector, Event, Reading
from launcher.spikes.ladder import APPLY, Action, Ladder

GUARD = SpikeGuard(max_skips=2, margin=10, budget=2, lr_factor=0.5, lr_steps=5)


def seen(step: int, loss: float = 2.0, ratio: float | None = 1.0, *events: Event) -> Reading:
    return Reading(step, loss, ratio, events)


def event(
    kind: str, step: int, start: int, of: str = "loss", baseline: float | None = 2.0
) -> Event:
    return Event(kind=kind, of=of, step=step, start=start, value=None, baseline=baseline, size=None)  # type: ignore[arg-type]


def kinds(ladder: Ladder, *ratios: float | None) -> list[str]:
    return [ladder.decide(seen(i, ratio=ratio)).kind for i, ratio in enumerate(ratios, 1)]


@pytest.mark.parametrize(
    "reading",
    [
        seen(50),
        seen(50, 2.0, None),
        seen(50, 9.0, 9.99, event("loss_spike", 50, 50), event("norm_spike", 50, 50, "grad_norm")),
        seen(50, 2.0, 1.0, event("recovery", 50, 40)),
        seen(50, 2.0, 1.0, event("divergence", 50, 20, "grad_norm")),  # the norm's alone
    ],
)
def test_events_alone_change_nothing(reading: Reading) -> None:
    ladder = Ladder(GUARD)
    assert ladder.decide(reading) is APPLY
    assert ladder.rollbacks == 0


def test_an_insane_norm_skips_the_update() -> None:
    assert Ladder(GUARD).decide(seen(7, ratio=10.0)) == Action(
        kind="skip", reason="step 7: gradient norm 10 times its baseline"
    )
    assert Ladder(GUARD).decide(seen(7, ratio=math.inf)) == Action(
        kind="skip", reason="step 7: gradient norm not finite"
    )


def test_after_max_skips_a_finite_norm_is_applied_until_it_is_sane_again() -> None:
    found = kinds(Ladder(GUARD), 20, 20, 20, 20, 1, 20, 20, 20)
    assert found == ["skip", "skip", "apply", "apply", "apply", "skip", "skip", "apply"]


def test_a_step_without_a_norm_ends_a_row_of_skips() -> None:
    assert kinds(Ladder(GUARD), 20, 20, None, 20) == ["skip", "skip", "apply", "skip"]


def test_after_max_skips_a_norm_that_is_not_finite_rolls_back() -> None:
    ladder = Ladder(GUARD)
    for step in (50, 51):
        assert ladder.decide(seen(step, ratio=math.inf)).kind == "skip"
    assert ladder.decide(seen(52, ratio=math.inf)) == Action(
        kind="roll_back", to=39,
        reason="step 52: gradient norm not finite, after 2 skipped updates",
    )  # fmt: skip
    assert ladder.decide(seen(40, ratio=20.0)).kind == "skip"  # the row begins again


@pytest.mark.parametrize(
    ("loss", "name"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")]
)
def test_a_loss_that_is_not_finite_rolls_back_at_once(loss: float, name: str) -> None:
    found = Ladder(GUARD).decide(seen(50, loss, 1.0, event("nan", 50, 50)))
    assert found == Action(kind="roll_back", reason=f"step 50: loss {name}", to=39)


def test_what_made_the_loss_nan_is_older_than_the_nan() -> None:
    assert Ladder(GUARD).decide(seen(50, math.nan, 1.0, event("nan", 50, 45))).to == 34
    assert Ladder(GUARD).decide(seen(50, math.nan)).to == 39  # still nan, without a new event


def test_a_divergence_rolls_back_to_before_its_start() -> None:
    found = Ladder(GUARD).decide(seen(250, 7.71, 1.0, event("divergence", 250, 50)))
    assert found == Action(
        kind="roll_back", to=39,
        reason="step 250: loss 7.71 not back to 2, 200 steps after step 50",
    )  # fmt: skip
    assert Ladder(GUARD).decide(seen(250, 2.5, 1.0, event("creep", 250, 30))).to == 39  # 200 back
    unknown = event("divergence", 250, 50, baseline=None)
    assert Ladder(GUARD).decide(seen(250, 7.71, 1.0, unknown)).reason == (
        "step 250: loss 7.71 not back, 200 steps after step 50"
    )


def test_a_rollback_never_goes_below_the_start() -> None:
    assert Ladder(GUARD).decide(seen(5, math.nan)).to == 0


def test_the_data_of_the_window_is_passed_over_and_the_rate_lowered_for_a_while() -> None:
    ladder = Ladder(GUARD)
    assert (ladder.lr_factor(45), ladder.passes_over(45)) == (1.0, False)
    ladder.decide(seen(50, math.nan))
    assert [step for step in range(100) if ladder.passes_over(step)] == list(range(40, 51))
    assert [step for step in range(100) if ladder.lr_factor(step) == 0.5] == list(range(56))
    ladder.decide(seen(80, math.nan))
    assert [step for step in range(99) if ladder.passes_over(step)] == [
        *range(40, 51), *range(70, 81),
    ]  # fmt: skip


def test_the_rate_is_left_alone_by_default() -> None:
    ladder = Ladder(SpikeGuard())
    ladder.decide(seen(500, math.nan))
    assert ladder.lr_factor(450) == 1.0


def test_a_spent_budget_stops_and_says_why() -> None:
    ladder = Ladder(GUARD)
    assert [ladder.decide(seen(step, math.nan)).kind for step in (50, 60)] == ["roll_back"] * 2
    assert ladder.decide(seen(70, math.nan)) == Action(
        kind="stop",
        reason="step 70: loss nan; all 2 rollbacks of spike_guard.budget are spent",
    )
    assert not ladder.passes_over(65) and ladder.rollbacks == 2


def test_without_a_budget_the_first_loss_stops() -> None:
    assert Ladder(SpikeGuard(budget=0)).decide(seen(70, math.nan)).kind == "stop"


def test_without_skips_an_insane_norm_is_applied_and_one_not_finite_rolls_back() -> None:
    guard = SpikeGuard(max_skips=0, margin=0)
    assert Ladder(guard).decide(seen(5, ratio=99.0)) is APPLY
    assert Ladder(guard).decide(seen(5, ratio=math.inf)).to == 4


def resumed(*states: object) -> Ladder:
    ladder = Ladder(GUARD)
    ladder.load_state_dict(*json.loads(json.dumps(states)))
    return ladder


def test_the_state_goes_on_exactly() -> None:
    ladder = Ladder(GUARD)
    ladder.decide(seen(50, math.nan))
    ladder.decide(seen(60, ratio=20))
    again = resumed(ladder.state_dict())
    assert again.state_dict() == ladder.state_dict()
    assert (again.rollbacks, again.passes_over(45)) == (1, True)
    assert kinds(again, 20, 20) == ["skip", "apply"]


def test_what_was_kept_at_the_rollback_counts_until_a_checkpoint_knows_of_it() -> None:
    ladder = Ladder(GUARD)
    before = ladder.state_dict()
    ladder.decide(seen(50, math.nan))
    kept = ladder.state_dict()
    ladder.decide(seen(60, ratio=20))
    after = ladder.state_dict()
    assert resumed(before, kept).state_dict() == kept
    assert resumed(after, kept).state_dict() == after
    assert resumed(before, None).state_dict() == before


def trained(bad: range, heals: bool) -> list[tuple[int, str]]:
    """The actions of a toy trainer: data of the steps in ``bad`` ruins its weights."""
    guard = SpikeGuard(window=16, patience=20, margin=5)
    ladder, detector, ruined, saved = Ladder(guard), Detector(guard), False, {}
    said, step = [], 0
    while step < 200:
        if step % 10 == 0:
            saved[step] = detector.state_dict()
        step += 1
        if ladder.passes_over(step):
            continue
        ruined = step in bad or (ruined and not heals)
        action = ladder.decide(detector.update(step, 5.0 if ruined else 2.0))
        if action.kind != "apply":
            said.append((step, action.kind))
        if action.kind == "stop":
            break
        if action.kind == "roll_back":
            assert action.to is not None
            step, ruined = max(at for at in saved if at <= action.to), False
            detector.load_state_dict(saved[step])
    return said


def test_a_spike_that_heals_is_left_alone() -> None:
    assert trained(range(50, 60), heals=True) == []


def test_a_spike_that_does_not_heal_is_rolled_back_passed_over_and_gone() -> None:
    assert trained(range(50, 51), heals=False) == [(70, "roll_back")]


def test_one_that_always_comes_again_ends_in_a_stop() -> None:
    # It is seen 20 steps after it began, whatever is passed over.
    assert trained(range(50, 999), heals=False) == [
        (70, "roll_back"), (91, "roll_back"), (112, "roll_back"), (133, "stop"),
    ]  # fmt: skip
