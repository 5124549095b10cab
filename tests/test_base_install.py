"""A login node has no torch: what it is for works all the same.

Modules: launcher.cli.verbs.planning.plan, launcher.cli.verbs.results.table.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.results import record
from launcher.results.record import RunRecord
from tests.conftest import ROOT, spec

WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "megatron", "deepspeed", "wandb", "tokenizers", "numba"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from launcher.cli import main
code = main(sys.argv[1:])
print("IMPORTED", *sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""


def launch(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_plan_works_and_rejects(tmp_path: Path) -> None:
    words = ["sweep=parallelism_grid", "model=llama_13b", "cluster=h100", "cluster.nodes=3"]
    process = launch(tmp_path, "plan", *words, "--format", "csv")
    assert process.returncode == 0, process.stderr
    assert process.stdout.count(",rejected,") >= 3 and process.stdout.count(",run,") >= 12


def test_table_works(tmp_path: Path) -> None:
    record.write(tmp_path / "records.jsonl", [RunRecord(spec=spec(), outcome="ok", row=1)])
    process = launch(tmp_path, "table", ".", "--format", "json")
    assert (process.returncode, '"outcome": "ok"' in process.stdout) == (0, True)


def test_spikes_works(tmp_path: Path) -> None:
    process = launch(tmp_path, "spikes", str(ROOT / "tests" / "data" / "losses" / "mixtral.csv"))
    assert (process.returncode, process.stdout.count("loss_spike  loss")) == (0, 3), process.stderr


def test_training_says_what_to_install(tmp_path: Path) -> None:
    process = launch(tmp_path)
    assert process.returncode == 2
    assert process.stderr.splitlines()[0] == (
        "launch: backend: megatron needs torch, megatron.core on this machine:"
        " pip install 'megalaunch[train]'"
    )
    assert not list(tmp_path.iterdir())


def test_an_error_of_stdout_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-c", WITHOUT, "plan"],
            cwd=tmp_path,
            stdout=full,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (process.returncode, "Traceback" in process.stderr) == (1, False)
    assert process.stderr.splitlines()[0] == "launch: No space left on device"


def test_the_home_folder_may_be_written_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    record.write(tmp_path / "records.jsonl", [RunRecord(spec=spec(), outcome="ok", row=1)])
    assert launch(tmp_path, "table", "~", "--format", "csv").returncode == 0


@pytest.mark.parametrize("words", [["--help"], ["plan", "--help"], ["table", "--help"]])
def test_help_waits_for_no_library(words: list[str], tmp_path: Path) -> None:
    trace, imported = traced(words, tmp_path)
    assert not imported & {"hydra", "omegaconf", "pandas", "rich", "torch", "submitit", "numpy"}
    assert trace.stdout.startswith("usage: launch")


@pytest.mark.parametrize(
    "words", [["layout.ttp=2"], ["plan", "layout.ttp=2"], ["status", "."], ["--sort", "speed"]]
)
def test_pandas_waits_for_a_table(words: list[str], tmp_path: Path) -> None:
    trace, imported = traced(words, tmp_path)
    assert trace.returncode == 2 and "launcher" in imported and "pandas" not in imported


def traced(words: list[str], folder: Path) -> tuple["subprocess.CompletedProcess[str]", set[str]]:
    """Run a launch, and list what it imported."""
    code = "import sys; from launcher.cli import main; sys.exit(main(sys.argv[1:]))"
    trace = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = trace.stderr.splitlines()
    return trace, {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in lines}
