"""The notebook, top to bottom, on sweeps that are made here."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT, Launch

PATH = ROOT / "analysis" / "compare_sweeps.ipynb"

GRID = (
    "sweep=parallelism_grid", "sweep.strategy=grid", "backend=megatron", "train.steps=4",
    "sweep.axes.layout.tp=[1,2]", "sweep.axes.layout.pp=[1,3]", "sweep.axes.layout.zero=[0,1]",
    "layout.recompute=none", "tracking.tensorboard=false",
)  # fmt: skip


@pytest.mark.timeout(500)
def test_it_runs_from_top_to_bottom(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = launch(*GRID)
    assert done.returncode == 0, done.stderr
    sweep = tmp_path / "runs" / "parallelism_grid"
    other = shutil.copytree(sweep, tmp_path / "last_week")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SWEEP", str(sweep))
    monkeypatch.setenv("OTHER", str(other))
    notebook = nbformat.read(PATH, 4)
    client = NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    said = "".join(output.get("text", "") for output in shown)
    assert "no difference beyond noise" in said
    assert "launch --config best.yaml" in said and (tmp_path / "best.yaml").exists()
    assert "largest difference: " in said
    figures = [one for one in shown if "application/vnd.plotly.v1+json" in one.get("data", {})]
    assert len(figures) >= 5  # frontier, effects, predictions, losses, timeline
    started = launch("--config", "best.yaml", "name=real")
    assert started.returncode == 0, started.stderr


def test_it_is_kept_without_outputs() -> None:
    cells = json.loads(PATH.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
