"""Shared by all tests: specs to start from, and a launch command in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import Data, RunSpec, Train
from launcher.spec.shape import ModelShape
from tests import limits

ROOT = Path(__file__).parents[1]

Launch = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_configure() -> None:
    """Hear Ctrl-C, and let children hear it: what runs in a script's background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of tokenised data for the whole session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def launch(tmp_path: Path, cache: Path) -> Launch:
    """Run ``launch WORDS...`` in an empty folder; ``output`` and ``cache`` go to the test's own."""

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command(words),
            cwd=tmp_path,
            env=environment(cache),
            timeout=limits.COMMAND,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def command(words: Sequence[str]) -> list[str]:
    """The ``launch`` of this checkout, as an argument list."""
    return [sys.executable, "-c", "import sys; from launcher.cli import main; sys.exit(main())",
            *words]  # fmt: skip


def environment(cache: Path) -> dict[str, str]:
    """This process's environment with the checkout importable and the shared cache set.

    W&B is off: the tests of tracking alone pay for it.
    """
    variables = {"COLUMNS": "200", "MEGALAUNCH_CACHE": str(cache), "WANDB_MODE": "disabled"}
    return {**os.environ, "PYTHONPATH": str(ROOT), **variables}


def spec(
    layout: ParallelLayout | None = None,
    gpus: int = 2,
    backend: str = "megatron",
    **train: object,
) -> RunSpec:
    """A small run on ``gpus`` CPU ranks."""
    return RunSpec(
        model=shape(),
        layout=layout or ParallelLayout(),
        cluster=Cluster(
            name="test", nodes=1, gpus_per_node=gpus, accelerator=Accelerator(name="cpu")
        ),
        train=Train(**{"global_batch": 8, "steps": 4, "precision": "fp32", **train}),  # type: ignore[arg-type]
        data=Data(blend={"bundled/prose": 1.0}, tokenizer="bytes"),
        backend=backend,
    )


def shape(**changes: object) -> ModelShape:
    """A tiny dense model."""
    sizes: dict[str, object] = {
        "name": "test", "layers": 4, "hidden": 64, "ffn": 128, "heads": 4, "kv_heads": 2,
        "vocab": 300, "sequence": 32,
    }  # fmt: skip
    return ModelShape(**{**sizes, **changes})  # type: ignore[arg-type]
