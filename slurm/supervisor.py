"""The batch step of a job: check the nodes, start the ranks, watch them, write what became of it.

``python -P -m slurm.supervisor`` in a submission's folder, on the first node of the job. Standard
library only, and outside of any container. It may be killed at any moment: what it knew is in
the run's folder, and the next incarnation of the job, or the launcher, goes on from there.
"""

import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

from launcher.errors import LaunchError, ReadError
from launcher.folder import RunFolder, Status, Stopped
from slurm import states, submission
from slurm.inspection import inspect
from slurm.step import Step
from slurm.submission import Submission, Task

POLL = 0.2
"""Seconds between two looks at the step."""

GRACE = 5.0
"""Seconds the other ranks have to print what they know after the first one failed."""

SILENCE = 30.0
"""Seconds beyond hang_after without a sign of life from a rank before it is ended from here; its
own watchdog comes first."""

LAST_MOMENT = 60.0
"""Seconds for SLURM to end this process, once it is known that it will."""

CONTINUES = os.EX_TEMPFAIL
"""Exit code of ranks that stopped as they were asked, with a checkpoint made."""


class Supervisor:
    """One incarnation of one job."""

    def __init__(self, sub: Submission, task: Task, folder: Path) -> None:
        self.submission, self.task, self.place = sub, task, folder
        self.folder = RunFolder(Path(task.folder))
        self.job_id = os.environ["SLURM_JOB_ID"]
        self.asked = False
        """SLURM sent the signal that comes before the time limit."""
        self.terminated = False

    def run(self) -> None:
        """Everything, from the claim to the last status. Raises LaunchError."""
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._signal)
        status = self._claim()
        if status is None:
            return
        found = inspect(self.submission, self.task, self.place, status.nodes)
        if found.stopped:
            self._end(replace(status, stopped=found.stopped, reason=found.reason,
                              bad_nodes=found.bad_nodes))  # fmt: skip
            return
        with Step(self.submission, self.task, self.folder, status) as step:
            stopped, reason = self._watch(step, status)
        codes = self.folder.exit_codes(status.attempt, self.task.ranks)
        status = replace(status, exit_codes=codes, stopped=stopped, reason=reason)
        if (
            stopped
            or self.folder.result()
            or set(codes) - {None, 0, CONTINUES}
            or set(codes) == {0}
        ):
            self._end(status)
        else:
            self._ended_by_slurm(status)

    def _signal(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self.asked = True
        else:
            self.terminated = True

    def _claim(self) -> Status | None:
        """Take the run over; None where another submission has it, or it is over."""
        status = self.folder.status()
        if status is None or status.submission != self.submission.token or status.state == "ended":
            print("this job is not the one that is to run this; nothing is started", flush=True)
            return None
        again = status.state == "running" or status.stopped is not None
        attempt = self._next_attempt(status) if again else status.attempt
        nodes = states.hostnames(os.environ["SLURM_JOB_NODELIST"])
        mine = Status(
            state="running",
            attempt=attempt,
            submission=self.submission.token,
            job_id=_own_name(),
            nodes=nodes or (socket.gethostname(),),
            host=socket.gethostname(),
            started=time.time(),
            time_limit=self.task.time_limit,
            commit=self.task.commit,
            code=self.submission.code,
        )
        self.folder.write_status(mine)
        if attempt > 1:
            self._outlast(attempt)
        return mine

    def _next_attempt(self, status: Status) -> int:
        """Close the incarnation before this one: SLURM put the job back into its queue."""
        if status.stopped is None:
            status = replace(status, stopped="preempted", reason="SLURM put it back into the queue")
        self.folder.write_status(replace(status, state="ended", ended=status.ended or time.time()))
        return self.folder.next_attempt()

    def _outlast(self, attempt: int) -> None:
        """Wait until no rank of an earlier attempt shows a sign of life any more.

        A node that SLURM lost sight of may still be at work. Its ranks read in the status that
        another attempt has the run, and end; the steps they did meanwhile are of their attempt.
        """
        between = min(10.0, self.submission.hang_after / 4)
        before = self._beats(attempt)
        if not any(time.time() - at < 3 * between for at in before.values()):
            return
        last = time.monotonic()
        while time.monotonic() - last < 1.5 * between:
            time.sleep(POLL)
            if (now := self._beats(attempt)) != before:
                before, last = now, time.monotonic()
        (self.folder.path / "result.json").unlink(missing_ok=True)
        if self.folder.metrics.exists():
            aside = RunFolder(self.folder.attempts()[0]).metrics
            with aside.open("ab") as file:
                file.write(self.folder.metrics.read_bytes())
            self.folder.metrics.unlink()

    def _beats(self, attempt: int) -> dict[int, float]:
        """The last signs of life of earlier attempts' ranks that did not end by themselves."""
        ended = {n: self.folder.exit_codes(n, self.task.ranks) for n in range(1, attempt)}
        return {
            rank: beat.time
            for rank, beat in self.folder.beats().items()
            if beat.attempt < attempt and ended[beat.attempt][rank] is None
        }

    def _watch(self, step: Step, status: Status) -> tuple[Stopped | None, str | None]:
        """Wait for the end of the step, and end it where it does not end by itself."""
        assert status.started is not None
        limit, asked = status.started + self.task.time_limit, False
        failed_at: float | None = None
        while not step.ended():
            now = time.time()
            early = now > limit - self.submission.options.signal_before
            if self.task.checkpoint_bytes and not asked and (self.asked or early):
                asked = self.asked = True
                step.signal(signal.SIGUSR1)
            if now > limit:
                return "timeout", None
            if (rank := step.silent(self.submission.hang_after + SILENCE)) is not None:
                return "hang", f"rank {rank} gave no sign of life"
            if failed_at is None and any(c not in (None, 0, CONTINUES) for c in step.codes()):
                failed_at = now
            if failed_at is not None and now - failed_at > GRACE:
                return None, None
            time.sleep(POLL)
        return None, None

    def _ended_by_slurm(self, status: Status) -> None:
        """What it means that the ranks were ended from outside, or went as they were asked."""
        state = states.control(self.job_id)
        if state is not None and state.name == "COMPLETING":
            # SLURM is ending the job, and does not say yet whether it cancels or requeues it.
            # The launcher will hear of the one, the next incarnation is the other.
            time.sleep(LAST_MOMENT)
        continues = CONTINUES in status.exit_codes
        preempted = self.terminated or (state is not None and state.preempted)
        if continues and self.asked and not preempted:
            if self._last_step(self.folder) > self._before():
                self._requeue(status, "timeout", "made a checkpoint before the time limit")
            else:  # it would go round for ever
                self._end(replace(status, stopped="timeout"))
        elif continues or preempted:
            self._requeue(status, "preempted", "SLURM gave its nodes to another job")
        else:
            self._end(status)

    def _before(self) -> int:
        """The last step of the attempts before this one."""
        return max((self._last_step(RunFolder(path)) for path in self.folder.attempts()), default=0)

    def _last_step(self, folder: RunFolder) -> int:
        """The last step of an attempt; 0 where there is none that can be read."""
        try:
            return max((int(line["step"]) for line in folder.steps()), default=0)
        except ReadError:
            return 0

    def _requeue(self, status: Status, stopped: Stopped, reason: str) -> None:
        """Back into the queue under the same number; ended where SLURM does not want to."""
        queued = replace(status, state="queued", stopped=stopped, reason=reason, ended=time.time())
        self.folder.write_status(queued)
        if states.requeue(self.job_id):
            time.sleep(LAST_MOMENT)  # to leave before SLURM ends this would be to be COMPLETED
        self._end(queued)

    def _end(self, status: Status) -> None:
        self.folder.write_status(replace(status, state="ended", ended=time.time()))


def _own_name() -> str:
    """This job as squeue shows it: ``17``, or ``17_3`` in an array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def main() -> int:
    """Run the job that this batch step is; 1 where its folder could not be written."""
    folder = Path.cwd()
    try:
        sub = submission.read(folder)
        task = sub.jobs[int(os.environ.get("SLURM_ARRAY_TASK_ID", 0))]
        Supervisor(sub, task, folder).run()
    except LaunchError as error:
        print(f"supervisor: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
