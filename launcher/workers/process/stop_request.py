"""SIGUSR1 and SIGTERM: the wish that this rank ends after its step. Standard library only."""

import signal
from types import FrameType


class StopRequest:
    """Flag that this rank was asked; `launcher.workers.training_loop` tells all ranks of it."""

    def __init__(self, heeded: bool) -> None:
        """Listen from now on; ``heeded`` is False for a run without checkpoints.

        SIGTERM comes from batch systems that do not send the signal they were asked to. The
        launcher may have blocked SIGUSR1 in this rank, so that before this it neither gets lost nor
        ends the rank.
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
