"""Stacks by py-spy, of the watchdog's process and of silent peers."""

import os
import subprocess
import sys
from pathlib import Path


def test_py_spy_is_asked_where_it_is(tmp_path: Path) -> None:
    tool = tmp_path / "py-spy"
    tool.write_text('#!/bin/sh\necho "stacks: $*"\n[ "$4" != 8 ] || sleep 60\n')
    tool.chmod(0o755)
    code = (
        "from launcher.workers.process import stacks, watchdog\n"
        "stacks.SECONDS = 1.0\n"
        "watchdog.GRACE_SECONDS = 1.5\n"
        "watchdog.Watchdog(0.05, lambda: [7, 8])\n"
        "import time; time.sleep(60)\n"
    )
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    rank = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=env
    )
    _, log = rank.communicate(timeout=30)
    assert rank.returncode == 1
    assert log.index("HangError") < log.index("stacks: dump --nonblocking --pid")
    assert f"--pid {rank.pid}\nstacks: dump --nonblocking --pid 7\n" in log
    assert "--pid 8\n" not in log, "it had not ended in time"
