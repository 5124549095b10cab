"""Stacks by py-spy, of the watchdog's process and of silent peers."""

import os
import subprocess
import sys
from pathlib import Path

from tests import limits


def test_py_spy_is_asked_where_it_is(tmp_path: Path) -> None:
    tool = tmp_path / "py-spy"
    tool.write_text(f'#!/bin/sh\necho "stacks: $*"\n[ "$4" != 8 ] || sleep {limits.ALWAYS}\n')
    tool.chmod(0o755)
    code = (
        "from launcher.workers.process import stacks, watchdog\n"
        "stacks.SECONDS = 3.0\n"
        "watchdog.GRACE_SECONDS = 3.5\n"
        "watchdog.Watchdog(0.05, lambda: [7, 8])\n"
        f"import time; time.sleep({limits.ALWAYS})\n"
    )
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    rank = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=env
    )
    _, log = rank.communicate(timeout=limits.COMMAND)
    assert rank.returncode == 1
    assert log.index("HangError") < log.index("stacks: dump --nonblocking --pid")
    assert f"--pid {rank.pid}\nstacks: dump --nonblocking --pid 7\n" in log
    assert "--pid 8\n" not in log, "it had not ended in time"
