"""Stacks of processes that may not be able to show them themselves, by py-spy if installed."""

import ctypes
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable

SECONDS = 4.0
"""Limit for all dumps together: less than `watchdog.GRACE_SECONDS`."""
PR_SET_PTRACER = 0x59616D61
PR_SET_PTRACER_ANY = -1


def permit() -> None:
    """Let the user's other processes trace this one where Yama (Linux) allows only parents to."""
    if shutil.which("py-spy"):
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)


def dump(pids: Iterable[int]) -> None:
    """Print the stacks to the log; nothing where there is no py-spy, or it is not permitted."""
    py_spy = shutil.which("py-spy")
    if py_spy is None:
        return
    deadline = time.monotonic() + SECONDS
    try:
        started = [_start(py_spy, pid) for pid in pids]
    except OSError:  # nothing may keep the watchdog from what it does next
        return
    for process in started:
        try:
            stacks, _ = process.communicate(timeout=max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
        else:
            print(stacks, end="", file=sys.stderr, flush=True)


def _start(py_spy: str, pid: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [py_spy, "dump", "--nonblocking", "--pid", str(pid)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
    )
