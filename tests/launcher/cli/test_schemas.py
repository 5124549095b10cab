"""What every verb prints with ``--format json``: valid by its schema, strict, alone on stdout.

Modules: launcher.cli.schemas, launcher.cli.json_types, launcher.results.meanings.
"""

import csv
import itertools
import json
import shutil
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import pytest

from launcher import cli
from launcher.campaign import jobs
from launcher.cli import registry, schemas
from launcher.cli.schemas import OUTPUTS, schema_of
from launcher.results.columns import COLUMNS, PLANNED, STAGES
from launcher.results.meanings import MEANINGS
from launcher.results.run_folder import RunFolder, Status
from tests.analysis import made
from tests.conftest import ROOT, spec

DATA = ROOT / "tests" / "data"
LOG = DATA / "foreign_logs" / "megatron_lm_cancelled.txt"
LOSSES = DATA / "losses" / "mixtral.csv"
SHEET = """model,n_gpus,tp,tokens_per_s_per_gpu,oom,mood
llama_7b,8,1,50,0,good
llama_7b,8,2,100,0,
llama_7b,8,8,,1,
our model,8,1,,,
"""

MEASURED = {
    "model": "x", "hardware": "A100", "layers": 32, "hidden": 4096, "ffn": 11008, "heads": 32,
    "kv_heads": 32, "vocab": 32000, "seq_len": 2048, "vpp": 1, "cp": 1, "ep": 1, "pp": 1,
    "micro_batch": 1, "recompute": "none", "precision": "bf16", "seq_parallel": 0,
    "flash_attn": 1, "zero": 1, "n_gpus": 16, "global_batch": 512,
}  # fmt: skip
"""A row that constants can be fitted to, with a source, a tp and figures besides."""


def strict(text: str) -> Any:
    """Parse JSON as a reader does that knows no NaN."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs of every kind: done, failed, rejected, running, nan, imported, damaged."""
    place = tmp_path_factory.mktemp("runs")
    made.sweep(place / "grid", 30)
    made.curriculum(place / "staged")
    shutil.copytree(DATA / "earlier_version", place / "earlier")
    mixed = place / "mixed"
    for name, losses in (("nan", [7.0, "nan"]), ("inf", ["inf"]), ("fine", [7.0]), ("new", [])):
        run = RunFolder(mixed / name)
        run.create(spec())
        run.metrics.write_text("".join(
            json.dumps({"step": step, "loss": loss, "step_ms": 5.0, "grad_norm": "inf"}) + "\n"
            for step, loss in enumerate(losses, 1)
        ))  # fmt: skip
        if losses:
            run.write_status(Status(state="running" if name == "fine" else "ended", started=1e9))
    (mixed / "torn").mkdir()
    (mixed / "torn" / "spec.json").write_text("{")
    assert cli.main(["import", str(LOG), str(DATA / "tanuki_phase1_grid.csv"), "-o",
                     str(place / "imported")]) == 0  # fmt: skip
    return place


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sheet.csv").write_text(SHEET)
    with Path("measured.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*MEASURED, "source", "tp", "step_s", "mem_gb"])
        writer.writeheader()
        for source, tp in itertools.product("ab", (1, 2, 4)):
            figures = {"source": source, "tp": tp, "step_s": 5.0 + tp, "mem_gb": 60 / tp}
            writer.writerow(MEASURED | figures)
    Path("labels.csv").write_text("file,start_iter,end_iter\nmixtral.csv,3216,3216\n")
    Path("notes.txt").write_text("hello\n")
    part = RunFolder(Path("kept/a")).wandb / "offline-run-1"
    part.mkdir(parents=True)
    (part / "a.wandb").touch()
    Path("kept/a/spec.json").touch()


H100 = ["sweep=parallelism_grid", "model=llama_7b", "cluster=h100", "cluster.nodes=1",
        "train=pretrain"]  # fmt: skip

RAMP = "curriculum.stages.web.batch_ramp={start: 8, increment: 8, samples: 64}"

PRINTED: list[tuple[str, list[str], int]] = [
    # command of the output, words, exit code; RUNS is the folder of runs
    ("launch plan [KEY=VALUE ...]", ["plan", *H100, "price_per_gpu_hour=2"], 0),
    ("launch plan [KEY=VALUE ...]", ["plan", "layout.tp=3"], 0),
    ("launch plan curriculum=NAME", ["plan", "curriculum=four_stage", RAMP], 0),
    ("launch plan --explain ROW", ["plan", "--explain", "1"], 0),
    ("launch plan --explain ROW", ["plan", "--runs", "sheet.csv", "--explain", "1"], 0),
    ("launch plan --runs FILE.csv", ["plan", "--runs", "sheet.csv"], 0),
    ("launch plan --fit FILE.csv", ["plan", "--fit", "measured.csv", "-o", "constants.json"], 0),
    ("launch replay FILE.csv", ["replay", "sheet.csv", "--group-by", "model"], 0),
    ("launch [KEY=VALUE ...]", ["-m", "layout.tp=3,5"], 1),
    ("launch status DIR", ["status", "RUNS/grid"], 0),
    ("launch status DIR", ["status", "RUNS/mixed"], 0),
    ("launch status DIR", ["status", "RUNS"], 0),
    ("launch top DIR", ["top", "RUNS/grid"], 0),
    ("launch top DIR", ["top", "RUNS/staged"], 0),
    ("launch top DIR", ["top", "RUNS/mixed"], 0),
    ("launch table DIR...", ["table", "RUNS/grid"], 0),
    ("launch table DIR...", ["table", "RUNS/imported"], 0),
    ("launch table DIR...", ["table", "RUNS"], 0),
    ("launch table DIR...", ["table", "RUNS/earlier"], 0),
    ("launch report DIR...", ["report", "RUNS/mixed"], 0),
    ("launch best DIR", ["best", "RUNS/grid"], 0),
    ("launch best DIR", ["best", "RUNS/grid", "--by", "mem_max_gib"], 0),
    ("launch spikes FILE.csv|DIR", ["spikes", str(LOSSES)], 0),
    ("launch spikes FILE.csv|DIR", ["spikes", str(LOSSES), "--labels", "labels.csv"], 0),
    ("launch spikes FILE.csv|DIR", ["spikes", "RUNS/mixed"], 0),
    ("launch sample DIR", ["sample", "RUNS/staged"], 0),
    ("launch import LOG...", ["import", str(LOG), "sheet.csv", "-o", "out"], 0),
    ("launch import LOG...", ["import", str(LOG), "notes.txt", "gone.log", "-o", "out"], 1),
    ("launch sync DIR", ["sync", "kept", "--dry-run"], 0),
]


def printed(words: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    """Exit code of a command, and the document that it prints."""
    words = [word.replace("RUNS", str(place), 1) for word in words]
    code = cli.main([*words, "--format", "json"])
    return code, strict(capsys.readouterr().out)


def schema(command: str) -> dict[str, Any]:
    return next(output.schema for output in OUTPUTS if output.command == command)


@pytest.mark.parametrize(("command", "words", "code"), PRINTED)
def test_a_document_is_valid(
    command: str, words: list[str], code: int, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code, document = printed(words, place, capsys)
    assert exit_code == code and document
    jsonschema.validate(document, schema(command))
    jsonschema.validate(document, schema_of(words[0] if words[0] in registry.VERBS else ""))


TABLES = [case for case in PRINTED if case[0].split()[1] in ("table", "status")]


@pytest.mark.parametrize(("command", "words", "code"), TABLES)
def test_the_keys_of_rows_are_all_there_and_in_order(
    command: str, words: list[str], code: int, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, rows = printed(words, place, capsys)
    keys = list(schema(command)["items"]["properties"])
    assert all(list(row) == keys for row in rows)


def test_a_loss_that_is_not_finite(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, rows = printed(["status", "RUNS/mixed"], place, capsys)
    losses = {row["run"]: (row["loss"], row["finite"]) for row in rows}
    assert losses == {
        "fine": (7.0, True), "inf": (None, False), "nan": (None, False), "new": (None, None),
        "torn": (None, None),
    }  # fmt: skip
    assert cli.main(["status", str(place / "mixed")]) == 0
    text = capsys.readouterr().out
    assert " nan " in text and " inf " in text and "finite" not in text


def test_a_batch_that_grows(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, stages = printed(["plan", "curriculum=four_stage", RAMP], place, capsys)
    batches = [(stage["batch_start"], stage["global_batch"]) for stage in stages]
    assert batches == [(8, 16), (None, 16), (None, 16), (None, 16)]
    assert cli.main(["plan", "curriculum=four_stage", RAMP]) == 0
    head, first = capsys.readouterr().out.splitlines()[:2]
    assert " 8..16 " in first and "batch_start" not in head


def test_best_is_a_row_and_the_keys_that_start_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, document = printed(["best", "RUNS/grid"], place, capsys)
    _, rows = printed(["table", "RUNS/grid"], place, capsys)
    assert document["row"] == rows[0]
    assert document["config"]["layout.tp"] == rows[0]["tp"]
    Path("best.json").write_text(json.dumps(document["config"]))
    assert cli.main(["plan", "--config", "best.json", "--format", "json"]) == 0
    assert strict(capsys.readouterr().out)[0]["micro_batch"] == rows[0]["micro_batch"]


def test_a_source_that_fails_is_an_element_too(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["import", str(LOG), "notes.txt", "gone.log", "-o", "out"]
    _, sources = printed(words, place, capsys)
    states = {source["source"]: source["state"] for source in sources}
    assert states == {LOG.name: "new", "notes.txt": "failed", "gone.log": "failed"}
    first = next(source for source in sources if source["state"] == "new")
    assert (first["steps"], first["last_step"], first["outcomes"]) == (4, 40, {"cancelled": 1})


def test_jobs_that_were_ended(
    monkeypatch: pytest.MonkeyPatch, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "cancel", lambda path: ["a", "b"])
    code, rows = printed(["cancel", "RUNS"], place, capsys)
    assert (code, rows) == (0, [{"run": "a"}, {"run": "b"}])
    jsonschema.validate(rows, schema("launch cancel DIR"))


def test_nothing_to_upload(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(["sync", "RUNS/grid"], place, capsys) == (0, [])


MISTAKES = [
    ["plan", "layout.ttp=2"],
    ["plan", "--explain", "9"],
    ["plan", "--runs", "none.csv"],
    ["plan", "--fit", "none.csv"],
    ["replay", "none.csv"],
    ["check", "layout.ttp=2"],
    ["layout.tp=3"],
    ["resume", "none"],
    ["submit"],
    ["submit", "--dry-run"],
    ["status", "none"],
    ["top", "none"],
    ["cancel", "none"],
    ["table", "none"],
    ["table", "RUNS/grid", "--sort", "speed"],
    ["report", "none"],
    ["best", "none"],
    ["best", "RUNS/imported", "--by", "speed"],
    ["spikes", "none"],
    ["sample", "none"],
    ["import", "none"],
    ["import", "sheet.csv", "--log-format", "megatrn"],
    ["sync", "none"],
    ["table", "RUNS/grid", "--no-such-option"],
]


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_mistake_is_one_line_on_stderr(
    words: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("RUNS", str(place), 1) for word in words]
    assert cli.main([*words, "--format", "json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("launch: ")
    assert captured.err.count("\n") == 1


def test_every_verb_has_a_schema_and_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert {output.verb for output in OUTPUTS} == {"", *registry.VERBS}
    for verb in ("", *registry.VERBS):
        with pytest.raises(SystemExit) as end:
            cli.main([*filter(None, [verb]), "--schema"])
        assert not end.value.code
        document = strict(capsys.readouterr().out)
        jsonschema.Draft202012Validator.check_schema(document)
        assert document == schema_of(verb)


def test_a_schema_refuses_what_is_not_printed() -> None:
    table = schema("launch status DIR")
    row: dict[str, Any] = dict.fromkeys(table["items"]["properties"])
    row |= {"run": "a", "state": "ok"}
    jsonschema.validate([row], table)
    for wrong in ({"loss": "nan"}, {"step": 1.5}, {"speed": 1.0}, {"state": None}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate([row | wrong], table)
    del row["step"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([row], table)


def test_every_column_has_a_meaning() -> None:
    assert set(MEANINGS) == {*COLUMNS, *PLANNED, *STAGES}


def test_a_key_has_one_type_wherever_it_is() -> None:
    by_name: dict[str, set[str]] = {}
    of_columns = (schemas._table, schemas._plan, schemas._stages, schemas._status)
    for make in of_columns:
        for name, value in make()["items"]["properties"].items():
            kinds = value["type"] if isinstance(value["type"], list) else [value["type"]]
            by_name.setdefault(name, set()).add(kinds[0])
    assert {name: kinds for name, kinds in by_name.items() if len(kinds) > 1} == {}


def test_every_key_is_documented() -> None:
    assert schemas.tables() in (ROOT / "docs" / "json.md").read_text()
