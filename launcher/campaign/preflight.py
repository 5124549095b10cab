"""Checks before a command starts anything: its data, its engines, its scheduler, its machine."""

import dataclasses
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence

import psutil

from launcher.backends import BACKENDS, check
from launcher.campaign import workspace
from launcher.data import corpora
from launcher.decode import look_up
from launcher.errors import RequestError
from launcher.request.request import Request
from launcher.results.hanging import HANG_SECONDS
from launcher.schedulers import Scheduler, Setting
from launcher.spec.cluster import Cluster
from launcher.spec.run import Data, RunSpec


def settled(specs: Iterable[RunSpec]) -> Iterator[RunSpec]:
    """Yield specs with absolute paths, once their engines' names and their data are checked.

    Raises:
        ConfigError: no such engine; a source that is missing, empty or no text; a weight of 0.
    """
    settled_data: dict[Data, Data] = {}  # points of a sweep share most of it
    for spec in specs:
        look_up(spec.backend, BACKENDS, "backend")
        if spec.data not in settled_data:
            settled_data[spec.data] = corpora.resolve(spec.data, "data")
        data = settled_data[spec.data]
        yield spec if data == spec.data else dataclasses.replace(spec, data=data)


def refusals(request: Request) -> Callable[[RunSpec], str | None]:
    """Return a function from specs to reasons: arithmetic, the framework's rules, this machine."""
    on_this_machine = not request.scheduler_class.several_nodes

    def refusal(spec: RunSpec) -> str | None:
        try:
            check(spec)
        except RequestError as error:
            return str(error)
        on_cpu = spec.cluster.accelerator.name == "cpu"
        return _too_large(spec) if on_this_machine and on_cpu else None

    return refusal


def _too_large(spec: RunSpec) -> str | None:
    """Reason to refuse a spec whose states alone exceed this machine's memory.

    fp32 weights, gradients and two moments of AdamW: no layout of CPU ranks can avoid them.
    """
    needed, available = 16 * spec.model.params / 2**30, psutil.virtual_memory().total / 2**30
    if needed <= available:
        return None
    return (
        f"{spec.model.name} has {spec.model.params / 1e9:.1f} B params x 16 bytes"
        f" ({needed:.0f} GiB), this machine {available:.0f} GiB"
    )


def scheduler(request: Request, specs: Sequence[RunSpec]) -> Scheduler:
    """Return the scheduler, once it is known that it can run these specs.

    Raises:
        RequestError: no such scheduler, an engine that is not installed here, or more nodes or
            trials at once than there are.
    """
    opened = open_scheduler(request, [spec.cluster for spec in specs])
    if request.scheduler.python or request.scheduler.container:
        return opened  # packages of this machine say nothing about those of the ranks
    for backend in {spec.backend for spec in specs}:
        check_installed(backend)
    return opened


def open_scheduler(request: Request, clusters: Sequence[Cluster]) -> Scheduler:
    """Open the request's scheduler, for runs on these clusters. Raises RequestError."""
    return request.scheduler_class.opened(setting(request), clusters)


def setting(request: Request) -> Setting:
    """Part of a request that all its jobs share."""
    return Setting(
        options=request.scheduler,
        folder=request.folder.path,
        code=workspace.code_folder(request.root),
        cluster=request.cluster.name,
        writes_to=(str(workspace.cache_folder(request)),),
        # Signs of life do not depend on the length of a step.
        hang_after=request.hang_after or HANG_SECONDS,
        parallel=request.parallel,
    )


def check_installed(backend: str) -> None:
    """Raise RequestError where this machine lacks a package that an engine imports."""
    missing = [name for name in BACKENDS[backend].packages if not _is_installed(name)]
    if missing:
        raise RequestError(
            f"backend: {backend} needs {', '.join(missing)} on this machine:"
            " pip install 'megalaunch[train]'"
        )


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the package above it
        return False
