"""Ranks forked from a process with the libraries: as if each had been started by itself.

Modules: launcher.workers.fork_server, launcher.workers.libraries, launcher.schedulers.fork_server.
"""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from launcher.backends import BACKENDS
from launcher.backends.worker_command import Execution, fork_server
from launcher.results import tracking
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job
from launcher.schedulers.fork_server import ForkError, ForkServer
from launcher.schedulers.local import Local
from launcher.spec.run import RunSpec
from launcher.spec.tracking import Tracking
from tests import limits
from tests.launcher.workers import ranks

PATIENT = (
    "from launcher.workers import fork_server\n"
    "from launcher.workers.tracking import tracker\n"
    f"tracker.ENDING_SECONDS = {limits.EVENT}\n"
    "fork_server.main()\n"
)
"""The server's program, with trackers that may take longer to end where the machine is busy."""


def make_job(
    spec: RunSpec,
    folder: Path,
    cache: Path,
    forked: bool = True,
    engines: Collection[str] = ("megatron", "deepspeed"),
) -> Job:
    RunFolder(folder).create(spec)
    command = BACKENDS[spec.backend].command(folder, Execution(cache=cache, hang_after=60))
    python, isolated, _, _, *options = fork_server(command, "cpu", engines)
    return Job(
        name=folder.name,
        command=command,
        fork_server=(python, isolated, "-c", PATIENT, *options) if forked else (),
        folder=folder,
        nodes=1,
        ranks_per_node=spec.cluster.gpus,
        time_limit=limits.COMMAND,
        memory=0,
    )


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Local]:
    """A scheduler with a server that is ready."""
    with Local(cores=2) as local:
        yield local


def run(scheduler: Local, job: Job) -> Status:
    """Run a job to its end."""
    assert scheduler.submit([job]) == [job.name]
    return ended(scheduler, job)


def ended(scheduler: Local, job: Job) -> Status:
    limits.until(lambda: job in scheduler.poll())
    status = RunFolder(job.folder).status()
    assert status and status.state == "ended"
    return status


def started(scheduler: Local, job: Job) -> list[psutil.Process]:
    """Start a job; its ranks once they have printed something."""
    assert scheduler.submit([job]) == [job.name]
    folder = RunFolder(job.folder)

    def printed() -> bool:
        scheduler.poll()
        logs = [folder.log(rank) for rank in range(job.ranks)]
        return all(log.exists() and log.read_text() for log in logs)

    limits.until(printed)
    status = folder.status()
    assert status
    return [psutil.Process(pid) for pid in status.pids]


def tracker_of(rank: psutil.Process) -> psutil.Process:
    """The tracker that a rank has forked, once it is in a session of its own."""

    def in_session() -> psutil.Process | None:
        return next((p for p in rank.children() if os.getsid(p.pid) == p.pid), None)

    tracker = limits.until(in_session)
    assert tracker
    return tracker


@pytest.mark.parametrize("backend", ["megatron", "deepspeed"])
def test_a_fork_trains_as_a_process_of_its_own(
    scheduler: Local, tmp_path: Path, cache: Path, backend: str
) -> None:
    spec = ranks.spec(2, backend=backend, train__steps=4)
    losses, import_seconds = [], []
    for name, forked in (("forked", True), ("alone", False), ("again", True)):
        job = make_job(spec, tmp_path / name, cache, forked)
        assert run(scheduler, job).exit_codes == (0, 0), RunFolder(job.folder).log(0).read_text()
        folder = RunFolder(job.folder)
        losses.append([(line["loss"], line["grad_norm"]) for line in folder.steps()])
        result = folder.result()
        assert result
        import_seconds.append(result["seconds"]["import"])
    assert losses[0] == losses[1] == losses[2] and len(losses[0]) == 4
    forked_again, alone = max(import_seconds[::2]), import_seconds[1]
    assert forked_again < alone / 2


def sockets_of(process: psutil.Process) -> set[str]:
    """Return the sockets that a process has open, whatever else it opens and closes meanwhile."""
    names = set()
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            names.add(os.readlink(descriptor))
    return {name for name in names if name.startswith("socket:")}


def test_a_rank_shares_nothing_with_the_server_or_the_next_one(
    scheduler: Local, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEGALAUNCH_PROBE", "of this run")
    job = make_job(ranks.spec(2, train__steps=2000), tmp_path / "a", cache)
    first, second = started(scheduler, job)
    server = psutil.Process(first.ppid())
    assert server == psutil.Process(second.ppid()) and server.ppid() == os.getpid()
    assert {os.getsid(p.pid) for p in (first, second, server)} == {
        first.pid,
        second.pid,
        server.pid,
    }
    assert not sockets_of(server) & sockets_of(first)
    waiting = tracker_of(first)  # nobody asks for it
    os.kill(first.pid, signal.SIGKILL)
    assert ended(scheduler, job).exit_codes[0] == -signal.SIGKILL
    assert not psutil.wait_procs([waiting], timeout=limits.EVENT)[1]
    assert server.is_running() and not second.is_running()
    refused = make_job(ranks.spec(1), tmp_path / "b", cache)
    refused = dataclasses.replace(refused, command=(*refused.command, "--no-such-option"))
    assert run(scheduler, refused).exit_codes == (2,)
    assert "--no-such-option" in RunFolder(refused.folder).log(0).read_text()
    assert run(scheduler, make_job(ranks.spec(1), tmp_path / "c", cache)).exit_codes == (0,)
    assert server.is_running()


def test_a_fork_has_a_tracker_that_has_imported_its_libraries(
    scheduler: Local, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    spec = ranks.spec(2, train__steps=60)
    job = make_job(spec, tmp_path / "tracked", cache)
    folder = RunFolder(job.folder)
    tracking.write(folder, Tracking(), spec, spec.id)
    rank, _ = started(scheduler, job)
    server = psutil.Process(rank.ppid())
    tracker = tracker_of(rank)
    assert tracker.cmdline() == server.cmdline()
    assert ended(scheduler, job).exit_codes == (0, 0)
    assert not psutil.wait_procs([tracker], timeout=limits.EVENT)[1]
    assert (folder.logs / "tracking.txt").read_text() == ""
    (events,) = folder.tensorboard.iterdir()
    (recorded,) = folder.wandb.glob("offline-run-*/*.wandb")
    assert events.read_bytes().count(b"train/loss") == 60
    assert recorded.read_bytes().count(b"train/loss") >= 60
    assert not list(temporary.glob("*wandb*"))


def test_ranks_end_with_a_server_that_is_killed_and_the_next_are_started_alone(
    tmp_path: Path, cache: Path
) -> None:
    with Local(cores=2) as local:
        job = make_job(ranks.spec(2, train__steps=2000), tmp_path / "a", cache)
        processes = started(local, job)
        psutil.Process(processes[0].ppid()).kill()
        assert ended(local, job).exit_codes == (-signal.SIGKILL, -signal.SIGKILL)
        assert not psutil.wait_procs(processes, timeout=limits.EVENT)[1]
        assert run(local, make_job(ranks.spec(1), tmp_path / "b", cache)).exit_codes == (0,)


def test_a_server_prepares_data_and_imports_what_its_ranks_need(tmp_path: Path) -> None:
    others, cache = psutil.Process().children(), tmp_path / "cache"
    with Local(cores=2) as local:
        job = make_job(ranks.spec(1), tmp_path / "a", cache, engines=["megatron"])
        assert local.submit([job]) == ["a"]
        (server,) = set(psutil.Process().children()).difference(others)
        # Not polled: no rank is asked for.
        limits.until(lambda: cache.exists() and not server.children() and any(cache.iterdir()))
        prepared = {path: path.stat().st_mtime_ns for path in cache.rglob("*.idx")}
        assert prepared
        assert ended(local, job).exit_codes == (0,)
        assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.idx")} == prepared
        result = RunFolder(job.folder).result()
        assert result and result["versions"]["deepspeed"] is None


def test_a_job_that_waits_for_the_server_can_be_cancelled(tmp_path: Path, cache: Path) -> None:
    others = psutil.Process().children()
    with Local(cores=2) as local:
        jobs = [make_job(ranks.spec(1), tmp_path / name, cache) for name in "ab"]
        assert local.submit(jobs) == ["a", "b"] and not local.poll()
        local.cancel(["a"])
        status = ended(local, jobs[0])
        assert (status.stopped, status.pids, status.exit_codes) == ("cancelled", (), ())
        (server,) = set(psutil.Process().children()).difference(others)
    assert not server.is_running()  # and the other one has been cancelled as well
    other = RunFolder(jobs[1].folder).status()
    assert other and (other.state, other.stopped) == ("ended", "cancelled")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("pass", "it has ended"),
        ("raise ImportError", "it has ended"),
        ('say(\'{"refused": "it has threads"}\')', "it has threads"),
        (f"time.sleep({limits.ALWAYS})", "it hangs"),
    ],
)
def test_a_server_that_cannot_fork(
    program: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 0.5 if reason == "it hangs" else limits.COMMAND
    monkeypatch.setattr("launcher.schedulers.fork_server.READY_SECONDS", seconds)
    head = (
        "import socket, sys, time\n"
        "channel = socket.socket(fileno=int(sys.argv[2]))\n"
        "say = lambda line: channel.sendall(line.encode() + b'\\n')\n"
    )
    server = ForkServer([sys.executable, "-c", head + program], ["train"])
    with pytest.raises(ForkError, match=f"^{reason}$"):
        limits.until(server.is_ready)
    with pytest.raises(ForkError):
        ForkServer(["/no/such/python"], ["train"])


def test_what_stands_in_the_way_of_forks() -> None:
    code = (
        "import threading, time\nfrom launcher.workers import fork_server\n"
        "assert fork_server.obstacle() is None\n"
        "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
        "assert fork_server.obstacle() == 'the libraries have started threads: 1'\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=limits.EVENT)


def test_only_our_own_ranks_are_forked() -> None:
    execution = Execution(cache=Path("/c"), hang_after=60, python="/venv/bin/python")
    command = BACKENDS["deepspeed"].command(Path("/r"), execution)
    assert fork_server(command, "h100", {"megatron", "deepspeed"}) == (
        "/venv/bin/python", "-P", "-m", "launcher.workers.fork_server", "--accelerator", "h100",
        "--engines", "deepspeed", "megatron",
    )  # fmt: skip
    assert fork_server(("torchrun", "pretrain_gpt.py"), "cpu", {"megatron"}) == ()


def test_a_pid_that_is_used_again_has_no_exit_code_yet() -> None:
    program = (
        "import json, socket, sys\n"
        "channel = socket.socket(fileno=int(sys.argv[2]))\n"
        "say = lambda message: channel.sendall(json.dumps(message).encode() + b'\\n')\n"
        "say({'ready': True})\n"
        "for _ in range(2):\n"
        "    channel.recv(1 << 16)\n"
        "    say({'pid': 1})\n"
        "    channel.recv(1 << 16)\n"
        "    say({'pid': 1, 'code': 5})\n"
    )
    server = ForkServer([sys.executable, "-c", program], ["train"])
    limits.until(server.is_ready)
    for _ in range(2):
        rank = server.start(["train"], {}, Path("log"))
        assert rank.poll() is None
        server._channel.sendall(b"\n")
        limits.until(lambda rank=rank: rank.poll() is not None)
        assert rank.returncode == 5
    server.close()
    assert rank.poll() == 5
