"""SIGUSR1: the wish that this rank ends after the step it is in. Standard library only."""

import signal
from types import FrameType


class StopRequest:
    """Whether this rank was asked; what all ranks make of it goes through `Meter.record`."""

    def __init__(self, heeded: bool) -> None:
        """Listen from now on; a run without checkpoints takes no notice.

        What started this rank may have blocked the signal, so that it is not lost, and not this
        rank's end either, before there is anyone to listen.
        """
        self.asked = False
        signal.signal(signal.SIGUSR1, self._ask if heeded else signal.SIG_IGN)
        signal.siginterrupt(signal.SIGUSR1, False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
