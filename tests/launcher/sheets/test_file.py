"""Files as people write them: separators, remarks, titles, encodings."""

from pathlib import Path

import pytest

from launcher.errors import ConfigError
from launcher.sheets import predictions
from tests.launcher.sheets.made import write

TABLE = """\
# Source: somebody's runs, transcribed
# of last year
model,n_gpus,tp,tokens_per_s_per_gpu,comment
llama_7b,8,2,1000,"fine, though # is no remark here"
# the second node was slow
llama_7b,16,4,2000,#
"""


def test_lines_that_begin_with_a_hash_are_remarks(tmp_path: Path) -> None:
    sheet = predictions.read(write(tmp_path / "runs.csv", TABLE))
    assert sheet.speed.tolist() == [1000, 2000]
    assert sheet.points.tp.tolist() == [2, 4]
    assert [row["comment"] for row in sheet.rows] == ["fine, though # is no remark here", "#"]
    assert sheet.points.layers.tolist() == [32, 32]  # of conf/model/llama_7b.yaml


@pytest.mark.parametrize("text", ["", "# nothing but a remark\n", "model,n_gpus\n"])
def test_a_file_without_rows_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"no\.csv: no rows below its first line$"):
        predictions.read(write(tmp_path / "no.csv", text))


MESS = [
    ("\ufeffModel , # GPUs,TP size,Micro Batch Size\r\nllama_7b, 16 ,2,1\r\n,,,\r\n", 16, 2, 1),
    ("model;gpus;tensor_parallel;mbs\nllama_7b;16;2;1\n", 16, 2, 1),
    ("model\tnum_gpus\ttp\tmicro_batch_size\nllama_7b\t1,024\t2\t1\n", 1024, 2, 1),
    ('# gpus,model,tp,mbs,what\n16,llama_7b,2,1,"two\nlines"\n', 16, 2, 1),
    ("model,n_gpus,tp,micro_batch\nllama_7b,16,2,1,and,more\n", 16, 2, 1),
    ("model,n_gpus,gpus,tp,micro_batch\nllama_7b,,16,2,1\n", 16, 2, 1),
    ("mbs,model,GPUs,Tensor-Parallelism,n_gpus\n1,llama_7b,9,2,16\n", 16, 2, 1),
]


@pytest.mark.parametrize(("text", "gpus", "tp", "micro"), MESS)
def test_a_file_as_people_write_it(
    tmp_path: Path, text: str, gpus: float, tp: float, micro: float
) -> None:
    sheet = predictions.read(write(tmp_path / "runs.csv", text))
    p = sheet.points
    assert [len(p), p.gpus[0], p.tp[0], p.micro_batch[0], p.layers[0]] == [1, gpus, tp, micro, 32]
    title = text.lstrip("\ufeff").splitlines()[0]
    assert next(iter(sheet.written[0])) == title.replace(";", ",").replace("\t", ",").split(",")[0]


def test_a_sheet_none_of_whose_columns_is_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none of its columns is known: name, value$"):
        predictions.read(write(tmp_path / "r.csv", "name,value\na,1\n"))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv: No such file or directory$"):
        predictions.read(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"model\n\xe9\n")
    with pytest.raises(
        ConfigError, match=r"latin\.csv: it is no text in UTF-8: save it as CSV UTF-8$"
    ):
        predictions.read(tmp_path / "latin.csv")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_marks_of_an_encoding_are_no_part_of_a_title(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "r.csv").write_text("model,n_gpus\nllama_7b,16\n", encoding=encoding)
    assert predictions.read(tmp_path / "r.csv").written == [{"model": "llama_7b", "n_gpus": "16"}]


def test_of_two_columns_of_one_title_the_first_counts(tmp_path: Path) -> None:
    text = ",,H100,A100\nmodel,n_gpus,tgs,tgs\nllama_7b,16,3000,1500\n"
    sheet = predictions.read(write(tmp_path / "r.csv", text))
    assert list(sheet.written[0]) == ["model", "n_gpus", "tgs", "tgs (2)"]
    assert sheet.speed.tolist() == [3000]
    assert predictions.not_read(sheet) == ["tgs (2)"]


@pytest.mark.parametrize("units", [",,tokens/s,ms", ",(#),[tokens/s],(ms)"])
def test_a_line_of_units_below_the_titles(tmp_path: Path, units: str) -> None:
    text = f"model,n_gpus,throughput,step time\n{units}\nllama_7b,16,48000,900\n"
    sheet = predictions.read(write(tmp_path / "r.csv", text))
    assert sheet.numbers("step_s").tolist() == [0.9]
    assert sheet.speed.tolist() == [3000]


RUNS_AS_COLUMNS = [["Metric", "FSDP", "DDP"], ["Tokens/s", "9000", "4500"], ["GPUs", "16", "8"]]


@pytest.mark.parametrize("suffix", [".csv", ".md"])
def test_runs_may_be_columns(tmp_path: Path, suffix: str) -> None:
    lines = [",".join(row) for row in RUNS_AS_COLUMNS]
    if suffix == ".md":
        lines = [f"| {' | '.join(row)} |" for row in RUNS_AS_COLUMNS]
        lines.insert(1, "|---|---|---|")
    (tmp_path / f"r{suffix}").write_text("\n".join(lines), encoding="utf-8")
    sheet = predictions.read(tmp_path / f"r{suffix}")
    assert [row["Metric"] for row in sheet.written] == ["FSDP", "DDP"]
    assert sheet.speed.tolist() == [562.5, 562.5]


def test_a_row_of_numbers_has_no_titles(tmp_path: Path) -> None:
    text = "Metric,H100,A100\nTokens/s,9000,4500\n"
    with pytest.raises(ConfigError, match=r"none of its columns is known: Metric, H100, A100$"):
        predictions.read(write(tmp_path / "r.csv", text))


def test_a_row_may_be_short(tmp_path: Path) -> None:
    sheet = predictions.read(
        write(tmp_path / "runs.csv", "model,n_gpus,tp,recompute\nllama_7b,8\n")
    )
    assert sheet.points.tp.tolist() == [1]
