"""The local scheduler runs real processes and leaves none behind.

Modules: launcher.schedulers, launcher.schedulers.local.
"""

import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from launcher.errors import RequestError, WorkError
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job
from launcher.schedulers import local as module
from launcher.schedulers.local import Local
from tests import limits
from tests.conftest import spec

MakeJob = Callable[..., Job]

SLEEP = f"time.sleep({limits.ALWAYS})"


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """A job whose ranks run a few lines of Python, with RANK in ``rank``."""

    def make(
        code: str, ranks: int = 1, name: str = "job", time_limit: float = limits.COMMAND
    ) -> Job:
        folder = tmp_path / name
        RunFolder(folder).create(spec())
        head = "import os, subprocess, sys, time; rank = int(os.environ['RANK'])\n"
        return Job(
            name=name,
            command=(sys.executable, "-c", head + code, str(folder)),
            folder=folder,
            nodes=1,
            ranks_per_node=ranks,
            time_limit=time_limit,
            memory=0,
        )

    return make


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.5)


def drain(scheduler: Local) -> list[str]:
    """Names of the next jobs that end, of several at once in the order they ended."""
    return [job.name for job in limits.until(scheduler.poll)]


def status(job: Job) -> Status:
    written = RunFolder(job.folder).status()
    assert written is not None
    return written


def test_every_rank_gets_its_place_and_its_own_log(make_job: MakeJob) -> None:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
    job = make_job(f"print(*(os.environ[n] for n in {names}))", ranks=2)
    with Local() as scheduler:
        scheduler.submit([job])
        assert drain(scheduler) == ["job"]
    folder = RunFolder(job.folder)
    assert folder.log(0).read_text() == "0 0 2 2 127.0.0.1\n"
    assert folder.log(1).read_text() == "1 1 2 2 127.0.0.1\n"
    assert (status(job).state, status(job).exit_codes) == ("ended", (0, 0))


def test_a_rank_is_told_its_share_of_the_cores(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = ("OMP_NUM_THREADS", "MEGALAUNCH_THREADS")
    job = make_job(f"print(*(os.environ[n] for n in {names}))", ranks=2)
    with Local(cores=9) as scheduler:
        scheduler.submit([job])
        assert drain(scheduler) == ["job"]
    assert RunFolder(job.folder).log(1).read_text() == "1 4\n"


def test_a_failed_rank_ends_the_others(make_job: MakeJob) -> None:
    job = make_job(f"sys.exit(3) if rank == 1 else {SLEEP}", ranks=2)
    with Local() as scheduler:
        scheduler.submit([job])
        drain(scheduler)
    assert status(job).exit_codes == (None, 3)
    assert not any(map(psutil.pid_exists, status(job).pids))


def test_what_a_rank_started_ends_with_it(make_job: MakeJob) -> None:
    job = make_job(f"print(subprocess.Popen(['sleep', '{limits.ALWAYS}']).pid); sys.exit(1)")
    with Local() as scheduler:
        scheduler.submit([job])
        drain(scheduler)
    child = int(RunFolder(job.folder).log(0).read_text())
    limits.until(lambda: not _alive(child))


def test_the_time_limit_ends_a_job_that_does_not_listen(make_job: MakeJob) -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
    job = make_job(deaf, time_limit=0.5)
    with Local() as scheduler:
        scheduler.submit([job])
        drain(scheduler)
    assert (status(job).stopped, status(job).exit_codes) == ("timeout", (None,))


def test_a_rank_killed_by_a_signal_is_told_apart(make_job: MakeJob) -> None:
    job = make_job("os.kill(os.getpid(), 9)")
    with Local() as scheduler:
        scheduler.submit([job])
        drain(scheduler)
    assert (status(job).exit_codes, status(job).stopped) == ((-signal.SIGKILL,), None)


def test_cancel_ends_what_runs(make_job: MakeJob) -> None:
    job, neighbour = make_job(SLEEP, name="a"), make_job(SLEEP, name="b")
    with Local(cores=2) as scheduler:
        assert scheduler.submit([job, neighbour]) == ["a", "b"]
        scheduler.cancel(["a"])
        assert drain(scheduler) == ["a"]
        assert status(neighbour).state == "running"
    assert status(job).stopped == "cancelled"


def test_leaving_the_context_ends_everything(make_job: MakeJob) -> None:
    job = make_job(SLEEP, ranks=2)
    with Local() as scheduler:
        scheduler.submit([job])
        scheduler.poll()
        pids = status(job).pids
        assert all(map(psutil.pid_exists, pids))
    assert not any(map(psutil.pid_exists, pids))
    assert status(job).stopped == "cancelled"


@pytest.mark.parametrize(
    ("cores", "parallel", "ranks", "at_once"),
    [(4, None, 2, 2), (4, 1, 2, 1), (1, None, 2, 1), (3, None, 1, 3)],
)
def test_jobs_at_once(
    make_job: MakeJob, cores: int, parallel: int | None, ranks: int, at_once: int
) -> None:
    jobs = [make_job(SLEEP, ranks=ranks, name=str(n)) for n in range(4)]
    with Local(parallel=parallel, cores=cores) as scheduler:
        assert scheduler.submit(jobs) == [job.name for job in jobs[:at_once]]
        assert len(scheduler.running) == at_once


def test_memory_that_a_job_has_yet_to_take_is_not_given_away(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine whose memory nobody else takes or frees meanwhile."""
    now = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: now)
    memory = int(0.6 * now.available)
    jobs = [replace(make_job(SLEEP, name=n), memory=memory) for n in ("a", "b")]
    with Local(cores=8) as scheduler:
        assert scheduler.submit(jobs) == ["a"]


def test_what_is_not_taken_has_not_been_touched(make_job: MakeJob) -> None:
    offered = []

    def jobs() -> Iterator[Job]:
        for name in ("a", "b", "c"):
            offered.append(name)
            yield make_job(SLEEP, name=name)

    with Local(cores=1) as scheduler:
        assert scheduler.submit(jobs()) == ["a"]
    assert offered == ["a", "b"]


def test_ranks_that_started_end_when_another_cannot(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = module._start_rank, []

    def second_fails(run: object, rank: int, shared: object) -> object:
        if rank == 1:
            raise OSError(24, "Too many open files")
        started.append(start(run, rank, shared))
        return started[-1]

    monkeypatch.setattr(module, "_start_rank", second_fails)
    with Local() as scheduler, pytest.raises(WorkError, match="Too many open files"):
        scheduler.submit([make_job(SLEEP, ranks=2)])
    assert [process.poll() for process in started] == [-signal.SIGTERM]


def test_a_status_that_cannot_be_written_ends_the_others_all_the_same(make_job: MakeJob) -> None:
    jobs = [make_job(SLEEP, name=name) for name in ("a", "b")]
    pids = []
    with pytest.raises(WorkError), Local(cores=2) as scheduler:
        scheduler.submit(jobs)
        pids = [pid for job in jobs for pid in status(job).pids]
        for job in jobs:
            shutil.rmtree(job.folder)
    assert pids and not any(map(psutil.pid_exists, pids))


def test_only_processes_of_the_run_count_as_its_survivors(make_job: MakeJob) -> None:
    job = make_job(SLEEP)
    with Local() as scheduler:
        scheduler.submit([job])
        scheduler.poll()
        (rank,) = status(job).pids
        neighbour = replace(job, folder=job.folder.parent / "other")
        RunFolder(neighbour.folder).create(spec())
        RunFolder(neighbour.folder).write_status(status(job))
        assert not scheduler.adopt(neighbour)
        assert _alive(rank)
        assert not scheduler.adopt(job)
        assert not psutil.pid_exists(rank)


def test_what_a_batch_system_has_is_left_to_it(make_job: MakeJob) -> None:
    job = make_job("pass")
    RunFolder(job.folder).write_status(Status(state="queued", submission="abc"))
    message = r"^scheduler\.name: local, but SLURM has .*/job; first: launch cancel "
    with pytest.raises(RequestError, match=message):
        Local().adopt(job)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
