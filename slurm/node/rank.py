"""One task of the step: start one rank, pass signals on, write its log and its exit code.

``python -P -m slurm.node.rank --folder RUN -- COMMAND...`` under srun. Standard library only: it
runs wherever the ranks run, also in a container. srun alone would not do: it neither says which
rank died of what, nor spares a rank that is writing a checkpoint.

SIGUSR1  make a checkpoint and end: passed on
SIGTERM  from SLURM, which ends the job: the same where there are checkpoints, else end now
SIGUSR2  end now
"""

import argparse
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from launcher.errors import WorkError
from launcher.files import write_json
from launcher.results.run_folder import RunFolder
from launcher.schedulers import threads

GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL."""

SIGNAL_DELAY = 0.5
"""Seconds for a signal that ended the rank to reach this agent too."""

BY_SLURM = (-signal.SIGTERM, -signal.SIGUSR2)
"""Ends of a rank by a signal that SLURM sends to all processes of a task."""

PR_SET_PDEATHSIG = 1


class Agent:
    """Watches over one rank."""

    def __init__(self, folder: RunFolder, command: Sequence[str], checkpoints: bool) -> None:
        self.folder, self.command, self.checkpoints = folder, command, checkpoints
        self.rank = int(os.environ["SLURM_PROCID"])
        self.ended = False
        """True once this agent ends the rank: its exit code is then not the rank's own."""
        self.process: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Start the rank, wait for its end, and return its exit code."""
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signal)
        with self.folder.log(self.rank).open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                env={**os.environ, **_environment(self.rank)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_prepare,
            )
        code = self._wait()
        if code in BY_SLURM:  # SLURM signals this agent too, perhaps a moment later
            time.sleep(SIGNAL_DELAY)
        self._write_exit_code(None if self.ended else code)
        return code if code >= 0 else 128 - code

    def _wait(self) -> int:
        """Wait for the rank, and end it once `ended` is set.

        In turns, and again each time: a signal handled within Popen had no process to end yet.
        """
        assert self.process
        ending_since: float | None = None
        while True:
            try:
                return self.process.wait(0.2)
            except subprocess.TimeoutExpired:
                pass
            if self.ended:
                now = time.monotonic()
                ending_since = ending_since or now
                overdue = now - ending_since > GRACE
                self._send(signal.SIGKILL if overdue else signal.SIGTERM)

    def _signal(self, number: int, _: FrameType | None) -> None:
        if number in (signal.SIGUSR1, signal.SIGTERM) and self.checkpoints:
            self._send(signal.SIGUSR1)
        elif number != signal.SIGUSR1:
            self.ended = True

    def _send(self, number: signal.Signals) -> None:
        if self.process and self.process.poll() is None:
            try:
                if number == signal.SIGUSR1:
                    self.process.send_signal(number)
                else:
                    os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return

    def _write_exit_code(self, code: int | None) -> None:
        """Write the exit code for the supervisor, which does without it where the disk is full."""
        path = self.folder.exit_code(int(os.environ["MEGALAUNCH_ATTEMPT"]), self.rank)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, code)
        except (OSError, WorkError):
            return


def _environment(rank: int) -> dict[str, str]:
    """Return the variables that ``env://`` and the workers need; MASTER_* are the supervisor's."""
    cores = threads.cores_of_task(os.environ, len(os.sched_getaffinity(0)))
    return {
        "RANK": str(rank),
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "WORLD_SIZE": os.environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_WORLD_SIZE": os.environ["SLURM_STEP_TASKS_PER_NODE"].split("(")[0],
        "MEGALAUNCH_PARENT": str(os.getpid()),
        "PYTHONUNBUFFERED": "1",
        **threads.of_rank(os.environ, cores),
    }


def _prepare() -> None:
    """Have the kernel end the rank with this agent, also a rank that is stopped.

    SIGUSR1 waits until the rank listens: it must neither end it nor be lost.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})


def main() -> int:
    """Run the agent with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m slurm.node.rank")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--checkpoints", action="store_true")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    return Agent(RunFolder(options.folder), options.command, options.checkpoints).run()


if __name__ == "__main__":
    raise SystemExit(main())
