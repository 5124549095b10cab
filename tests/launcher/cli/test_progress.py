"""View of a sweep on a terminal while it runs.

Modules: launcher.cli.starting.
"""

import os
import pty
import re
import subprocess
from pathlib import Path

from tests import limits
from tests.conftest import command, environment


def test_a_terminal_shows_the_step_the_loss_and_the_speed(tmp_path: Path, cache: Path) -> None:
    ours, theirs = pty.openpty()
    words = ["-m", "layout.zero=0,1", "sweep.goal=loss_last", f"output={tmp_path}", "train.steps=8"]
    launcher = subprocess.Popen(
        command(words),
        env={**environment(cache), "TERM": "xterm", "COLUMNS": "150"},
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    screen = ""
    while chunk := _read(ours):
        screen += chunk
    os.close(ours)
    assert launcher.wait(limits.COMMAND) == 0
    assert re.search(r"zero [01]  step \d/8  loss \d\.\d{3}  [\d,]+ tokens/s", screen)
    assert re.search(r"1/2  1 ok,\s+ETA \d+:\d\d", screen)
    assert re.search(r"\[2/2\] ok        zero 1  loss_last \d\.\d{4}  [\d,]+ tokens/s", screen)


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # Linux: the other end is closed
        return ""
