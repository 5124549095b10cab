"""The step of a job that trains: srun with one task a rank, and a container around it if asked."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job
from launcher.schedulers.options import SchedulerOptions
from slurm.submission import Submission, folder_of

GRACE = 10.0
"""Seconds srun has to end its tasks before it is killed itself; SLURM ends them with the job."""

START_SECONDS = 300.0
"""More that the first sign of life may take: all nodes import at once."""

IMPORT_SECONDS = 1800.0
"""More that it may take in a container: the image is fetched and unpacked on first use."""

NO_RUNTIME = {
    "pyxis": re.compile(r"^.*unrecognized option .*--container-image.*$", re.MULTILINE),
    "apptainer": re.compile(r"^.*execve\(\): apptainer: No such file.*$", re.MULTILINE),
}
"""Messages of srun where a node lacks the runtime of the container."""

PORTS = range(20000, 30000)
"""Below what Linux gives to programs that ask for any port (32768 on)."""

STRIDE = 1009
"""From a port that is taken to the next that is tried: not to that of the job submitted after this
one, which may start at the same moment."""


class Step:
    """Runs from the start of the context to its end, whatever ends it."""

    def __init__(self, submission: Submission, job: Job, folder: RunFolder, status: Status) -> None:
        self.job, self.folder, self.attempt = job, folder, status.attempt
        self.options = submission.options
        self.words = command(submission, job, folder)
        self.patience = IMPORT_SECONDS if submission.options.container else START_SECONDS
        self.environment = environment(submission, job, status)
        self.beats: dict[int, tuple[float, float]] = {}
        """Rank -> its last sign of life, and the time at which this process first saw it."""

    def __enter__(self) -> Self:
        begins = time.monotonic() + self.patience
        self.beats = {rank: (0.0, begins) for rank in range(self.job.ranks)}
        with self.printed.open("wb") as log:
            self.process = subprocess.Popen(
                self.words,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + GRACE
        if not self.ended():
            self.signal(signal.SIGUSR2)
        while not self.ended() and time.monotonic() < deadline:
            time.sleep(0.1)
        if not self.ended():
            self.process.kill()
        self.process.wait()

    @property
    def printed(self) -> Path:
        """File of srun's own output."""
        return self.folder.srun_log

    def missing_runtime(self) -> str | None:
        """Cause for which the container did not start; None where it did, or there is none."""
        return missing_runtime(self.options, self.printed.read_text(errors="replace"))

    def ended(self) -> bool:
        """Return True once srun is gone."""
        return self.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every task; srun passes it on."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def codes(self) -> tuple[int | None, ...]:
        """Exit codes of the ranks that have ended by themselves; None of the others."""
        return self.folder.exit_codes(self.attempt, self.job.ranks)

    def listens(self) -> bool:
        """Return True once every rank handles signals; before, one would end it."""
        beats = self.folder.beats().values()
        return sum(beat.attempt == self.attempt for beat in beats) == self.job.ranks

    def silent(self, seconds: float) -> int | None:
        """Return a rank without a sign of life for so many seconds, by this node's clock."""
        now = time.monotonic()
        for rank, beat in self.folder.beats().items():
            if beat.attempt == self.attempt and self.beats.get(rank, (0.0,))[0] != beat.time:
                self.beats[rank] = (beat.time, now)
        codes = self.codes()
        overdue = [rank for rank, (_, seen_at) in self.beats.items() if now - seen_at > seconds]
        return next((rank for rank in overdue if rank < len(codes) and codes[rank] is None), None)


def command(submission: Submission, job: Job, folder: RunFolder) -> list[str]:
    """Return the whole command of the step, as an argument list."""
    agent = ["-m", "slurm.node.rank", "--folder", str(folder.path)]
    agent += ["--checkpoints"] if job.checkpoint_bytes else []
    python = [job.command[0], "-P", *agent, "--", *job.command]
    return [*srun(submission, job, job.ranks_per_node), *in_container(submission, job, python)]


def srun(submission: Submission, job: Job, tasks_per_node: int) -> list[str]:
    """Return the srun for so many tasks on each node of the job, without their command."""
    options = submission.options
    words = ["srun", f"--nodes={job.nodes}", f"--ntasks={job.nodes * tasks_per_node}"]
    words += [f"--ntasks-per-node={tasks_per_node}", "--distribution=block:block"]
    words += ["--kill-on-bad-exit=0"]
    words += ["--mpi=none", "--unbuffered", "--input=none", "--export=ALL", "--wait=0"]
    if options.cpus_per_task:  # since SLURM 22.05 srun does not take it from sbatch
        words += [f"--cpus-per-task={options.cpus_per_task}"]
    if job.cards_per_node:  # every task sees all of its node; its local rank is its card
        words += ["--gpu-bind=none"]
    if options.container and options.container.runtime == "pyxis":
        mounts = ",".join(f"{folder}:{folder}" for folder in _mounted(submission, job))
        words += [f"--container-image={options.container.image}"]
        words += [f"--container-mounts={','.join([mounts, *options.container.mounts])}"]
        words += options.container.arguments
    return [*words, *options.srun]


def in_container(submission: Submission, job: Job, words: list[str]) -> list[str]:
    """Wrap a command of the ranks in the container, as far as srun does not start that itself."""
    container = submission.options.container
    if container is None:
        return words
    path = user_environment(submission).get("PYTHONPATH", ":".join(submission.path))
    words = ["env", f"PYTHONPATH={path}", *words]  # an image may have one of its own
    if container.runtime == "pyxis":
        return words
    binds = [f"{folder}:{folder}" for folder in _mounted(submission, job)]
    mounts = [word for bind in [*binds, *container.mounts] for word in ("--bind", bind)]
    cards = ["--nv"] if job.cards_per_node else []
    return ["apptainer", "exec", *cards, *mounts, *container.arguments, container.image, *words]


def _mounted(submission: Submission, job: Job) -> list[str]:
    """Folders to mount in the container at the paths that they have outside."""
    check_folder = folder_of(job.folder, submission.token)  # the node check reads and writes there
    folders = [*submission.path, str(job.folder), str(check_folder), *submission.writes_to]
    return list(dict.fromkeys(folders))


def missing_runtime(options: SchedulerOptions, srun_output: str) -> str | None:
    """Return a line where srun's output shows that the container's runtime is not installed."""
    container = options.container
    match = container and NO_RUNTIME[container.runtime].search(srun_output)
    if not container or not match:
        return None
    return f"scheduler.container.runtime={container.runtime} is not there: {match[0]}"


def environment(submission: Submission, job: Job, status: Status) -> Mapping[str, str]:
    """Return the variables that all ranks share: their meeting point, and their attempt."""
    checks, several_ranks = submission.options.checks, job.ranks > 1
    allreduce = f"{checks.allreduce_size(job.cards_per_node)}:{checks.allreduce_seconds}"
    return {
        **user_environment(submission),
        "MASTER_ADDR": status.nodes[0],
        "MASTER_PORT": str(port(int(os.environ["SLURM_JOB_ID"]))),
        "MEGALAUNCH_ATTEMPT": str(status.attempt),
        **({"MEGALAUNCH_ALLREDUCE": allreduce} if checks.enabled and several_ranks else {}),
    }


def user_environment(submission: Submission) -> dict[str, str]:
    """Return the user's own variables; a PYTHONPATH among them comes after this project's code."""
    variables = {name: str(value) for name, value in submission.options.environment.items()}
    if "PYTHONPATH" in variables:
        variables["PYTHONPATH"] = ":".join([*submission.path, variables["PYTHONPATH"]])
    return variables


def port(job_id: int) -> int:
    """Return the port at which the ranks of a job meet: that of its number, or else a free one.

    This process runs on the first node of the job, where rank 0 will listen. Jobs that share that
    node start at different ports; what else listens there (SLURM's own daemons) is passed over.
    """
    for number in range(job_id, job_id + len(PORTS) * STRIDE, STRIDE):
        candidate = PORTS[number % len(PORTS)]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", candidate))
            return candidate
    return PORTS[job_id % len(PORTS)]
