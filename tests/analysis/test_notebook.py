"""The notebook, top to bottom, on sweeps that are made here."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import analysis
from launcher.results import imported
from launcher.results.imported import Imported
from launcher.results.record import Figures
from tests import limits
from tests.analysis import made
from tests.conftest import ROOT, Launch

PATH = ROOT / "analysis" / "compare_sweeps.ipynb"

GRID = (
    "sweep=parallelism_grid", "sweep.strategy=grid", "backend=megatron", "train.steps=4",
    "sweep.axes.layout.tp=[1,2]", "sweep.axes.layout.pp=[1,3]", "sweep.axes.layout.zero=[0,1]",
    "layout.recompute=none", "layout.vpp=1", "layout.micro_batch=2", "sweep.where=[]",
    "layout.cp=1", "layout.ep=1", "tracking.tensorboard=false",
)  # fmt: skip


def test_it_runs_from_top_to_bottom(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = launch(*GRID)
    assert process.returncode == 0, process.stderr
    sweep = tmp_path / "runs" / "parallelism_grid"
    copy = shutil.copytree(sweep, tmp_path / "last_week")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SWEEP", str(sweep))
    monkeypatch.setenv("OTHER", str(copy))
    notebook = nbformat.read(PATH, 4)
    client = NotebookClient(
        notebook, timeout=int(limits.COMMAND), resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    assert "no difference beyond noise" in text
    assert "launch --config best.yaml" in text and (tmp_path / "best.yaml").exists()
    assert "largest difference: " in text
    figures = [
        output for output in outputs if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]
    assert len(figures) >= 5  # frontier, effects, predictions, losses, timeline
    planned = launch("plan", "--config", "best.yaml", "name=real")
    assert planned.returncode == 0, planned.stderr


def last_cell(place: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it alone, in a folder."""
    monkeypatch.chdir(place)
    source = "".join(json.loads(PATH.read_text())["cells"][-1]["source"])
    exec(compile(source, "cell", "exec"), {"s": analysis.load(runs)})


def test_what_cannot_be_started_again_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign" / "run"
    foreign.mkdir(parents=True)
    imported.write(
        foreign,
        Imported(
            format="megatron",
            source="log",
            sha256="0",
            outcome="ok",
            figures=Figures(tokens_per_s=9.0),
        ),
    )
    for runs in (made.curriculum(tmp_path / "stages"), foreign.parent):
        last_cell(tmp_path, runs, monkeypatch)
        assert "There is no layout to start from: " in capsys.readouterr().out
    assert not (tmp_path / "best.yaml").exists()


def test_a_configuration_that_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = made.sweep(tmp_path / "grid", 2)
    last_cell(tmp_path, grid, monkeypatch)
    written = (tmp_path / "best.yaml").read_text()
    assert "stays" not in capsys.readouterr().out
    (tmp_path / "best.yaml").write_text("mine\n")
    last_cell(tmp_path, grid, monkeypatch)
    assert written in capsys.readouterr().out
    assert (tmp_path / "best.yaml").read_text() == "mine\n"


def test_it_is_kept_without_outputs() -> None:
    cells = json.loads(PATH.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
