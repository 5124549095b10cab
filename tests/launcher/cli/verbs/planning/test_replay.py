"""`launch replay`: a row of each group in the table, and the trials beside it in JSON."""

import json
from pathlib import Path

import pytest

from launcher import cli

SHEET = """model,n_gpus,tp,tokens_per_s_per_gpu,oom
llama_7b,8,1,50,0
llama_7b,8,2,100,0
llama_7b,8,8,,1
"""


def test_a_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text(SHEET)
    words = ["replay", str(path), "--group-by", "model", "--strategy", "grid", "--format"]
    assert cli.main([*words, "json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)
    assert len(group["trials"]) == 3 and group["group"]["model"] == "llama_7b"
    assert cli.main([*words, "csv"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["trials"] == "3"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no row has tokens_per_s_per_gpu, or oom 1"),
        (["--seed", "-1"], "argument --seed: '-1' is no whole number of 0 or more"),
        (["--seed", "x"], "argument --seed: 'x' is no whole number of 0 or more"),
    ],
)
def test_a_wrong_request(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text("model,n_gpus,tp,tokens_per_s_per_gpu\nllama_7b,8,1,\n")
    assert cli.main(["replay", str(path), "--group-by", "model", *words]) == 2
    assert capsys.readouterr().err.endswith(f"{message}\n")
