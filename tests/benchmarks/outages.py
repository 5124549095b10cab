"""A run that fails at random, simulated: what of its time is useful work under which policy.

`simulate` knows no step but only times: work until the next failure or divergence, what of it was
saved by then, and what it takes until the next first step. docs/goodput.md says what it leaves out.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from launcher.spec.checkpointing import young_daly
from tests.benchmarks.machines import DAYS, HOUR, Machine

HANGS_BY_HAND = (18 * HOUR, 6 * HOUR, 11 * HOUR)
"""Until somebody saw that BLOOM hung: bigscience, train/tr11-176B-ml, chronicles."""
LOST = ("saves", "redone", "unnoticed", "waiting", "starting")
"""Kinds of lost time: writing; work that is done again; before anybody knows; for a person or a node;
from the start of the processes to the first step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Ways to keep a run alive; the defaults are by hand."""

    interval_s: float | None = 3 * HOUR
    """Between checkpoints, as BLOOM's; None is that of Young and Daly."""
    asynchronous: bool = False
    watchdog: bool = False
    """Ends a hang."""
    requeues: bool = False
    """Starts again without a person."""
    excludes: bool = False
    """Leaves a broken node out and takes a spare."""
    verifies: bool = False
    """Reads the checkpoint before a damaged one, instead of failing with it."""
    rolls_back: bool = False
    """Goes back by itself when the loss has diverged."""

    def cost_s(self, machine: Machine) -> float:
        """Cost of one save to training."""
        stays = machine.copy_s if self.asynchronous else machine.write_s
        return machine.rates.pause_s + stays

    def every_s(self, machine: Machine) -> float:
        """Work between two saves."""
        best = young_daly(self.cost_s(machine), machine.mtbf_s)
        return self.interval_s or max(best, machine.write_s)


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one run, in shares of its time."""

    useful: float
    lost: dict[str, float]


def simulate(machine: Machine, policy: Policy, seed: int, days: float = DAYS) -> Result:
    """One run from its start on; a function of its arguments.

    Of one seed, failures and divergences come at the same times whatever the policy, and what a
    failure is depends on its number alone: policies are compared on the same misfortune.
    """
    run = _Run(machine, policy, seed, days * 24 * HOUR)
    run.start()
    while run.now < run.end:
        run.train()
    return Result(run.done / run.end, {kind: s / run.end for kind, s in run.lost.items()})


Moment = tuple[float, random.Random]
"""Seconds from the start of the run, and the source of what happens then."""


def _times(seed: str, mean: float) -> Iterator[Moment]:
    """Moments at random."""
    clock, now = random.Random(seed), 0.0
    while True:
        now += clock.expovariate(1 / mean)
        yield now, random.Random(clock.random())


class _Run:
    """Progress of one run."""

    def __init__(self, machine: Machine, policy: Policy, seed: int, end: float) -> None:
        self.machine, self.policy, self.end = machine, policy, end
        self.now = self.done = 0.0  # seconds: the time, and the work that is safe
        self.lost = dict.fromkeys(LOST, 0.0)
        self.spares: list[float] = []  # when each broken node is a spare again
        self.random = random.Random(seed)
        self._failures = _times(f"{seed} fails", machine.mtbf_s)
        self._divergences = _times(f"{seed} diverges", machine.rates.divergence_h * HOUR)
        self._failure, self._divergence = next(self._failures), next(self._divergences)

    def spend(self, kind: str, seconds: float) -> None:
        """Time passes without work."""
        seconds = min(seconds, self.end - self.now)
        self.lost[kind] += seconds
        self.now += seconds
        while self._failure[0] <= self.now:  # what does not run does not fail
            self._failure = next(self._failures)
        while self._divergence[0] <= self.now:
            self._divergence = next(self._divergences)

    def train(self) -> None:
        """From the first step after a start to the first after the next."""
        moment, failure, divergence = self._failure, self._failure[0], self._divergence[0]
        if self.end <= min(failure, divergence):
            self._work(self.end - self.now, None)
        elif divergence < failure:
            self.random, self._divergence = self._divergence[1], next(self._divergences)
            self._work(divergence - self.now, self.machine.rates.margin * self.machine.step_s)
            self._diverged()
        else:
            self._work(failure - self.now, 0.0)
            self._failed(moment)

    def _work(self, seconds: float, back: float | None) -> None:
        """Train, and keep the work that was done ``back`` seconds before the end; None keeps all."""
        work_s, cost = self.policy.every_s(self.machine), self.policy.cost_s(self.machine)
        intervals, partial = divmod(seconds, work_s + cost)
        work = intervals * work_s + min(partial, work_s)
        self.lost["saves"] += seconds - work
        self.now += seconds
        if back is None:
            self.done += work
            return
        late = self.machine.write_s if self.policy.asynchronous else 0.0
        saved = math.floor((seconds - late - back) / (work_s + cost))
        if seconds >= back:  # else what it started from is not trusted either
            saved = max(saved, 0)
        self._keep(work, saved * work_s)

    def _keep(self, work: float, safe: float) -> None:
        """Count the work that is safe, below 0 where some from before this start is lost."""
        safe = max(safe, -self.done)
        self.done += safe
        self.lost["redone"] += work - safe

    def _failed(self, moment: Moment) -> None:
        rates, policy, self.random = self.machine.rates, self.policy, moment[1]
        if self._failure is moment:
            self._failure = next(self._failures)
        hangs = self.random.random() < rates.hang_share
        broken = self.random.random() < rates.broken_share
        damaged = self.random.random() < rates.damaged_share
        late = self.random.choice(HANGS_BY_HAND)
        late = rates.hang_after_s if policy.watchdog else late
        self.spend("unnoticed", late if hangs else rates.seen_s)
        if not policy.requeues:
            self._person()
        if broken:
            self._exchange()
        if damaged:
            self._fall_back()
        self.start()

    def _exchange(self) -> None:
        """A node has to go; as long as nobody knows which, every start fails."""
        rates, policy = self.machine.rates, self.policy
        if policy.requeues and not policy.excludes:  # the rest of three attempts are in vain
            self.spend("starting", 2 * self.machine.down_s)
            self._person()
        while self.random.random() >= rates.named_share:
            self.spend("starting", self.machine.down_s)
            if not (policy.requeues and policy.excludes):
                self._person()
        if not policy.excludes:
            self.spend("waiting", rates.swap_h * HOUR)
            return
        self.spares = sorted(back for back in self.spares if back > self.now)
        if len(self.spares) >= self.machine.spares:
            self.spend("waiting", self.spares[-self.machine.spares] - self.now)
        self.spares.append(self.now + rates.repair_h * HOUR)

    def _fall_back(self) -> None:
        """The newest checkpoint is damaged; who does not look finds out by failing."""
        self._keep(0.0, -self.policy.every_s(self.machine))
        if not self.policy.verifies:
            self.spend("starting", self.machine.down_s)
            self._person()

    def start(self) -> None:
        """Start and read, again as often as something fails meanwhile."""
        first_step, outage = self.now + self.machine.down_s, self._failure
        self.spend("starting", min(outage[0], first_step) - self.now)
        if outage[0] < min(first_step, self.end):
            self._failed(outage)

    def _diverged(self) -> None:
        rates = self.machine.rates
        if self.policy.rolls_back:
            self.spend("unnoticed", rates.patience * self.machine.step_s)
            self.spend("starting", self.machine.restore_s)
            return
        self.spend("unnoticed", self.random.expovariate(1 / (rates.look_h * HOUR)))
        self._person()
        self.start()

    def _person(self) -> None:
        self.spend("waiting", self.random.lognormvariate(math.log(self.machine.rates.person_s), 1))
