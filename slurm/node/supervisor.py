"""The batch step of a job: check the nodes, start the ranks, watch them, write the last status.

``python -P -m slurm.node.supervisor`` in a submission's folder, on the first node of the job.
Standard library only, and outside of any container. It may be killed at any moment: its state is
in the run's folder, and the next incarnation of the job, or the launcher, goes on from there.
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
"""Seconds for the other ranks to print their errors after the first one failed."""

SILENCE = 30.0
"""Seconds beyond hang_after without a sign of life from a rank before it is ended from here; its
own watchdog comes first."""

LAST_MOMENT = 60.0
"""Seconds for SLURM to end this process, once it is known that it will."""

CONTINUES = os.EX_TEMPFAIL
"""Exit code of ranks that stopped as they were asked, with a checkpoint made."""


class Supervisor:
    """One incarnation of one job."""

    def __init__(self, submission: Submission, job: Job, folder: Path) -> None:
        self.submission, self.job, self.submission_folder = submission, job, folder
        self.folder = RunFolder(job.folder)
        self.job_id = os.environ["SLURM_JOB_ID"]
        self.limit_is_near = False
        """SLURM sent the signal that comes before the time limit, or it is time for it."""
        self.terminated = False
        """SLURM is ending the job, for whatever reason."""

    def run(self) -> None:
        """Run the job, from the claim to the last status. Raises LaunchError."""
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._signal)
        status = self._claim()
        if status is None:
            return
        saved = self.folder.newest_checkpoint()
        inspection = inspect(self.submission, self.job, self.submission_folder, status.nodes)
        if self.terminated:  # SLURM's signal also ended the check
            self._ended_by_slurm(status, progress=False)
            return
        if inspection.stopped:
            status = replace(
                status,
                stopped=inspection.stopped,
                reason=inspection.reason,
                bad_nodes=inspection.bad_nodes,
            )
            self._end(status)
            return
        with Step(self.submission, self.job, self.folder, status) as step:
            stopped, reason = self._watch(step, status)
        codes = self.folder.exit_codes(status.attempt, self.job.ranks)
        status = replace(status, exit_codes=codes, stopped=stopped, reason=reason)
        by_themselves = set(codes) - {None, 0, CONTINUES} or set(codes) == {0}
        if self.folder.result() or stopped or (by_themselves and not self.terminated):
            self._end(status)
        else:
            self._ended_by_slurm(status, self.folder.newest_checkpoint() != saved)

    def _signal(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self.limit_is_near = True
        else:
            self.terminated = True

    def _claim(self) -> Status | None:
        """Claim the run, and return its status; None where another job has it, or it is over."""
        status, name = self.folder.status(), _own_name()
        if (
            status is None
            or status.submission != self.submission.token
            or status.state == "ended"
            or (status.state == "running" and status.job_id != name)
        ):
            print("this job is not the one that is to run this; nothing is started", flush=True)
            return None
        restarted = status.state == "running" or status.stopped is not None
        attempt = self._next_attempt(status) if restarted else status.attempt
        nodes = states.hostnames(os.environ["SLURM_JOB_NODELIST"])
        claimed = Status(
            state="running",
            attempt=attempt,
            submission=self.submission.token,
            job_id=name,
            nodes=nodes or (socket.gethostname(),),
            host=socket.gethostname(),
            started=time.time(),
            time_limit=self.job.time_limit,
            commit=self.job.commit,
            code=self.submission.code,
        )
        self.folder.write_status(claimed)
        if attempt > 1:
            fence.await_earlier_ranks(self.folder, attempt, self.submission.hang_after)
        return claimed

    def _next_attempt(self, status: Status) -> int:
        """Close the incarnation before this one: SLURM put the job back into its queue."""
        if status.stopped is None:
            status = replace(status, stopped="preempted", reason="SLURM put it back into the queue")
        self.folder.write_status(replace(status, state="ended", ended=status.ended or time.time()))
        return self.folder.next_attempt()

    def _watch(self, step: Step, status: Status) -> tuple[Stopped | None, str | None]:
        """Wait for the end of the step, and return why it had to be stopped, if so."""
        deadline, signalled = self._limit(status), False
        failed_at, looked_at = None, 0.0
        while not step.ended():
            time.sleep(POLL)
            now = time.time()
            if now - looked_at < LOOK:
                continue
            looked_at = now
            if now > deadline - self.submission.options.signal_before:
                self.limit_is_near = True
            may_signal = self.job.checkpoint_bytes and not signalled
            if may_signal and self.limit_is_near and step.listens():
                signalled = True
                step.signal(signal.SIGUSR1)
            if now > deadline:
                return "timeout", None
            if (rank := step.silent(self.submission.hang_after + SILENCE)) is not None:
                return "hang", f"rank {rank} gave no sign of life"
            if failed_at is None and set(step.codes()) - {None, 0, CONTINUES}:
                failed_at = now
            if (failed_at is not None and now - failed_at > GRACE) or not self._is_mine(status):
                break
        reason = step.missing_runtime()
        return ("failed" if reason else None), reason

    def _limit(self, status: Status) -> float:
        """Time at which this ends the step: before SLURM does, which would leave no status."""
        assert status.started is not None
        end = status.started + self.job.time_limit
        slurm_end = os.environ.get("SLURM_JOB_END_TIME")  # since SLURM 23.02
        return min(end, float(slurm_end) - GRACE) if slurm_end else end

    def _ended_by_slurm(self, status: Status, progress: bool) -> None:
        """Write the status of ranks that were ended from outside, or stopped as they were asked.

        A SLURM that is ending the job does not say yet whether it cancels or requeues it: the
        launcher will hear of the one, the next incarnation is the other.
        """
        state = states.control(self.job_id)
        if state is None or state.name != "RUNNING":
            time.sleep(LAST_MOMENT)
            return
        preempted = self.terminated or state.preempted
        if CONTINUES not in status.exit_codes and not preempted:
            self._end(status)
        elif preempted or not self.limit_is_near:
            self._requeue(status, "preempted", "SLURM gave its nodes to another job")
        elif progress:
            self._requeue(status, "timeout", "made a checkpoint before the time limit")
        else:  # without a new checkpoint each incarnation would do the same steps again
            self._end(replace(status, stopped="timeout"))

    def _requeue(self, status: Status, stopped: Stopped, reason: str) -> None:
        """Put the job back into the queue under its number; end it where SLURM refuses."""
        if not self._is_mine(status):
            return
        queued = replace(status, state="queued", stopped=stopped, reason=reason, ended=time.time())
        self.folder.write_status(queued)
        if states.requeue(self.job_id):
            time.sleep(LAST_MOMENT)  # ending by itself would make the job COMPLETED for SLURM
        else:
            self.folder.write_status(replace(queued, state="ended"))

    def _end(self, status: Status) -> None:
        if self._is_mine(status):
            self.folder.write_status(replace(status, state="ended", ended=time.time()))

    def _is_mine(self, status: Status) -> bool:
        """Return True unless this attempt has been closed, or another one begun."""
        written = self.folder.readable_status()
        if written is None:  # a file system that is away for a moment
            return True
        claimed = (status.submission, status.attempt, "running")
        return (written.submission, written.attempt, written.state) == claimed


def _own_name() -> str:
    """Return this job's name in squeue: ``17``, or ``17_3`` in an array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def main() -> int:
    """Run the job of this batch step; return 1 where its folder could not be written."""
    folder = Path.cwd()
    try:
        submitted = submission.read(folder)
        job = submitted.jobs[int(os.environ.get("SLURM_ARRAY_TASK_ID", 0))]
        Supervisor(submitted, job, folder).run()
    except LaunchError as error:
        print(f"supervisor: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
