"""What has to be so before a sweep may start: its data, its engines, its folders, its machine."""

import dataclasses
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from launcher.backends import BACKENDS, check
from launcher.data import corpora
from launcher.decode import look_up
from launcher.errors import ConfigError, RequestError
from launcher.files import write_text
from launcher.request.request import Request
from launcher.schedulers import Scheduler
from launcher.schedulers.local import Local
from launcher.spec.run import Data, RunSpec
from slurm.handover import Setting
from slurm.scheduler import Slurm


def settled(points: Iterable[RunSpec]) -> Iterator[RunSpec]:
    """The points with absolute paths, once their names and their data have been looked at.

    Raises:
        ConfigError: no such engine; a source that is missing, empty or no text; a weight of 0.
    """
    known: dict[Data, Data] = {}  # points share what they do not differ in
    for spec in points:
        look_up(spec.backend, BACKENDS, "backend")
        if spec.data not in known:
            known[spec.data] = corpora.resolve(spec.data, "data")
        found = known[spec.data]
        yield spec if found == spec.data else dataclasses.replace(spec, data=found)


def scheduler(request: Request, points: Sequence[RunSpec]) -> Scheduler:
    """The scheduler, once it is known that it can run these points.

    Raises:
        RequestError: no such scheduler, an engine that is not installed here, or more nodes or
            trials at once than there are.
    """
    made = SCHEDULERS[request.scheduler.name](request, points)
    if request.scheduler.python or request.scheduler.container:
        return made  # what is installed here says nothing about there
    for backend in {spec.backend for spec in points}:
        check_installed(backend)
    return made


def _local(request: Request, points: Sequence[RunSpec]) -> Scheduler:
    """Trials share the cores of this machine, and never its cards."""
    for cluster in (spec.cluster for spec in points):
        if cluster.nodes > 1:
            raise ConfigError(f"cluster.nodes: {cluster.nodes}, scheduler.name local runs on one")
    cards = [c.name for s in points if (c := s.cluster.accelerator).name != "cpu"]
    if cards and (request.parallel or 1) > 1:
        raise ConfigError(f"parallel: {request.parallel} trials would share one {cards[0]}")
    return Local(parallel=1 if cards else request.parallel)


def _slurm(request: Request, points: Sequence[RunSpec]) -> Scheduler:
    """Jobs of a cluster; the command has to be there too."""
    if shutil.which("sbatch") is None:
        raise RequestError(
            f"scheduler.name: slurm, which cluster={request.cluster.name} chooses, but there is no"
            " sbatch here; on the cards of this machine: scheduler.name=local cluster.nodes=1"
        )
    setting = slurm_setting(request)
    if "\\" in str(setting.folder):
        raise ConfigError(f"output: {setting.folder} holds a backslash, which SLURM drops")
    if request.scheduler.container and set(",:") & set(str(setting.folder)):
        raise ConfigError(f"output: {setting.folder} holds a , or :, which no mount can name")
    return Slurm(setting)


def slurm_setting(request: Request) -> Setting:
    """What all jobs of a request share."""
    return Setting(
        options=request.scheduler,
        folder=request.root / (request.name or request.points.name),
        code=request.root / ".code",
        writes_to=(str(cache_folder(request)),),
        hang_after=request.hang_after,
        parallel=request.parallel,
    )


SCHEDULERS: dict[str, Callable[[Request, Sequence[RunSpec]], Scheduler]] = {
    "local": _local,
    "slurm": _slurm,
}


def refusals(request: Request) -> Callable[[RunSpec], str | None]:
    """Why a point cannot run: by arithmetic, by its framework, or on this machine."""
    here = request.scheduler.name == "local"

    def refusal(spec: RunSpec) -> str | None:
        try:
            check(spec)
        except RequestError as error:
            return str(error)
        return _too_large(spec) if here and spec.cluster.accelerator.name == "cpu" else None

    return refusal


def _too_large(spec: RunSpec) -> str | None:
    """fp32 weights, gradients and two moments of AdamW: what no layout of CPU ranks can avoid."""
    needed, there = 16 * spec.model.params / 2**30, psutil.virtual_memory().total / 2**30
    if needed <= there:
        return None
    return (
        f"{spec.model.name} has {spec.model.params / 1e9:.1f} B params x 16 bytes"
        f" ({needed:.0f} GiB), this machine {there:.0f} GiB"
    )


def cache_folder(request: Request) -> Path:
    """The folder of tokenised data."""
    return Path(request.cache).expanduser().resolve() if request.cache else request.root / ".cache"


def first_there(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(one for one in (path, *path.parents) if one.exists())


def make_cache(request: Request) -> None:
    """Make the folder of tokenised data. Raises ConfigError where that cannot be."""
    path = cache_folder(request)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cache: {path}: {error.strerror}") from error


def interpreter(request: Request) -> str:
    """The Python of the ranks: a container has its own."""
    options = request.scheduler
    return options.python or ("python3" if options.container else sys.executable)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Inside, no other launcher works on a folder; a kill frees it too.

    Raises:
        ConfigError: the folder cannot be written, or another launcher is at work in it.
    """
    held, holder = FileLock(folder / ".lock", mode=0o666), folder / ".lock.holder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except Timeout as error:
        who = _said_by(holder)
        raise ConfigError(f"output: another launch is at work in {folder}{who}") from error
    except OSError as error:
        raise ConfigError(f"output: {folder}: {error.strerror}") from error
    try:
        write_text(holder, f"process {os.getpid()} on {socket.gethostname()}", durable=False)
        yield
    finally:
        held.release()


def _said_by(holder: Path) -> str:
    """Who has the lock; the file of one that was killed is replaced by the next one's."""
    try:
        return f": {holder.read_text(encoding='utf-8')}"
    except OSError:
        return ""


@cache
def commit() -> str | None:
    """Commit of this project's checkout, ``-dirty`` where files differ; None outside of one."""
    here = Path(__file__)
    try:
        _git(here.parent, "ls-files", "--error-unmatch", here.name)  # not the repository around us
        return _git(here.parent, "describe", "--always", "--dirty", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words],
                          capture_output=True, text=True, check=True)  # fmt: skip
    return done.stdout.strip()


def check_installed(backend: str) -> None:
    """Raise RequestError where this machine lacks what an engine imports."""
    missing = [name for name in BACKENDS[backend].packages if not _found(name)]
    if missing:
        raise RequestError(f"backend: {backend} needs {', '.join(missing)} on this machine:"
                           " pip install 'megalaunch[train]'")  # fmt: skip


def _found(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package above it
        return False
