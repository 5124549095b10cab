"""`launch best`: the file of the best run, and the command that starts the real run from it."""

from pathlib import Path

import pytest

from launcher import cli
from launcher.results import record
from launcher.results.record import Figures, RunRecord
from launcher.results.run_folder import RunFolder
from launcher.spec.layout import ParallelLayout
from tests.conftest import spec


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A folder of two runs, of which that with zero 1 is faster and takes more memory."""
    records = []
    for zero in (0, 1):
        point = spec(ParallelLayout(micro_batch=1, zero=zero))
        RunFolder(tmp_path / point.name).create(point)
        figures = Figures(tokens_per_s=100.0 + zero, mem_max_gib=2.0 + zero)
        records.append(RunRecord(spec=point, outcome="ok", figures=figures))
    record.write(tmp_path / "records.jsonl", records)
    return tmp_path


@pytest.mark.parametrize(("words", "zero"), [([], 1), (["--by", "mem_max_gib"], 0)])
def test_the_best_by_a_column(
    words: list[str], zero: int, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["best", str(sweep), *words]) == 0
    assert f"layout.zero: {zero}\n" in capsys.readouterr().out


def test_a_file_and_the_command_that_takes_it(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sweep / "the best.yaml"
    assert cli.main(["best", str(sweep), "-o", str(path)]) == 0
    captured = capsys.readouterr()
    assert "layout.zero: 1\n" in path.read_text() and captured.out == ""
    assert captured.err == f"launch --config '{path}' train.steps=N checkpoint_every=N\n"
