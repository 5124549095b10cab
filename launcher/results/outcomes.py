"""Outcomes of a run, and the one next step that each of them asks for."""

from typing import Literal, get_args

Outcome = Literal[
    "ok",  # every step done
    "rejected",  # impossible, found before anything ran
    "pruned",  # predicted not to fit, or to lose
    "oom",  # out of memory, of a card or of the machine
    "hang",  # no step within the limit
    "assertion",  # the framework refused the configuration
    "nccl",  # a collective failed, nccl or gloo
    "node",  # the machine failed, or something outside killed a rank
    "disk",  # no space, or a folder that cannot be written
    "data",  # text that cannot be read, or tokens the model does not know
    "diverged",  # loss or gradients are not finite
    "preempted",
    "timeout",  # the time limit of the trial
    "cancelled",
    "failed",  # anything else
]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

NEVER_RAN: tuple[Outcome, ...] = ("rejected", "pruned")
"""Outcomes of points that were never started: no failures."""

NextStep = Literal["none", "never", "another_layout", "elsewhere", "requeue", "stop"]

NEXT_STEP: dict[Outcome, NextStep] = {
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
"""Next step with a spec after each outcome.

none            it is done
never           the same spec would end the same way
another_layout  this model can run, this layout of it cannot in this memory or this time
elsewhere       the same spec again, without the node it ran on
requeue         the same spec again, anywhere: nothing was wrong with it
stop            every other spec would meet the same: a person has to act first
"""

ADVICE: dict[NextStep, str] = {
    "none": "",
    "never": "the same would fail again; once its cause is mended: retry=[{outcome}]",
    "another_layout": "this layout does not work here; once there is more room or time for it:"
    " retry=[{outcome}]",
    "elsewhere": "it was tried again as often as max_attempts says; once more: retry=[{outcome}]",
    "requeue": "the same command runs it again, or retry=[{outcome}] where it has given up",
    "stop": "once its cause is mended, the same command goes on",
}
"""Advice for each step, where nothing is left to do without a person."""


def advice(outcome: Outcome, time_limit: float | None) -> str:
    """Advice on an outcome; ``time_limit`` is the seconds that the run was allowed."""
    if outcome == "timeout" and time_limit is not None:
        return f"time_limit={time_limit:g} was not enough: a larger time_limit runs it again"
    return ADVICE[NEXT_STEP[outcome]].format(outcome=outcome)
