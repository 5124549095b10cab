"""Ctrl-C and its relatives, told to the loop at a moment when everything is in order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """Whether somebody asked this process to stop."""

    def __init__(self) -> None:
        self.asked = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if somebody did."""
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Inside, the signals only set a flag: no job is half started when they strike."""
    interrupt = Interrupt()

    def ask(*_: object) -> None:
        interrupt.asked = True

    # nohup and a script's background jobs ignore some of them, and mean it.
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
