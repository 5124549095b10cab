"""Limits of all tests, and how to wait: each ends what hangs, and a busy machine reaches none.

A test waits for an event, never for a time; a limit of the product that it is about is made short
in the product, with nothing that has to be quicker.
"""

import time
from collections.abc import Callable
from typing import TypeVar

COMMAND = 900.0
"""Seconds for a process to its end: a launch, a rank, a script, a command of SLURM's."""

EVENT = 600.0
"""Seconds for what is waited for to happen: a step, a file, the end of what others have ended."""

ALWAYS = 3600
"""Seconds that a stand-in sleeps for, or a rank hangs: until it is ended, far beyond the others."""

Value = TypeVar("Value")


def until(reached: Callable[[], Value], every: float = 0.05) -> Value:
    """Wait for a condition to hold, and return its value; fail after `EVENT` seconds."""
    deadline = time.monotonic() + EVENT
    while not (value := reached()):
        assert time.monotonic() < deadline, f"nothing in {EVENT:g} s"
        time.sleep(every)
    return value
