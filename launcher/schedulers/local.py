"""Run jobs on this machine, one process per rank, as many at once as its cores and memory hold."""

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import psutil

from launcher.errors import ConfigError, RequestError, WorkError
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job, Setting, threads
from launcher.schedulers.fork_server import ForkedRank, ForkError, ForkServer
from launcher.spec.cluster import Cluster

GRACE = 5.0
"""Seconds the other ranks have to print what they know after the first one failed, and to end
after SIGTERM before SIGKILL follows."""


Rank = subprocess.Popen[bytes] | ForkedRank


@dataclass(slots=True)
class _Running:
    job: Job
    cores_per_rank: int
    """Cores of the machine that one of its ranks has a share in."""
    server: ForkServer | None
    """Process that its ranks are forked from; None where each starts by itself."""
    ranks: list[Rank] = field(default_factory=list)
    status: Status | None = None
    """None until its ranks have been started: the server may not be ready."""
    oom_kills: int | None = None
    """The kernel's count of its out-of-memory kills at the start."""
    failed_at: float | None = None
    stopped: Literal["timeout", "cancelled"] | None = None
    codes: dict[int, int] = field(default_factory=dict)
    """Exit codes of the ranks that ended by themselves."""


class Local:
    """Starts jobs while cores and memory last; leaving the context ends them all."""

    queues: ClassVar[bool] = False
    several_nodes: ClassVar[bool] = False

    def __init__(self, parallel: int | None = None, cores: int | None = None) -> None:
        """``parallel`` caps the jobs at once; ``cores`` is the machine's where not given."""
        self.parallel = parallel
        self.cores = cores or _cores()
        self.running: list[_Running] = []
        self._servers: dict[tuple[str, ...], ForkServer | None] = {}
        """By their commands; None where ranks cannot be forked."""

    @classmethod
    def opened(cls, setting: Setting, clusters: Sequence[Cluster]) -> Self:
        """Return it for clusters of one node; trials share cores, and never cards.

        Raises:
            ConfigError: a cluster of several nodes; several trials at once on cards.
        """
        for cluster in clusters:
            if cluster.nodes > 1:
                raise ConfigError(
                    f"cluster.nodes: {cluster.nodes}, scheduler.name local runs on one"
                )
        cards = [c.accelerator.name for c in clusters if c.accelerator.name != "cpu"]
        if cards and (setting.parallel or 1) > 1:
            raise ConfigError(f"parallel: {setting.parallel} trials would share one {cards[0]}")
        return cls(parallel=1 if cards else setting.parallel)

    def submit(self, jobs: Iterable[Job]) -> list[str]:
        """Start jobs in their order while there is room, and return the names of those started."""
        started = []
        for job in jobs:
            if not self._fits(job):
                break
            share = self.cores // job.ranks
            run = _Running(job=job, cores_per_rank=share, server=self._server(job))
            if _can_start(run):
                _start(run)
            self.running.append(run)
            started.append(job.name)
        return started

    def adopt(self, job: Job) -> bool:
        """Never: what an earlier launcher left behind is ended, so that it runs alone.

        Raises:
            RequestError: a batch system has it.
            WorkError: a process does not end.
        """
        status = RunFolder(job.folder).status()
        if status and status.submission:
            raise RequestError(
                f"scheduler.name: local, but SLURM has {job.folder}; first: launch cancel"
                f" {shlex.quote(str(job.folder))}"
            )
        if status:
            _end_survivors(status, str(job.folder))
        return False

    def poll(self) -> list[Job]:
        """The jobs that ended since the last call."""
        ended = []
        for run in list(self.running):
            if _advance(run):
                self.running.remove(run)
                ended.append(run.job)
        return ended

    def cancel(self, names: Sequence[str]) -> None:
        """End jobs; `poll` returns them as ended."""
        for run in self.running:
            if run.job.name in names:
                run.stopped = run.stopped or "cancelled"

    def avoid(self, nodes: Sequence[str]) -> None:
        """There is only this machine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel([run.job.name for run in self.running])
        with ExitStack() as ends:  # every run, also where the status of one cannot be written
            for server in filter(None, self._servers.values()):
                ends.callback(server.close)  # after its ranks: callbacks run from the last one on
            for run in self.running:
                ends.callback(_end, run)
        self.running.clear()
        self._servers.clear()

    def _server(self, job: Job) -> ForkServer | None:
        """Return the server that forks a job's ranks; None where each rank starts by itself."""
        command = job.fork_server
        if command and command not in self._servers:
            try:
                self._servers[command] = ForkServer(command, job.command)
            except ForkError:
                self._servers[command] = None
        return self._servers.get(command)

    def _fits(self, job: Job) -> bool:
        """Return True where cores and memory suffice, and always on an idle machine.

        A job that is too large for the machine should fail by itself, with the reason in its log.
        """
        if not self.running:
            return True
        if self.parallel is not None and len(self.running) >= self.parallel:
            return False
        busy = sum(run.job.ranks for run in self.running)
        # Memory that running jobs will take, but have not yet: it still counts as available.
        reserved = sum(max(run.job.memory - _resident(run), 0) for run in self.running)
        free = psutil.virtual_memory().available - reserved
        return busy + job.ranks <= self.cores and job.memory <= free


def _end_survivors(status: Status, folder: str) -> None:
    """Kill ranks of a run whose launcher died, so that it never runs twice at once.

    A process counts only if it has a file of the run's logs open: pids are used again.
    """
    logs = RunFolder(Path(folder)).logs.resolve()
    for pid in status.pids if status.host == socket.gethostname() else ():
        try:
            process = psutil.Process(pid)
            if any(Path(file.path).parent == logs for file in process.open_files()):
                process.kill()
                process.wait(GRACE)
        except psutil.TimeoutExpired as error:
            raise WorkError(
                f"process {pid} of an earlier launch in {folder} does not end"
            ) from error
        except psutil.Error:
            continue  # it is gone, or never was ours


def _start(run: _Running) -> None:
    """Start every rank, or none. Raises WorkError where one cannot be started."""
    job, folder = run.job, RunFolder(run.job.folder)
    attempt = folder.next_attempt()
    shared = {"MASTER_PORT": str(_free_port()), "MEGALAUNCH_ATTEMPT": str(attempt)}
    try:
        for rank in range(job.ranks):
            run.ranks.append(_start_rank(run, rank, shared))
        run.status = Status(
            state="running",
            attempt=attempt,
            host=socket.gethostname(),
            pids=tuple(rank.pid for rank in run.ranks),
            started=time.time(),
            time_limit=job.time_limit,
            commit=job.commit,
        )
        folder.write_status(run.status)
    except OSError as error:
        _kill(run.ranks)
        raise WorkError(f"{job.folder}: {error.strerror}") from error
    except WorkError:
        _kill(run.ranks)
        raise
    run.oom_kills = _oom_kills()


def _can_start(run: _Running) -> bool:
    """Return True unless ranks are to be forked from a process that is not ready yet."""
    try:
        return run.server is None or run.server.is_ready()
    except ForkError:
        run.server = None
        return True


def _start_rank(run: _Running, rank: int, shared: Mapping[str, str]) -> Rank:
    job, log_path = run.job, RunFolder(run.job.folder).log(rank)
    environment = {
        **os.environ,
        **shared,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(job.ranks),
        "LOCAL_WORLD_SIZE": str(job.ranks),
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": _loopback(),  # a laptop's host name may not resolve
        "MEGALAUNCH_PARENT": str(os.getpid()),  # a rank ends when its launcher is gone
        "PYTHONUNBUFFERED": "1",
        **threads.of_rank(os.environ, run.cores_per_rank),
    }
    if run.server:
        with suppress(ForkError):
            return run.server.start(job.command, environment, log_path)
    with log_path.open("wb") as log:
        return subprocess.Popen(
            job.command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the launcher alone, which ends its ranks
        )


def _advance(run: _Running) -> bool:
    """Look at a running job once; True when it has ended and its status says so."""
    now = time.time()
    if run.status is None and not run.stopped:
        if _can_start(run):
            _start(run)
        return False
    for rank, process in enumerate(run.ranks):
        if rank not in run.codes and (code := process.poll()) is not None:
            run.codes[rank] = code
            if code:
                run.failed_at = run.failed_at or now
    if run.status and len(run.codes) < len(run.ranks):
        assert run.status.started is not None
        if now - run.status.started > run.job.time_limit:
            run.stopped = run.stopped or "timeout"
        if not run.stopped and (run.failed_at is None or now - run.failed_at < GRACE):
            return False
    _end(run)
    return True


def _end(run: _Running) -> None:
    """End every rank still there, with all its children, and write the status."""
    _kill(run.ranks)
    kills, folder = _oom_kills(), RunFolder(run.job.folder)
    status = replace(
        run.status or folder.readable_status() or Status(state="ended"),  # it never started
        state="ended",
        ended=time.time(),
        exit_codes=tuple(run.codes.get(rank) for rank in range(len(run.ranks))),
        stopped=run.stopped,
        kernel_oom=kills is not None and run.oom_kills is not None and kills > run.oom_kills,
    )
    folder.write_status(status)


def _kill(ranks: Sequence[Rank]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        alive = [process for process in ranks if process.poll() is None]
        for process in alive:
            _signal_group(process, number)
        deadline = time.monotonic() + GRACE
        while any(process.poll() is None for process in alive) and time.monotonic() < deadline:
            time.sleep(0.02)
    for process in ranks:
        _signal_group(process, signal.SIGKILL)  # a rank may leave children of its own behind


def _signal_group(process: Rank, number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _resident(run: _Running) -> int:
    """Resident memory of a job's ranks at this moment, bytes."""
    total = 0
    for process in run.ranks:
        with suppress(psutil.Error):
            total += psutil.Process(process.pid).memory_info().rss
    return total


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _loopback() -> str:
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == "127.0.0.1" for address in addresses):
            return name
    return "lo"


def _cores() -> int:
    """Cores this process may use; a batch system or a container may allow fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _oom_kills() -> int | None:
    """Processes the kernel's memory killer has ended since boot; None where it does not say."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            counts = dict(line.split() for line in file)
        return int(counts["oom_kill"])
    except (OSError, KeyError):
        return None
