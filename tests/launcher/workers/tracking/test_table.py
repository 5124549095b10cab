"""A table as a W&B run of its own."""

import json
from pathlib import Path

import pytest

from launcher.cli import main
from tests.analysis.grids import LAYOUTS, made


def test_a_table_is_kept_where_wandb_is_not_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = made(tmp_path / "grid")
    assert main(["table", str(folder), "--wandb", "mine", "--format", "csv"]) == 0
    stdout, err = capsys.readouterr()
    assert len(stdout.splitlines()) == 1 + len(LAYOUTS)
    wandb_run = err.split("kept in ")[1].split(";")[0]
    (path,) = Path(wandb_run).glob("files/media/table/trials*.json")
    table = json.loads(path.read_text())
    assert table["columns"][:2] == ["row", "sweep"] and len(table["data"]) == len(LAYOUTS)
    speed = table["columns"].index("tokens_per_s")
    assert all(row[speed] > 1000 for row in table["data"])


def test_a_project_that_wandb_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made(tmp_path / "grid")
    assert main(["table", str(folder), "--wandb", "a/b", "--format", "csv"]) == 2
    assert capsys.readouterr().err == "launch: tracking.project: 'a/b' holds /\n"
