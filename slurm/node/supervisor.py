"""The batch step of a job: check the nodes, start the ranks, watch them, write what became of it.

``python -P -m slurm.node.supervisor`` in a submission's folder, on the first node of the job.
Standard library only, and outside of any container. It may be killed at any moment: what it knew
is in the run's folder, and the next incarnation of the job, or the launcher, goes on from there.
"""

import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

from launcher.errors import LaunchError
from launcher.results.run_folder import RunFolder, Status, Stopped
from launcher.schedulers import Job
from slurm import states, submission
from slurm.node import fence
from slurm.node.inspection import inspect
from slurm.node.step import Step
from slurm.submission import Submission

POLL = 0.2
"""Seconds between two looks at the step."""

LOOK = 1.0
"""Seconds between two looks at the files of the ranks."""

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

    def __init__(self, sub: Submission, task: Job, folder: Path) -> None:
        self.submission, self.task, self.place = sub, task, folder
        self.folder = RunFolder(task.folder)
        self.job_id = os.environ["SLURM_JOB_ID"]
        self.asked = False
        """SLURM sent the signal that comes before the time limit, or it is time for it."""
        self.terminated = False
        """SLURM is ending the job, for whatever reason."""

    def run(self) -> None:
        """Everything, from the claim to the last status. Raises LaunchError."""
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._signal)
        status = self._claim()
        if status is None:
            return
        saved = self.folder.newest_checkpoint()
        found = inspect(self.submission, self.task, self.place, status.nodes)
        if self.terminated:  # which also ended the check
            self._ended_by_slurm(status, progress=False)
            return
        if found.stopped:
            self._end(replace(status, stopped=found.stopped, reason=found.reason,
                              bad_nodes=found.bad_nodes))  # fmt: skip
            return
        with Step(self.submission, self.task, self.folder, status) as step:
            stopped, reason = self._watch(step, status)
        codes = self.folder.exit_codes(status.attempt, self.task.ranks)
        status = replace(status, exit_codes=codes, stopped=stopped, reason=reason)
        by_themselves = set(codes) - {None, 0, CONTINUES} or set(codes) == {0}
        if self.folder.result() or stopped or (by_themselves and not self.terminated):
            self._end(status)
        else:
            self._ended_by_slurm(status, self.folder.newest_checkpoint() != saved)

    def _signal(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self.asked = True
        else:
            self.terminated = True

    def _claim(self) -> Status | None:
        """Take the run over; None where another job has it, or it is over."""
        status, name = self.folder.status(), _own_name()
        if (
            status is None
            or status.submission != self.submission.token
            or status.state == "ended"
            or (status.state == "running" and status.job_id != name)
        ):
            print("this job is not the one that is to run this; nothing is started", flush=True)
            return None
        again = status.state == "running" or status.stopped is not None
        attempt = self._next_attempt(status) if again else status.attempt
        nodes = states.hostnames(os.environ["SLURM_JOB_NODELIST"])
        mine = Status(
            state="running",
            attempt=attempt,
            submission=self.submission.token,
            job_id=name,
            nodes=nodes or (socket.gethostname(),),
            host=socket.gethostname(),
            started=time.time(),
            time_limit=self.task.time_limit,
            commit=self.task.commit,
            code=self.submission.code,
        )
        self.folder.write_status(mine)
        if attempt > 1:
            fence.outlast(self.folder, attempt, self.submission.hang_after)
        return mine

    def _next_attempt(self, status: Status) -> int:
        """Close the incarnation before this one: SLURM put the job back into its queue."""
        if status.stopped is None:
            status = replace(status, stopped="preempted", reason="SLURM put it back into the queue")
        self.folder.write_status(replace(status, state="ended", ended=status.ended or time.time()))
        return self.folder.next_attempt()

    def _watch(self, step: Step, status: Status) -> tuple[Stopped | None, str | None]:
        """Wait for the end of the step, and end it where it does not end by itself."""
        limit, told = self._limit(status), False
        failed_at, looked = None, 0.0
        while not step.ended():
            time.sleep(POLL)
            now = time.time()
            if now - looked < LOOK:
                continue
            looked = now
            self.asked = self.asked or now > limit - self.submission.options.signal_before
            if self.task.checkpoint_bytes and self.asked and not told and step.listens():
                told = True
                step.signal(signal.SIGUSR1)
            if now > limit:
                return "timeout", None
            if (rank := step.silent(self.submission.hang_after + SILENCE)) is not None:
                return "hang", f"rank {rank} gave no sign of life"
            if failed_at is None and set(step.codes()) - {None, 0, CONTINUES}:
                failed_at = now
            if (failed_at is not None and now - failed_at > GRACE) or not self._is_mine(status):
                break
        reason = step.no_runtime()
        return ("failed" if reason else None), reason

    def _limit(self, status: Status) -> float:
        """When this ends the step: before SLURM does, which would not say what became of it."""
        assert status.started is not None
        end = status.started + self.task.time_limit
        slurms = os.environ.get("SLURM_JOB_END_TIME")  # since SLURM 23.02
        return min(end, float(slurms) - GRACE) if slurms else end

    def _ended_by_slurm(self, status: Status, progress: bool) -> None:
        """The ranks were ended from outside, or went as they were asked.

        Where SLURM is ending the job, it does not say yet whether it cancels or requeues it: the
        launcher will hear of the one, the next incarnation is the other.
        """
        state = states.control(self.job_id)
        if state is None or state.name != "RUNNING":
            time.sleep(LAST_MOMENT)
            return
        preempted = self.terminated or state.preempted
        if CONTINUES not in status.exit_codes and not preempted:
            self._end(status)
        elif preempted or not self.asked:
            self._requeue(status, "preempted", "SLURM gave its nodes to another job")
        elif progress:
            self._requeue(status, "timeout", "made a checkpoint before the time limit")
        else:  # it would go round for ever
            self._end(replace(status, stopped="timeout"))

    def _requeue(self, status: Status, stopped: Stopped, reason: str) -> None:
        """Back into the queue under the same number; ended where SLURM does not want to."""
        if not self._is_mine(status):
            return
        queued = replace(status, state="queued", stopped=stopped, reason=reason, ended=time.time())
        self.folder.write_status(queued)
        if states.requeue(self.job_id):
            time.sleep(LAST_MOMENT)  # to leave before SLURM ends this would be to be COMPLETED
        else:
            self.folder.write_status(replace(queued, state="ended"))

    def _end(self, status: Status) -> None:
        if self._is_mine(status):
            self.folder.write_status(replace(status, state="ended", ended=time.time()))

    def _is_mine(self, status: Status) -> bool:
        """Whether nobody has closed this attempt, or begun another one."""
        now = self.folder.readable_status()
        return now is None or (now.submission, now.attempt, now.state) == (
            status.submission, status.attempt, "running")  # fmt: skip


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
