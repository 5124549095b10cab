"""Ranks that start in a moment: forks of a process that has imported their libraries.

The other side, with the messages between the two, is `launcher.workers.fork_server`.
"""

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

READY_SECONDS = 180.0
"""Seconds that the import of the libraries may take, on a loaded machine or a slow file system."""
FORK_SECONDS = 30.0
"""Seconds that one fork may take."""


class ForkError(Exception):
    """The server cannot fork ranks: they have to be started by themselves."""


class ForkedRank:
    """A rank, as far as its launcher deals with it like with a `subprocess.Popen`."""

    def __init__(self, server: "ForkServer", pid: int) -> None:
        self._server, self.pid = server, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, minus the signal that ended it; None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.exit_code(self.pid)
        return self.returncode


class ForkServer:
    """The server's process, and the messages from and to it."""

    def __init__(self, command: Sequence[str], first: Sequence[str]) -> None:
        """Start it, and do not wait until it is ready. Raises ForkError.

        Args:
            command: the server's.
            first: of the first rank that it will be asked for.
        """
        self._channel, theirs = socket.socketpair()
        words = [*command, "--socket", str(theirs.fileno()), "--first", *first]
        with theirs:
            try:
                self._process = subprocess.Popen(
                    words,
                    env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # each rank says itself what cannot be imported
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except OSError as error:
                self._channel.close()
                raise ForkError(str(error)) from error
        self._deadline = time.monotonic() + READY_SECONDS
        self._partial = b""
        self._pids: list[int] = []
        self._codes: dict[int, int] = {}
        self._refused: str | None = None
        self._ready = self._closed = False

    def is_ready(self) -> bool:
        """Return True once it can fork. Raises ForkError where it cannot, or takes too long."""
        if not self._ready:
            self._read(0)
            self._check(self._deadline)
        return self._ready

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> ForkedRank:
        """Start a rank that does what a command does, and prints to a file. Raises ForkError."""
        request = {"command": [*command], "environment": {**environment}, "log": str(log)}
        try:
            self._channel.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise ForkError(str(error)) from error
        deadline = time.monotonic() + FORK_SECONDS
        while not self._pids:
            self._read(FORK_SECONDS)
            self._check(deadline)
        return ForkedRank(self, self._pids.pop())

    def exit_code(self, pid: int) -> int | None:
        """Return the exit code of a rank; None while it runs.

        Ranks end by themselves when somebody kills the server, and nobody learns their codes.
        """
        self._read(0)
        if pid not in self._codes and self._closed and not psutil.pid_exists(pid):
            self._codes[pid] = -signal.SIGKILL
        return self._codes.get(pid)

    def close(self) -> None:
        """End the server; it has no ranks any more."""
        self._closed = True
        self._channel.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
            return
        self._process.kill()
        self._process.wait()

    def _check(self, deadline: float) -> None:
        """Raise ForkError where nothing is to be expected of it; it has been ended then."""
        late = time.monotonic() > deadline
        if self._refused or self._closed or late:
            self.close()
            raise ForkError(self._refused or ("it hangs" if late else "it has ended"))

    def _read(self, seconds: float) -> None:
        """Take in what it has said, or says within so many seconds."""
        if self._closed or not select.select([self._channel], [], [], seconds)[0]:
            return
        try:
            received = self._channel.recv(1 << 16)
        except OSError:
            received = b""
        self._closed = not received
        *lines, self._partial = (self._partial + received).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: Mapping[str, Any]) -> None:
        if "code" in message:
            self._codes[message["pid"]] = message["code"]
        elif "pid" in message:
            self._pids.append(message["pid"])
            self._codes.pop(message["pid"], None)  # of an earlier rank: pids are used again
        else:
            self._ready, self._refused = "ready" in message, message.get("refused")
