"""Signs of life of a rank, and its end when another attempt has taken the folder over."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable

from launcher.decode import encode
from launcher.errors import ReadError, WorkError
from launcher.files import write_json
from launcher.results.run_folder import Beat, RunFolder

LONGEST_SECONDS = 10.0
"""Seconds from one beat to the next, at most."""
PER_HANG = 4
"""Least number of beats in the time after which a rank counts as hung."""
MISSED = 2
"""Number of beats that a rank may miss before it counts as silent."""


class Heartbeat:
    """Writes `Beat` from a thread of its own: a disk that hangs must not stop the watchdog."""

    def __init__(self, folder: RunFolder, hang_after: float) -> None:
        """``hang_after`` is the seconds that one step may take."""
        self._folder, self._rank = folder, int(os.environ["RANK"])
        attempt = os.environ.get("MEGALAUNCH_ATTEMPT")
        self._fenced, self.attempt = attempt is not None, int(attempt or 1)
        self._seconds = min(LONGEST_SECONDS, hang_after / PER_HANG)
        self._host = socket.gethostname()

    def start(self, last_step: Callable[[], int]) -> None:
        """Beat from now on."""
        threading.Thread(target=self._run, args=(last_step,), name="beat", daemon=True).start()

    def silent_peers(self) -> list[int]:
        """Ids of this host's processes whose ranks are silent, for this rank to dump their stacks.

        A rank that beats has a watchdog that works. Of those on a host the first dumps the stacks
        of the silent ones; the others get an empty list.
        """
        silent_since = time.time() - MISSED * self._seconds
        peers = {
            rank: beat
            for rank, beat in sorted(self._folder.beats().items())
            if beat.host == self._host and beat.attempt == self.attempt and rank != self._rank
        }
        alive = [rank for rank, beat in peers.items() if beat.time >= silent_since]
        if alive and min(alive) < self._rank:
            return []
        return [beat.pid for beat in peers.values() if beat.time < silent_since]

    def _run(self, last_step: Callable[[], int]) -> None:
        while True:
            self._write(last_step())
            if self._fenced:
                self._end_if_superseded()
            time.sleep(self._seconds)

    def _write(self, step: int) -> None:
        beat = Beat(
            attempt=self.attempt, step=step, host=self._host, pid=os.getpid(), time=time.time()
        )
        path = self._folder.heartbeat(self._rank)
        try:
            path.parent.mkdir(exist_ok=True)
            write_json(path, encode(beat), durable=False)
        except (OSError, WorkError):
            return  # a full disk is no reason to end, nor to fill the log

    def _end_if_superseded(self) -> None:
        try:
            status = self._folder.status()
        except ReadError:
            return
        if status is not None and status.attempt > self.attempt:
            line = f"attempt {self.attempt} is superseded by attempt {status.attempt}"
            print(line, file=sys.stderr, flush=True)
            os._exit(1)
