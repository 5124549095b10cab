"""Runs as frames: whatever state their folders are in, each is a row.

Modules: analysis.runs, analysis.best, analysis.loading.cache, analysis.loading.frames,
analysis.loading.parallel, analysis.loading.rows, analysis.loading.sweeps, launcher.results.find.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import analysis
from analysis.loading import parallel, sweeps
from analysis.loading.rows import of_folder
from launcher.errors import ConfigError
from launcher.results import imported, record
from launcher.results.imported import Imported, RunFacts
from launcher.results.record import Figures, RunRecord
from launcher.results.run_folder import RunFolder, Status
from tests.analysis.grids import LAYOUTS, made, point, run
from tests.conftest import ROOT


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return made(tmp_path / "s")


def test_a_table_of_folders_alone(sweep: Path) -> None:
    table = analysis.load(sweep).table()
    assert len(table) == len(LAYOUTS)
    assert set(table["outcome"]) == {"ok"}
    assert sorted(table["row"]) == [*range(1, 9)]
    speeds = list(table["tokens_per_s"])
    assert speeds == sorted(speeds, reverse=True)
    best = table.iloc[0]
    assert best["folder"] == str(sweep / point(LAYOUTS[0]).name)
    assert best["step_ms_error"] == pytest.approx(0.3, abs=0.2)  # 2 % of 100 ms, 62 steps
    assert (best["mem_max_gib"], best["seconds"], best["hosts"]) == (40.0, 90.0, "n1")


def test_best_by_any_column(sweep: Path) -> None:
    runs = analysis.load(sweep)
    assert runs.best()["tp"] == 1
    assert runs.best("mem_max_gib")["tp"] == 2
    with pytest.raises(ConfigError, match=r"^by: no 'tokens'"):
        runs.best("tokens")
    with pytest.raises(ConfigError, match=r"^no run that went well has a power_max_w$"):
        runs.best("power_max_w")
    with pytest.raises(ConfigError, match=r"^by: no 'backend'"):
        runs.best("backend")
    assert runs.best("mem_gib")["tp"] == 2  # as the table calls it


def test_steps_events_and_attempts(sweep: Path) -> None:
    first = RunFolder(sweep / point(LAYOUTS[0]).name)
    first.event_log.write_text('{"kind": "loss_spike", "step": 3, "time": 101.5, "of": "loss"}\n')
    runs = analysis.load(sweep)
    steps = runs.steps()
    assert len(steps) == 64 * len(LAYOUTS)
    assert list(runs.steps([str(first.path)])["step"]) == [*range(1, 65)]
    assert runs.steps(["nothing"]).empty
    (event,) = runs.events().to_dict(orient="records")
    assert (event["folder"], event["kind"], event["step"]) == (str(first.path), "loss_spike", 3)
    attempts = runs.attempts()
    assert len(attempts) == len(LAYOUTS) and set(attempts["gpus"]) == {8}
    assert runs.gpu_hours == pytest.approx(len(LAYOUTS) * 8 * 90 / 3600)


def test_a_run_by_itself(sweep: Path) -> None:
    path = sweep / point(LAYOUTS[3]).name
    (row,) = analysis.load(path).table().to_dict(orient="records")
    assert (row["outcome"], row["micro_batch"], row["folder"]) == ("ok", 2, str(path))


def test_no_runs(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path, "no runs below this folder"),
        (tmp_path / "x", "is not a folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            analysis.load(path)


def cut_metrics(folder: RunFolder) -> None:
    folder.metrics.write_text(folder.metrics.read_text()[:-20])


def damage_metrics(folder: RunFolder) -> None:
    folder.metrics.write_text(folder.metrics.read_text().replace('"step": 7,', '"step": 7;'))


def another_version(folder: RunFolder) -> None:
    data = json.loads((folder.path / "spec.json").read_text())
    (folder.path / "spec.json").write_text(json.dumps(data | {"quantum": True}))


def half_a_spec(folder: RunFolder) -> None:
    (folder.path / "spec.json").write_text('{"model": ')


def binary(folder: RunFolder) -> None:
    (folder.path / "spec.json").write_bytes(b"\xff\xfe\x00")


BROKEN: list[tuple[Callable[[RunFolder], object], str, str | None]] = [
    (cut_metrics, "ok", "metrics.jsonl ends at step 63 of 64"),
    (damage_metrics, "ok", "metrics.jsonl:7 cannot be read"),
    (lambda f: f.metrics.unlink(), "ok", "metrics.jsonl has no steps"),
    (lambda f: (f.path / "result.json").write_text("[]"), "failed", "result.json: is no mapping"),
    (lambda f: f.event_log.write_text('3\n'), "failed", "events.jsonl:1: is no event"),
    (lambda f: f.event_log.write_text('{"kind": "skip"}\n'), "failed", "events.jsonl:1: skip at no step"),
    (lambda f: (f.path / "spec.json").unlink(), "unreadable", "spec.json is missing"),
    (half_a_spec, "unreadable", "spec.json: Expecting value: line 1 column 11 (char 10)"),
    (binary, "unreadable", "spec.json: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    (another_version, "unreadable", "spec.json: quantum: no such key; known: backend, cluster, data, layout, model, stage, train; another version may have written it"),
    (lambda f: (f.path / "status.json").write_text("[]"), "failed", "status.json: config: expected a mapping, got []"),
    (lambda f: (f.path / "status.json").unlink(), "ok", "status.json is missing"),
    (lambda f: f.event_log.write_text("no\n{}\n"), "failed", "events.jsonl:1: Expecting value: line 1 column 1 (char 0)"),
]  # fmt: skip


@pytest.mark.parametrize(("breaks", "outcome", "message"), BROKEN)
def test_a_broken_folder_is_a_row_that_says_why(
    sweep: Path, breaks: Callable[[RunFolder], object], outcome: str, message: str | None
) -> None:
    broken = point(LAYOUTS[2])
    (sweep / "a foreign file").write_text("?")
    (sweep / "foreign").mkdir()
    breaks(RunFolder(sweep / broken.name))
    table = analysis.load(sweep).table("row")
    assert len(table) == len(LAYOUTS)
    rows = table.to_dict(orient="records")
    (row,) = [row for row in rows if row["folder"] == str(sweep / broken.name)]
    text = row["remark"] if row["outcome"] == "ok" else row["cause"]
    assert (row["outcome"], text if isinstance(text, str) else None) == (outcome, message)
    assert sum(row["outcome"] == "ok" for row in rows) >= len(LAYOUTS) - 1


def test_a_folder_that_may_not_be_read(sweep: Path) -> None:
    """As another user: nothing is forbidden to root."""
    if os.getuid():
        pytest.skip("needs root to become somebody else")
    hidden = sweep / point(LAYOUTS[5]).name
    hidden.chmod(0)
    for path in (*sweep.parents, sweep):
        if path.stat().st_mode & 0o005 != 0o005 and path.is_relative_to(tempfile.gettempdir()):
            path.chmod(path.stat().st_mode | 0o055)
    code = (
        "import os, sys; import analysis, pandas, analysis.runs; os.setgid(65534); os.setuid(65534)\n"
        "import json; rows = analysis.load(sys.argv[1]).table().to_dict(orient='records')\n"
        "print(json.dumps([[row['outcome'], row['cause']] for row in rows], default=str))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(sweep)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    hidden.chmod(0o755)
    assert process.returncode == 0, process.stderr
    rows = json.loads(process.stdout)
    assert len(rows) == len(LAYOUTS)
    assert rows.count(["unreadable", "Permission denied"]) == 1, rows


def test_what_runs_now_is_no_row_unless_asked_for(sweep: Path) -> None:
    now = RunFolder(sweep / point(LAYOUTS[1]).name)
    now.write_status(Status(state="running", started=5.0))
    runs = analysis.load(sweep)
    assert len(runs.table()) == len(LAYOUTS) - 1
    assert list(runs.table(unfinished=True)["outcome"])[-1] == "running"
    assert runs.notes == [f"{sweep}: 1 of 8 points have not been run to their end yet: 1 running"]


def test_a_rejected_point_has_its_record_and_a_run_its_place(sweep: Path) -> None:
    none = point(LAYOUTS[0])
    unfinished = point(LAYOUTS[1])
    rejected = RunRecord(spec=point(LAYOUTS[7]), outcome="rejected", cause="no", row=9)
    stale = RunRecord(spec=none, outcome="oom", row=4, remark="lr 1", figures=Figures(steps=1))
    record.write(sweep / "records.jsonl", [rejected, stale])
    for path in (sweep / rejected.spec.name).iterdir():
        path.unlink() if path.is_file() else path.rmdir()
    (sweep / rejected.spec.name).rmdir()
    rows = {row["spec_id"]: row for row in analysis.load(sweep).table().to_dict(orient="records")}
    assert (rows[rejected.spec.id]["outcome"], rows[rejected.spec.id]["cause"]) == (
        "rejected",
        "no",
    )
    row = rows[none.id]
    assert (row["outcome"], row["row"], row["remark"], row["steps"]) == ("ok", 4, "lr 1", 64)
    assert rows[unfinished.id]["row"] == 2  # by points.json


def test_only_what_is_new_is_read(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = analysis.load(sweep).table("row")
    read_names: list[list[str]] = []

    def read(paths: list[Path]) -> list[dict[str, object]]:
        read_names.append([path.name for path in paths])
        return [of_folder(path) for path in paths]

    monkeypatch.setattr(sweeps.parallel, "read", read)
    assert analysis.load(sweep).table("row").equals(first)
    new = point(LAYOUTS[0].__class__(tp=4))
    run(sweep, new, [50.0] * 64)
    assert len(analysis.load(sweep).table()) == len(first) + 1
    changed = RunFolder(sweep / point(LAYOUTS[4]).name)
    cut_metrics(changed)
    analysis.load(sweep).table()
    assert read_names == [[], [new.name], [changed.path.name]]
    (sweep / ".table.json").write_text("{")
    assert len(analysis.load(sweep).table()) == len(first) + 1
    assert len(read_names[-1]) == len(first) + 1


def test_processes_that_share_the_reading(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [sweep / point(layout).name for layout in LAYOUTS]
    alone = parallel.read(paths)
    monkeypatch.setattr(parallel, "ALONE", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    assert parallel.read(paths) == alone
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert parallel.read(paths) == alone


def test_a_link_to_itself_hides_nothing(sweep: Path) -> None:
    (sweep / "loop").symlink_to(sweep / "loop")
    assert len(analysis.load(sweep).table()) == len(LAYOUTS)


def test_what_could_not_be_read_is_tried_again(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", away)
        assert set(analysis.load(sweep).table()["outcome"]) == {"failed"}
    assert set(analysis.load(sweep).table()["outcome"]) == {"ok"}


def test_a_sweep_below_another(sweep: Path) -> None:
    """As a sheet is below the folder of imported logs."""
    made(sweep / "more")
    assert list(analysis.load(sweep).table()["sweep"].value_counts()) == [len(LAYOUTS)] * 2


def test_a_name_that_is_no_text(sweep: Path) -> None:
    os.rename(sweep / point(LAYOUTS[0]).name, os.fsencode(sweep) + b"/bad\xff")
    runs = analysis.load(sweep)
    (name,) = [name for name in runs.table()["folder"] if "bad" in name]
    assert name == f"{sweep}/bad\\udcff"
    assert len(runs.steps([name])) == 64
    assert runs.best()["folder"] == name and "layout.tp: 1" in runs.best_config()


def test_the_same_folder_counts_once(sweep: Path) -> None:
    folder = sweep / point(LAYOUTS[0]).name
    runs = analysis.load(sweep.parent, sweep, sweep / ".." / "s", folder)
    assert len(runs.table()) == len(LAYOUTS)
    assert repr(runs) == f"Runs({sweep.parent}, {sweep}, {sweep}/../s, {folder}): 8 points, 8 ok"
    assert runs.price_per_gpu_hour is None
    assert len(analysis.load(sweep, sweep).table()) == len(LAYOUTS)
    assert len(analysis.load(folder, folder).table()) == 1


def test_the_best_has_to_be_here(sweep: Path) -> None:
    best = RunRecord(
        spec=point(LAYOUTS[0].__class__(tp=8)),
        outcome="ok",
        row=9,
        figures=Figures(tokens_per_s=1e9),
    )
    record.write(sweep / "records.jsonl", [best])
    with pytest.raises(ConfigError, match=r"^the best, row 9, has no folder here"):
        analysis.load(sweep).best_config()


def test_imported_runs_are_rows(tmp_path: Path) -> None:
    folder = tmp_path / "imported" / "log"
    folder.mkdir(parents=True)
    facts = RunFacts(backend="megatron-lm", tp=4, pp=8, global_batch=1024)
    imported.write(
        folder,
        Imported(
            format="megatron-lm",
            source="a.out",
            sha256="0" * 64,
            known=facts,
            outcome="timeout",
            cause="DUE TO TIME LIMIT",
            figures=Figures(steps=62),
            stated_tflops_per_gpu=41.5,
        ),
    )
    (folder / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 12.4, "stated_tflops_per_gpu": 41}\n'
    )
    runs = analysis.load(tmp_path)
    assert runs.gpu_hours is None
    (row,) = runs.table().to_dict(orient="records")
    assert (row["outcome"], row["tp"], row["pp"], row["stated_tflops_per_gpu"]) == (
        "timeout",
        4,
        8,
        41.5,
    )
    assert list(runs.steps()["stated_tflops_per_gpu"]) == [41.0]
    (folder / "imported.json").write_text("{}")
    (row,) = analysis.load(tmp_path).table().to_dict(orient="records")
    assert row["outcome"] == "unreadable"
    assert row["cause"] == "imported.json: format: is required; another version may have written it"


def test_what_an_hour_costs(sweep: Path, tmp_path: Path) -> None:
    assert analysis.load(sweep).price_per_gpu_hour is None
    overrides = ["price_per_gpu_hour=2.5", "a=[1"]  # of Hydra's words some are no YAML
    (sweep / "request.json").write_text(json.dumps({"overrides": overrides}))
    assert analysis.load(sweep).price_per_gpu_hour == 2.5
    second = made(tmp_path / "other")
    assert analysis.load(sweep, second).price_per_gpu_hour is None


def test_the_best_starts_the_real_run(sweep: Path, tmp_path: Path) -> None:
    from launcher.request.compose import compose
    from launcher.request.config_file import with_file

    (sweep / "request.json").write_text(json.dumps({"overrides": ["cluster=h100", "sweep=x"]}))
    path = tmp_path / "best.yaml"
    path.write_text(analysis.load(sweep).best_config())
    request = compose(
        with_file(str(path), ["layout.micro_batch=4", "checkpoint_every=9"]), False, None
    )
    best = point(LAYOUTS[0])
    assert (request.model, request.train, request.backend) == (best.model, best.train, "megatron")
    assert request.cluster == best.cluster and request.scheduler.name == "slurm"
    assert (request.layout.micro_batch, request.checkpoint_every) == (4, 9)
    changed = compose(with_file(str(path), ["model=tiny", "train.optimizer.lr=1e-3"]), False, None)
    assert (changed.model.name, changed.train.optimizer.lr) == ("tiny", 1e-3)


NO_REQUESTS = [
    ("layout: {ttp: 2}", "layout.ttp: no such key; did you mean 'layout.tp'?"),
    ("- a", "is no mapping of keys to values"),
    ("a: [", "while parsing a flow node expected the node content, but found '<stream end>'"),
]


@pytest.mark.parametrize(("text", "message"), NO_REQUESTS)
def test_a_file_that_is_no_request(tmp_path: Path, text: str, message: str) -> None:
    from launcher.request.config_file import with_file

    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        with_file(str(path), [])
    assert str(raised.value).startswith(f"--config: {path}: {message}")
