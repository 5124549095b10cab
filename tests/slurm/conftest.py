"""A real SLURM of four nodes for the session, and sweeps on it that are watched and disturbed."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from launcher.results.run_folder import RunFolder, Status
from tests import limits
from tests.conftest import ROOT, command, environment
from tests.slurm.fakes import Commands

SCRIPT = ROOT / "slurm" / "local_cluster.sh"
DOUBLES = Path(__file__).parent / "doubles"
NEEDS = ("slurmctld", "slurmd", "munged", "slurmdbd", "mariadbd")
PACKAGES = "slurmctld slurmd slurm-client munge slurmdbd mariadb-server"
SMALL = 16 * 2**20
"""Bytes of the file system that is soon full."""


@dataclass(frozen=True)
class Cluster:
    """The cluster, as its script started it."""

    folder: Path
    environment: dict[str, str]

    @property
    def small(self) -> Path:
        """A file system of `SMALL` bytes."""
        return self.folder / "small"

    def script(self, *words: str) -> None:
        """Call local_cluster.sh."""
        subprocess.run([SCRIPT, *words, "--dir", self.folder], check=True, capture_output=True)

    def run(self, *words: str) -> str:
        """Call a command of SLURM's, and return its output."""
        completed = subprocess.run(
            words,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=limits.COMMAND,
        )
        return completed.stdout


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """Skipped where SLURM is not installed, but never in CI."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in NEEDS if shutil.which(name, path=path) is None]
    if missing:
        message = f"no {', '.join(missing)} here: apt-get install {PACKAGES}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    folder = Path(tempfile.mkdtemp(prefix="megalaunch-slurm-"))  # short: it holds sockets
    root = os.geteuid() == 0
    if root:  # before the nodes start: each has mounts of its own from then on
        (folder / "small").mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "none", folder / "small"], check=True
        )
    try:
        subprocess.run([SCRIPT, "start", "--dir", folder], check=True, timeout=limits.COMMAND)
        variables = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": path,
            "WANDB_MODE": "disabled",
        }
        yield Cluster(folder, {**os.environ, **variables})
    finally:
        subprocess.run([SCRIPT, "stop", "--dir", folder], check=True, timeout=limits.COMMAND)
        if root:
            subprocess.run(["umount", "--lazy", folder / "small"], check=True)
        subprocess.run(
            [SCRIPT, "stop", "--purge", "--dir", folder], check=True, timeout=limits.COMMAND
        )


@dataclass
class Sweep:
    """One launch on the cluster, in a process of its own."""

    cluster: Cluster
    output: Path
    words: list[str]
    environment: dict[str, str]
    process: "subprocess.Popen[str] | None" = None

    def start(self) -> "Sweep":
        """Start the launcher, or start it again."""
        self.process = subprocess.Popen(
            command(self.words),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return self

    def end(self) -> tuple[int, str]:
        """Wait for the launcher's own end, and return its exit code and output."""
        assert self.process
        output, _ = self.process.communicate(timeout=limits.COMMAND)
        return self.process.returncode, output

    def kill(self) -> None:
        """SIGKILL the launcher."""
        assert self.process
        self.process.kill()
        self.process.communicate()

    @property
    def folder(self) -> Path:
        """Folder of the sweep."""
        return next(path for path in self.output.iterdir() if (path / "points.json").exists())

    @property
    def runs(self) -> list[RunFolder]:
        """Folders of all its trials."""
        spec_files = self.output.glob("*/*/spec.json")
        return [RunFolder(path.parent) for path in sorted(spec_files)]

    def wait(self, condition: Callable[[RunFolder], object]) -> RunFolder:
        """Wait until a condition holds for a trial, and return that."""
        deadline = time.monotonic() + limits.EVENT
        while time.monotonic() < deadline:
            for run in self.runs:
                if condition(run):
                    return run
            if self.process and self.process.poll() is not None:
                pytest.fail(f"the launcher has ended: {self.process.communicate()[0]}")
            time.sleep(0.1)
        states = [(run.path.name, run.readable_status()) for run in self.runs]
        pytest.fail(f"nothing in {limits.EVENT:g} s: {states}")

    def at_step(self, step: int, attempt: int = 1) -> RunFolder:
        """Wait for a trial that has done so many steps, and return it."""

        def has_step(run: RunFolder) -> bool:
            status = run.readable_status()
            if status is None or (status.state, status.attempt) != ("running", attempt):
                return False
            return any(line["step"] >= step for line in run.steps())

        return self.wait(has_step)

    def rows(self) -> list[dict[str, object]]:
        """``launch table --format json``."""
        completed = subprocess.run(
            command(["table", str(self.folder), "--format", "json"]),
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        rows: list[dict[str, object]] = json.loads(completed.stdout)
        return rows

    def history(self, run: RunFolder) -> list[Status]:
        """The statuses of all attempts of a trial, the first one first."""
        paths = [*(attempt.path for attempt in reversed(run.attempts())), run.path]
        return [status for path in paths if (status := RunFolder(path).readable_status())]

    def check(self) -> None:
        """Check that no attempts of a trial overlap, and that each step counts once."""
        for run in self.runs:
            history = self.history(run)
            assert [status.attempt for status in history] == list(range(1, len(history) + 1))
            spans = [(s.started, s.ended) for s in history if s.started]
            for (_, ended), (started, _) in pairwise(spans):
                assert ended is not None and started is not None and ended <= started + 0.5
            if run.result() is not None:
                steps, spec = [line["step"] for line in run.steps()], run.spec()
                assert steps == list(range(spec.first + 1, spec.last + 1))


Make = Callable[..., Sweep]


@pytest.fixture
def sweep(slurm: Cluster, tmp_path: Path, cache: Path) -> Iterator[Make]:
    """Start a launch with ``cluster=local_slurm``; at the end of the test nothing of it is left."""
    sweeps: list[Sweep] = []

    def make(*words: str, output: Path | None = None, **variables: str) -> Sweep:
        target = output or tmp_path / "runs"
        settings = ["cluster=local_slurm", f"output={target}", "scheduler.interval=1"]
        all_words = [*settings, "tracking.tensorboard=false", *words]
        env = {**environment(cache), **slurm.environment, "PYTHONPATH": str(ROOT), **variables}
        sweeps.append(Sweep(cluster=slurm, output=target, words=all_words, environment=env))
        return sweeps[-1].start()

    yield make
    for running in sweeps:
        if running.process and running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGKILL)
            running.process.communicate()
    slurm.run("scancel", "--user", str(os.getuid()))
    limits.until(lambda: not slurm.run("squeue", "--noheader"))


@pytest.fixture
def commands(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """SLURM's commands before the real ones on PATH; see `Commands`."""
    fakes = Commands(tmp_path_factory.mktemp("bin"))
    monkeypatch.setenv("PATH", fakes.path)
    return fakes


def paced(seconds: float) -> tuple[str, ...]:
    """Words for a first attempt whose steps take so long; see doubles/pace."""
    environment = {"PYTHONPATH": DOUBLES / "pace", "PACE_MS": round(1000 * seconds)}
    return tuple(f"scheduler.environment.{name}={value}" for name, value in environment.items())


def ranks_of(run: RunFolder) -> list[int]:
    """Pids of a trial's ranks, which all are on this machine."""
    return [beat.pid for beat in run.beats().values()]
