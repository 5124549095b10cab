"""Start the ranks of a run as the launcher does, wait for them, and never leave one behind.

Most are forked from one process that has imported the libraries: that takes longer than a test.
"""

import functools
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

from launcher.decode import decode, encode
from launcher.results import samples
from launcher.results.run_folder import RunFolder
from launcher.results.samples import Sampled
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import Data, RunSpec, Train
from launcher.spec.sampling import Sampling
from launcher.spec.shape import ModelShape
from tests import limits
from tests.conftest import ROOT

PRELOAD = "tests.launcher.workers.preload"


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that is over."""

    folder: RunFolder
    codes: list[int | None]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl."""
        return self.folder.steps()

    @property
    def losses(self) -> list[float]:
        """Loss of every step."""
        return [line["loss"] for line in self.steps]

    @property
    def samples(self) -> list[Sampled]:
        """What came of each evaluation, in the order of their steps."""
        return [samples.read(path) for path in self.folder.sample_files()]

    def log(self, rank: int = 0) -> str:
        """Output of a rank."""
        return self.folder.log(rank).read_text()


TINY = ModelShape(
    name="tiny", layers=4, hidden=64, ffn=128, heads=4, kv_heads=2, vocab=300, sequence=32
)


def spec(ranks: int = 1, **changes: Any) -> RunSpec:
    """A tiny run; ``changes`` are dotted fields with __ for the dot: ``layout__tp=2``."""
    base = RunSpec(
        model=TINY,
        layout=ParallelLayout(micro_batch=2),
        cluster=Cluster(
            name="here", nodes=1, gpus_per_node=ranks, accelerator=Accelerator(name="cpu")
        ),
        train=Train(global_batch=8, steps=8, precision="fp32"),
        data=Data(blend={"bundled/prose": 1.0}, tokenizer="bytes"),
        backend="megatron",
    )
    data = encode(base)
    data["train"]["optimizer"]["lr"] = 2e-3
    for path, value in changes.items():
        *parents, key = path.split("__")
        section = data
        for parent in parents:
            section = section[parent]
        section[key] = value
    return decode(RunSpec, data)


PATCHED = """
from launcher.workers import train
prepare = train._import
def patched(spec):
    prepare(spec)
{patch}
train._import = patched
train.main()
"""
"""Program of a rank in which ``patch`` runs after the libraries are imported."""


class Started(Protocol):
    """A rank that was started: as a process of its own, or by a fork."""

    pid: int

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def wait(self) -> Any: ...


class Forked:
    """A rank forked from a process that has imported the libraries."""

    def __init__(self, process: BaseProcess) -> None:
        process.start()
        assert process.pid
        self._process, self.pid = process, process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> None:
        self._process.join()


@functools.cache
def forks() -> ForkServerContext:
    """Start the process that ranks are forked from; it ends with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOAD])
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    with mock.patch.dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS="1"):
        forkserver.ensure_running()
    return context


def become_rank(code: str, options: Sequence[str], env: dict[str, str], log: str) -> None:
    """Do in a fork what ``python -c CODE OPTIONS`` does in a process of its own."""
    assert PRELOAD in sys.modules, "the libraries could not be imported beforehand"
    target = os.open(log, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["-c", *options]
    exec(code, {"__name__": "__main__"})


def start(
    run: RunSpec,
    folder: Path,
    cache: Path,
    hang_after: float = 60,
    patch: str = "",
    env: Mapping[str, str] | None = None,
    every: int | None = None,
    keep: int = 2,
    sampling: Sampling | None = None,
    program: str = "",
    fresh: bool = False,
) -> list[Started]:
    """Start every rank, of `launcher.workers.train` or of another program; the caller ends them.

    ``fresh`` starts each from scratch, as the launcher does; so do cards, which nobody can share.
    """
    fresh = fresh or run.cluster.accelerator.name != "cpu"
    target = RunFolder(folder)
    target.create(run)
    shared = {**os.environ, "WORLD_SIZE": str(run.cluster.gpus), "MASTER_ADDR": "127.0.0.1"}
    shared |= {"LOCAL_WORLD_SIZE": shared["WORLD_SIZE"], "MASTER_PORT": str(free_port())}
    shared |= env or {}
    patched = PATCHED.format(patch=textwrap.indent(textwrap.dedent(patch or "pass"), "    "))
    code = program or patched
    options = ["--folder", str(folder), "--cache", str(cache), "--hang-after", str(hang_after)]
    if every:
        options += ["--checkpoint-every", str(every)]
        options += ["--checkpoints", json.dumps({"keep_last": keep})]
    if sampling:
        options += ["--sampling", json.dumps(encode(sampling))]
    processes: list[Started] = []
    for rank in range(run.cluster.gpus):
        rank_env = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        log = target.log(rank)
        if not fresh:
            args = (code, options, rank_env, str(log))
            processes.append(Forked(forks().Process(target=become_rank, args=args)))
            continue
        with log.open("wb") as output:
            words = [sys.executable, "-c", code, *options]
            processes.append(subprocess.Popen(words, env=rank_env, stdout=output, stderr=output))
    return processes


def wait(processes: Sequence[Started], limit: float, all_ranks: bool = False) -> list[int | None]:
    """Exit codes, None for a rank that had to be killed.

    That is at the limit or, unless ``all_ranks`` is set, when another one has failed.
    """
    deadline = time.monotonic() + limit
    try:
        while time.monotonic() < deadline:
            codes = [process.poll() for process in processes]
            if None not in codes or (any(codes) and not all_ranks):
                break
            time.sleep(0.02)
        return [process.poll() for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def train(
    run: RunSpec,
    folder: Path,
    cache: Path,
    limit: float = limits.COMMAND,
    all_ranks: bool = False,
    **options: Any,
) -> Ended:
    """Run every rank to its end."""
    codes = wait(start(run, folder, cache, **options), limit, all_ranks)
    return Ended(RunFolder(folder), codes)


def free_port() -> int:
    """Return a port nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
