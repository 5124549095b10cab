"""SIGUSR1 and SIGTERM: the wish that this rank ends after its step. Standard library only."""

import signal
from types import FrameType


class StopRequest:
    """Whether this rank was asked; `launcher.workers.training_loop` tells all ranks of it."""

    def __init__(self, heeded: bool) -> None:
        """Listen from now on; a run without checkpoints takes no notice of SIGUSR1.

        SIGTERM comes from batch systems that do not send the signal they were asked to. What
        started this rank may have blocked SIGUSR1, so that it is neither lost, nor this rank's
        end, before there is anyone to listen.
        """
        self.asked = False
        signal.signal(signal.SIGUSR1, self._ask if heeded else signal.SIG_IGN)
        signal.siginterrupt(signal.SIGUSR1, False)
        if heeded:
            signal.signal(signal.SIGTERM, self._ask)
            signal.siginterrupt(signal.SIGTERM, False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
