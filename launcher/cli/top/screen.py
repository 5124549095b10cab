"""Terminal filled by a picture; it is left as it was before, whatever happens."""

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from launcher.campaign.interrupt import Interrupt, deferred

QUIT = set(b"qQ")
DISABLED_KEYS = (termios.VSUSP, termios.VQUIT)
"""Keys that would stop or end this process with the terminal as it is now."""


class Screen:
    """A full screen that shows pictures and reads keys meanwhile."""

    def __init__(self, live: Live, interrupt: Interrupt, inputs: Sequence[int]) -> None:
        """``inputs`` are files: the first is written to at each signal, the other has the keys."""
        self._live, self._interrupt, self._inputs = live, interrupt, inputs

    @property
    def size(self) -> tuple[int, int]:
        """Cells of a line, and lines."""
        size = self._live.console.size
        return size.width, size.height

    def show(self, lines: Sequence[Text]) -> None:
        """Put a picture in the place of the last one."""
        self._live.update(Group(*lines), refresh=True)

    def quits(self, seconds: float) -> bool:
        """Wait so long, or until the terminal is resized. Return True where it is time to quit."""
        deadline = time.monotonic() + seconds
        while not self._interrupt.requested:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            ready, _, _ = select.select(self._inputs, [], [], remaining)
            for file in ready:
                typed = _read(file)
                if file == self._inputs[0]:
                    return self._interrupt.requested
                if not typed or QUIT & set(typed):  # nothing: the terminal is gone
                    return True
        return True


def _read(file: int) -> bytes:
    with suppress(OSError):
        return os.read(file, 512)
    return b""


@contextmanager
def full_screen(console: Console) -> Iterator[Screen]:
    """Take the whole terminal; inside, signals only end the wait for a key."""
    with (
        deferred() as interrupt,
        _signals() as signals,
        _keys() as keys,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        yield Screen(live, interrupt, [signals, *keys])


@contextmanager
def _signals() -> Iterator[int]:
    """A file that has something to read after each signal that is heard."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    woken = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    resized = signal.signal(signal.SIGWINCH, lambda *_: None)
    try:
        yield reads
    finally:
        signal.signal(signal.SIGWINCH, resized)
        signal.set_wakeup_fd(woken)
        os.close(reads)
        os.close(writes)


@contextmanager
def _keys() -> Iterator[list[int]]:
    """The file of the keys, each of them there as soon as it is typed; none without a terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield []
        return
    file = sys.stdin.fileno()
    settings = termios.tcgetattr(file)
    try:
        tty.setcbreak(file, termios.TCSANOW)
        changed = termios.tcgetattr(file)
        for key in DISABLED_KEYS:
            changed[6][key] = b"\0"
        termios.tcsetattr(file, termios.TCSANOW, changed)
        yield [file]
    finally:
        with suppress(termios.error):  # it may be gone
            termios.tcsetattr(file, termios.TCSANOW, settings)
            termios.tcflush(file, termios.TCIFLUSH)  # keys that were meant for this process
