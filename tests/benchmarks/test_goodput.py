"""The simulated goodput against what can be worked out by hand."""

import statistics
from dataclasses import replace

import pytest

from tests.benchmarks.machines import HOUR, LLAMA3_H, Machine, Rates, machine
from tests.benchmarks.outages import LOST, Policy, simulate

QUIET = Rates(
    hang_share=0.0, broken_share=0.0, damaged_share=0.0, divergence_h=1e9, seen_s=0.0, pause_s=50.0
)
"""Crashes alone, seen at once."""
OURS = Policy(
    interval_s=None, asynchronous=True, watchdog=True, requeues=True, excludes=True, verifies=True,
    rolls_back=True,
)  # fmt: skip


def lost(of: Machine, policy: Policy, seeds: int = 20, days: float = 200) -> float:
    return 1 - statistics.fmean(simulate(of, policy, n, days).useful for n in range(seeds))


@pytest.mark.parametrize("interval_h", [0.5, 1.0, 2.0, None])
def test_crashes_alone_cost_what_the_formula_says(interval_h: float | None) -> None:
    of = machine("", 128, LLAMA3_H, QUIET)
    policy = Policy(interval_s=interval_h and interval_h * HOUR, requeues=True)
    every, save, between = policy.every_s(of), policy.cost_s(of), of.mtbf_s
    # First order, Young 1974: of the time between two failures, the saves, half an interval that
    # is done again, and a start.
    expected = save / every + every / 2 / between + of.down_s / between
    assert lost(of, policy) == pytest.approx(expected, rel=0.05)


def test_no_other_interval_is_better_than_that_of_young_and_daly() -> None:
    of = machine("", 128, LLAMA3_H, QUIET)
    best = Policy(interval_s=None, requeues=True)
    others = [replace(best, interval_s=best.every_s(of) * factor) for factor in (0.5, 2.0)]
    assert all(lost(of, other) > lost(of, best) for other in others)


def test_nothing_is_lost_where_nothing_happens() -> None:
    of = machine("", 3, 1e9, replace(QUIET, start_s=0.0, pause_s=0.0, node_gb_s=1e6))
    assert lost(of, OURS, seeds=1) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("nodes", [3, 128, 2048])
@pytest.mark.parametrize("policy", [Policy(), OURS])
def test_all_time_is_accounted_for(nodes: int, policy: Policy) -> None:
    found = simulate(machine("", nodes, LLAMA3_H, Rates()), policy, 7)
    assert found == simulate(machine("", nodes, LLAMA3_H, Rates()), policy, 7)
    assert set(found.lost) == set(LOST) and min(found.lost.values()) >= 0
    assert found.useful + sum(found.lost.values()) == pytest.approx(1)


def test_the_watchdog_bounds_what_a_hang_costs() -> None:
    hangs = replace(QUIET, hang_share=1.0)
    of = machine("", 128, LLAMA3_H, hangs)
    found = [simulate(of, Policy(requeues=True, watchdog=watched), 1).lost["unnoticed"]
             for watched in (True, False)]  # fmt: skip
    assert 0 < found[0] < 0.003 < 0.1 < found[1]  # 300 s and 6 to 18 h of every 49.5 h
