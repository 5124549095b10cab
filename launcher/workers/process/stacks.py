"""The stacks of processes that may not be able to show them themselves, by py-spy where it is."""

import ctypes
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable

SECONDS = 4.0
"""For all of them together: less than `watchdog.GRACE_SECONDS`."""
PR_SET_PTRACER = 0x59616D61
PR_SET_PTRACER_ANY = -1


def permit() -> None:
    """Let the user's other processes read this one where Yama allows that to parents alone."""
    if shutil.which("py-spy"):
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)


def dump(pids: Iterable[int]) -> None:
    """Print them to the log; nothing where there is no py-spy, or it may not."""
    tool = shutil.which("py-spy")
    if tool is None:
        return
    deadline = time.monotonic() + SECONDS
    try:
        started = [_start(tool, pid) for pid in pids]
    except OSError:  # nothing may keep the watchdog from what it does next
        return
    for process in started:
        try:
            out, _ = process.communicate(timeout=max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
        else:
            print(out, end="", file=sys.stderr, flush=True)


def _start(tool: str, pid: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [tool, "dump", "--nonblocking", "--pid", str(pid)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
    )
