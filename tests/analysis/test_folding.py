"""Points that never ran, folded: one line for each cause, with the ranges of its numbers."""

import pandas as pd
import pytest

from analysis import text
from analysis.folding import LONGEST, SHOWN, fold
from launcher.cli import main


def plan(*rows: tuple[str, str | None]) -> pd.DataFrame:
    cells = [(number, kind, reason) for number, (kind, reason) in enumerate(rows, 1)]
    return pd.DataFrame(cells, columns=["row", "plan", "reason"])


def test_causes_that_differ_in_their_numbers_are_one() -> None:
    rows = plan(
        ("run", None),
        ("pruned", "predicted 258.2 GiB, the device has 78.6"),
        ("rejected", "tp 2 x pp 4 (8) does not divide 24 gpus"),
        ("pruned", "predicted 96.1 GiB, the device has 78.6"),
        ("rejected", "zero 3 needs backend deepspeed"),
        ("pruned", "predicted 1,330.7 GiB, the device has 78.6"),
        ("pruned", "predicted 96.1 GiB, the device has 78.6"),
        ("rejected", "tp 8 x pp 2 (16) does not divide 24 gpus"),
    )
    kept, lines = fold(rows)
    assert list(kept["row"]) == [1]
    assert lines == [
        "4 pruned  predicted 96.1 to 1,330.7 GiB, the device has 78.6",
        "2 rejected  tp 2 to 8 x pp 2 to 4 (8 to 16) does not divide 24 gpus (rows 3, 8)",
        "1 rejected  zero 3 needs backend deepspeed (row 5)",
    ]


def test_a_long_plan_shows_its_best_rows() -> None:
    kept, lines = fold(plan(*[("run", None)] * (LONGEST + 1)))
    assert list(kept["row"]) == [*range(1, SHOWN + 1)]
    assert lines == [f"{LONGEST + 1 - SHOWN} more may run; --all shows every row"]
    assert len(fold(plan(*[("run", None)] * LONGEST))[0]) == LONGEST


def test_other_tables_and_rows_without_a_number_are_left_as_they_are() -> None:
    rows = pd.DataFrame({"name": ["a"], "value": [1]})
    assert fold(rows)[0] is rows and fold(rows)[1] == []
    records = pd.DataFrame({"row": [pd.NA], "outcome": ["rejected"], "cause": [pd.NA]})
    assert fold(records)[1] == ["1 rejected  "]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_columns_give_way_to_a_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep=parallelism_grid", "model=llama3_8b", "cluster=h100", "train=pretrain"]
    monkeypatch.setattr(text, "terminal_width", lambda: width)
    assert main(["plan", *words]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed)) <= width
    (head,) = (line for line in printed if "tokens_per_s" in line and "row" in line)
    assert ("pred_step_ms" in head) is (width >= 120)
    assert ("not shown, for want of room" in " ".join(printed)) is (width < 200)
    assert [line[0] for line in printed[1:]].count("*") == 1


def test_files_have_every_row_and_column(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "sweep=parallelism_grid", "model=llama3_8b", "cluster=h100", "train=pretrain"]
    assert main([*words, "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(words) == 0
    assert len(capsys.readouterr().out.splitlines()) < 50 < len(lines)
    assert main([*words, "--all"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= len(lines)
