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
    interval_s=None,
    asynchronous=True,
    watchdog=True,
    requeues=True,
    excludes=True,
    verifies=True,
    rolls_back=True,
)


def lost(cluster: Machine, policy: Policy, seeds: int = 20, days: float = 200) -> float:
    return 1 - statistics.fmean(simulate(cluster, policy, n, days).useful for n in range(seeds))


@pytest.mark.parametrize("interval_h", [0.5, 1.0, 2.0, None])
def test_crashes_alone_cost_what_the_formula_says(interval_h: float | None) -> None:
    cluster = machine("", 128, LLAMA3_H, QUIET)
    policy = Policy(interval_s=interval_h and interval_h * HOUR, requeues=True)
    every, save, between = policy.every_s(cluster), policy.cost_s(cluster), cluster.mtbf_s
    # First order, Young 1974: of the time between two failures, the saves, half an interval that
    # is done again, and a start.
    expected = save / every + every / 2 / between + cluster.down_s / between
    assert lost(cluster, policy) == pytest.approx(expected, rel=0.05)


def test_no_other_interval_is_better_than_that_of_young_and_daly() -> None:
    cluster = machine("", 128, LLAMA3_H, QUIET)
    best = Policy(interval_s=None, requeues=True)
    neighbours = [replace(best, interval_s=best.every_s(cluster) * factor) for factor in (0.5, 2.0)]
    assert all(lost(cluster, policy) > lost(cluster, best) for policy in neighbours)


def test_nothing_is_lost_where_nothing_happens() -> None:
    cluster = machine("", 3, 1e9, replace(QUIET, start_s=0.0, pause_s=0.0, node_gb_s=1e6))
    assert lost(cluster, OURS, seeds=1) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("nodes", [3, 128, 2048])
@pytest.mark.parametrize("policy", [Policy(), OURS])
def test_all_time_is_accounted_for(nodes: int, policy: Policy) -> None:
    result = simulate(machine("", nodes, LLAMA3_H, Rates()), policy, 7)
    assert result == simulate(machine("", nodes, LLAMA3_H, Rates()), policy, 7)
    assert set(result.lost) == set(LOST) and min(result.lost.values()) >= 0
    assert result.useful + sum(result.lost.values()) == pytest.approx(1)


def test_the_watchdog_bounds_what_a_hang_costs() -> None:
    hangs = replace(QUIET, hang_share=1.0)
    cluster = machine("", 128, LLAMA3_H, hangs)
    unnoticed = [
        simulate(cluster, Policy(requeues=True, watchdog=watched), 1).lost["unnoticed"]
        for watched in (True, False)
    ]
    assert 0 < unnoticed[0] < 0.003 < 0.1 < unnoticed[1]  # 300 s and 6 to 18 h of every 49.5 h
