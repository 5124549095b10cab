"""The step of a job that trains: srun with one task a rank, and a container around it if asked."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job
from launcher.schedulers.options import SchedulerOptions
from slurm.submission import Submission, place

GRACE = 10.0
"""Seconds srun has to end its tasks before it is killed itself; SLURM ends them with the job."""

START_SECONDS = 300.0
"""More that the first sign of life may take: all nodes import at once."""

IMPORT_SECONDS = 1800.0
"""The same where there is a container: its image is fetched and unpacked on first use."""

NO_RUNTIME = {
    "pyxis": re.compile(r"^.*unrecognized option .*--container-image.*$", re.MULTILINE),
    "apptainer": re.compile(r"^.*execve\(\): apptainer: No such file.*$", re.MULTILINE),
}
"""What srun says where there is none on the node."""

PORTS = range(20000, 30000)
"""Below what Linux gives to programs that ask for any port (32768 on)."""


class Step:
    """Runs from the start of the context to its end, whatever ends it."""

    def __init__(self, sub: Submission, task: Job, folder: RunFolder, status: Status) -> None:
        self.task, self.folder, self.attempt = task, folder, status.attempt
        self.options = sub.options
        self.words = command(sub, task, folder)
        self.patience = IMPORT_SECONDS if sub.options.container else START_SECONDS
        self.environment = environment(sub, task, status)
        self.beats: dict[int, tuple[float, float]] = {}
        """For each rank its last sign of life, and when this process first saw it."""

    def __enter__(self) -> Self:
        begins = time.monotonic() + self.patience
        self.beats = {rank: (0.0, begins) for rank in range(self.task.ranks)}
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
        """What srun itself says."""
        return self.folder.logs / "srun.txt"

    def no_runtime(self) -> str | None:
        """Why the container could not be started; None where it was, or there is none."""
        return no_runtime(self.options, self.printed.read_text(errors="replace"))

    def ended(self) -> bool:
        """Whether srun is gone."""
        return self.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every task; srun passes it on."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def codes(self) -> tuple[int | None, ...]:
        """Exit codes of the ranks that have ended by themselves."""
        return self.folder.exit_codes(self.attempt, self.task.ranks)

    def listens(self) -> bool:
        """Whether every rank is there to hear a signal; one that comes before that ends it."""
        beats = self.folder.beats().values()
        return sum(beat.attempt == self.attempt for beat in beats) == self.task.ranks

    def silent(self, seconds: float) -> int | None:
        """A rank that has given no sign of life for so long, by this node's clock."""
        now = time.monotonic()
        for rank, beat in self.folder.beats().items():
            if beat.attempt == self.attempt and self.beats.get(rank, (0.0,))[0] != beat.time:
                self.beats[rank] = (beat.time, now)
        done = self.codes()
        late = [r for r, (_, seen) in self.beats.items() if now - seen > seconds]
        return next((rank for rank in late if rank < len(done) and done[rank] is None), None)


def command(sub: Submission, task: Job, folder: RunFolder) -> list[str]:
    """The whole srun, as an argument list."""
    agent = ["-m", "slurm.node.rank", "--folder", str(folder.path)]
    agent += ["--checkpoints"] if task.checkpoint_bytes else []
    python = [task.command[0], "-P", *agent, "--", *task.command]
    return [*srun(sub, task, task.ranks_per_node), *inside(sub, task, python)]


def srun(sub: Submission, task: Job, tasks_per_node: int) -> list[str]:
    """srun for so many tasks on each node of the job."""
    options = sub.options
    words = ["srun", f"--nodes={task.nodes}", f"--ntasks={task.nodes * tasks_per_node}"]
    words += [f"--ntasks-per-node={tasks_per_node}", "--distribution=block", "--kill-on-bad-exit=0"]
    words += ["--mpi=none", "--unbuffered", "--input=none", "--export=ALL", "--wait=0"]
    if options.cpus_per_task:  # since SLURM 22.05 srun does not take it from sbatch
        words += [f"--cpus-per-task={options.cpus_per_task}"]
    if task.cards_per_node:  # every task sees all of its node; its local rank is its card
        words += ["--gpu-bind=none"]
    if options.container and options.container.runtime == "pyxis":
        mounts = ",".join(f"{place}:{place}" for place in _mounted(sub, task))
        words += [f"--container-image={options.container.image}"]
        words += [f"--container-mounts={','.join([mounts, *options.container.mounts])}"]
        words += options.container.arguments
    return [*words, *options.srun]


def inside(sub: Submission, task: Job, words: list[str]) -> list[str]:
    """A command of the ranks, in the container where that is not srun's affair."""
    container = sub.options.container
    if container is None:
        return words
    path = asked_for(sub).get("PYTHONPATH", ":".join(sub.path))
    words = ["env", f"PYTHONPATH={path}", *words]  # an image may have one of its own
    if container.runtime == "pyxis":
        return words
    binds = [f"{place}:{place}" for place in _mounted(sub, task)]
    mounts = [word for bind in [*binds, *container.mounts] for word in ("--bind", bind)]
    cards = ["--nv"] if task.cards_per_node else []
    return ["apptainer", "exec", *cards, *mounts, *container.arguments, container.image, *words]


def _mounted(sub: Submission, task: Job) -> list[str]:
    """Folders that ranks need at the places where they are outside."""
    run = task.folder  # the node check reads and writes in the submission's
    return list(dict.fromkeys([*sub.path, str(run), str(place(run, sub.token)), *sub.writes_to]))


def no_runtime(options: SchedulerOptions, said: str) -> str | None:
    """That there is nothing to start the container with, from what srun said, in a line."""
    container = options.container
    found = container and NO_RUNTIME[container.runtime].search(said)
    if not container or not found:
        return None
    return f"scheduler.container.runtime={container.runtime} is not there: {found[0]}"


def environment(sub: Submission, task: Job, status: Status) -> Mapping[str, str]:
    """What all ranks share: where they meet, and which attempt they are."""
    checks, several = sub.options.checks, task.ranks > 1
    link = f"{checks.allreduce_mib}:{checks.allreduce_seconds}"
    return {
        **asked_for(sub),
        "MASTER_ADDR": status.nodes[0],
        "MASTER_PORT": str(port(int(os.environ["SLURM_JOB_ID"]))),
        "MEGALAUNCH_ATTEMPT": str(status.attempt),
        **({"MEGALAUNCH_ALLREDUCE": link} if checks.enabled and several else {}),
    }


def asked_for(sub: Submission) -> dict[str, str]:
    """The user's own variables; a PYTHONPATH among them comes after this project's code."""
    out = {name: str(value) for name, value in sub.options.environment.items()}
    if "PYTHONPATH" in out:
        out["PYTHONPATH"] = ":".join([*sub.path, out["PYTHONPATH"]])
    return out


def port(job_id: int) -> int:
    """The port at which the ranks of a job meet: the same in every step of it."""
    return PORTS[job_id % len(PORTS)]
