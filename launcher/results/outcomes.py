"""What is done about each outcome: exactly one thing."""

from typing import Literal

from launcher.results.record import Outcome

Action = Literal["none", "never", "another_layout", "elsewhere", "requeue", "stop"]

NEXT_ACTION: dict[Outcome, Action] = {
    "ok": "none",
    "rejected": "never",
    "pruned": "never",
    "oom": "another_layout",
    "hang": "requeue",
    "assertion": "never",
    "nccl": "elsewhere",
    "node": "elsewhere",
    "disk": "stop",
    "data": "stop",
    "diverged": "never",
    "preempted": "requeue",
    "timeout": "another_layout",
    "cancelled": "requeue",
    "failed": "never",
}
"""What to do with a spec after each outcome.

none            it is done
never           the same spec would end the same way
another_layout  this model can run, this layout of it cannot in this memory or this time
elsewhere       the same spec again, without the node it ran on
requeue         the same spec again, anywhere: nothing was wrong with it
stop            every other spec would meet the same: a person has to act first
"""

ADVICE: dict[Action, str] = {
    "none": "",
    "never": "the same would fail again; once its cause is mended: retry=[{outcome}]",
    "another_layout": "this layout does not work here; once there is more room or time for it:"
    " retry=[{outcome}]",
    "elsewhere": "it was tried again as often as max_attempts says; once more: retry=[{outcome}]",
    "requeue": "the same command runs it again, or retry=[{outcome}] where it has given up",
    "stop": "once its cause is mended, the same command goes on",
}
"""What a person is told of each action, where there is nothing left to do without one."""


def advice(outcome: Outcome, time_limit: float | None) -> str:
    """What a person is told of an outcome; the seconds are those the run was allowed."""
    if outcome == "timeout" and time_limit is not None:
        return f"time_limit={time_limit:g} was not enough: a larger time_limit runs it again"
    return ADVICE[NEXT_ACTION[outcome]].format(outcome=outcome)
