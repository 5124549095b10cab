"""Start the ranks of a run as the launcher does, wait for them, and never leave one behind."""

import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.cluster import Accelerator, Cluster
from launcher.decode import decode, encode
from launcher.folder import RunFolder
from launcher.layout import ParallelLayout
from launcher.shape import ModelShape
from launcher.spec import Data, RunSpec, Train


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that is over."""

    folder: RunFolder
    codes: list[int | None]
    seconds: float

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return self.folder.steps()

    @property
    def losses(self) -> list[float]:
        """The loss of every step."""
        return [line["loss"] for line in self.steps]

    def log(self, rank: int = 0) -> str:
        """What a rank printed."""
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
        *above, last = path.split("__")
        at = data
        for name in above:
            at = at[name]
        at[last] = value
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
"""A rank in which ``patch`` runs after the libraries are imported."""


def start(
    run: RunSpec,
    folder: Path,
    cache: Path,
    hang_after: float = 60,
    patch: str = "",
    env: Mapping[str, str] | None = None,
    every: int | None = None,
    script: Path | None = None,
) -> list[subprocess.Popen[bytes]]:
    """Start every rank, of `launcher.workers.train` or of a script; the caller ends them."""
    target = RunFolder(folder)
    target.create(run)
    shared = {**os.environ, "WORLD_SIZE": str(run.cluster.gpus), "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(free_port()), **(env or {})}
    code = PATCHED.format(patch=textwrap.indent(textwrap.dedent(patch), "    "))
    program = ["-c", code] if patch else ["-m", "launcher.workers.train"]
    program = [str(script)] if script else program
    options = ["--folder", str(folder), "--cache", str(cache), "--hang-after", str(hang_after)]
    options += ["--checkpoint-every", str(every)] if every else []
    processes = []
    for rank in range(run.cluster.gpus):
        with target.log(rank).open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, *program, *options],
                    env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return processes


def wait(
    processes: list[subprocess.Popen[bytes]], limit: float, all_ranks: bool = False
) -> list[int | None]:
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
    limit: float = 120,
    all_ranks: bool = False,
    **options: Any,
) -> Ended:
    """Run every rank to its end."""
    began = time.monotonic()
    codes = wait(start(run, folder, cache, **options), limit, all_ranks)
    return Ended(RunFolder(folder), codes, time.monotonic() - began)


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
