"""Sheets kept by hand, as runs.

Modules: launcher.foreign.sheet, launcher.foreign.sheet_columns.
"""

from collections import Counter
from pathlib import Path

import pytest

from launcher import foreign
from launcher.errors import ReadError
from launcher.foreign.source import SourceRun
from launcher.results.imported import RunFacts
from launcher.results.record import Figures
from launcher.sheets import predictions
from tests.conftest import ROOT
from tests.launcher.foreign.made import source

GRID = ROOT / "tests" / "data" / "tanuki_phase1_grid.csv"


def rows(path: Path, text: str) -> list[SourceRun]:
    path.write_text(text, encoding="utf-8")
    return foreign.read(source(path))


def test_a_grid_of_64_real_runs() -> None:
    imported = [run.imported for run in foreign.read(source(GRID))]
    counts = Counter(run.outcome for run in imported)
    # As `cut -d, -f14 | sort | uniq -c` counts them.
    assert counts == {"ok": 37, "oom": 21, "assertion": 4, "hang": 2}
    assert [run.source for run in imported[:2]] == [
        "tanuki_phase1_grid.csv row 1",
        "tanuki_phase1_grid.csv row 2",
    ]
    assert sum(run.stated_tflops_per_gpu is not None for run in imported) == 37


def test_its_rows() -> None:
    by_remark = {
        run.imported.remark or run.imported.cause: run.imported
        for run in foreign.read(source(GRID))
    }
    imported = by_remark["llama 13B; 16 days"]
    assert imported.known == RunFacts(
        nodes=3,
        global_batch=1536,
        micro_batch=6,
        params_b=13.0,
        zero=1,
        pp=6,
        tp=1,
        recompute="none",
    )
    assert imported.figures == Figures(
        mem_min_gib=71.0, mem_max_gib=79.0, power_min_w=600.0, power_max_w=700.0
    )
    assert (imported.outcome, imported.cause, imported.stated_tflops_per_gpu) == ("ok", None, 422.0)
    stuck = by_remark["stuck after out of memory"]
    assert (stuck.outcome, stuck.cause) == ("hang", "stuck after out of memory")


WORDS = [
    *((text, "ok") for text in (
        "OK", "okay", "passed", "passed; no OOM", "no error", "ran without error", "no errors or NaNs",
        "Completed", "done", "error-free", "did not crash", "\u2713", "yes", "成功", "finished, no hang",
    )),
    *((text, "failed") for text in (
        "not completed", "incomplete", "unfinished", "not finished", "unsuccessful", "did not pass",
        "not ok", "didn't finish", "never finished", "aborted", "running", "in progress", "未完了",
        "completed with errors", "partial", "purple", "ran into something", "no success",
    )),
    *((text, "cancelled") for text in ("killed", "stopped", "interrupted", "Cancelled")),
    ("not completed (OOM)", "oom"), ("killed: out of memory", "oom"), ("no error, hung", "hang"),
    ("pending", "pruned"), ("not run", "pruned"), ("done, loss NaN", "diverged"),
    ("", "ok"), ("-", "ok"), ("312.5", "ok"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "outcome"), WORDS)
def test_words_of_a_status_beside_a_speed(tmp_path: Path, text: str, outcome: str) -> None:
    (run,) = rows(tmp_path / "runs.csv", f'gpus,tflops,status\n8,312,"{text}"\n')
    assert run.imported.outcome == outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("started from a checkpoint, running on 2 nodes", "ok"), ("stopped after 100 steps", "ok"),
     ("no OOM", "ok"), ("did not finish", "failed"), ("OOM in eval", "oom")],
)  # fmt: skip
def test_words_of_notes_beside_a_speed(tmp_path: Path, text: str, outcome: str) -> None:
    (run,) = rows(tmp_path / "runs.csv", f'gpus,tflops,notes\n8,312,"{text}"\n')
    assert run.imported.outcome == outcome


ROWS = [
    ("result", "OOM", "oom", "OOM"),
    ("status", "成功 success", "ok", None),
    ("outcome", "Timeout", "timeout", None),
    ("result", "crashed", "failed", "crashed"),
    ("notes", "RuntimeError: CUDA out of memory. Tried", "oom", "RuntimeError: CUDA out of memory. Tried"),
    ("notes", "stuck at step 3", "hang", "stuck at step 3"),
    ("oom", "yes", "oom", "out of memory"),
    ("oom", "0", "ok", None),
    ("tflops", "312", "ok", None),
    ("notes", "tried twice", "failed", "tried twice"),
    ("seed", "7", "failed", "the row does not say what became of it"),
]  # fmt: skip


@pytest.mark.parametrize(("title", "text", "outcome", "cause"), ROWS)
def test_outcomes(tmp_path: Path, title: str, text: str, outcome: str, cause: str | None) -> None:
    (run,) = rows(tmp_path / "runs.csv", f"gpus,tp,{title}\n8,2,{text}\n")
    assert run.imported.outcome == outcome
    assert run.imported.cause == (cause if outcome != text.lower() else None)


def test_speed_of_a_known_model(tmp_path: Path) -> None:
    text = '# ours\nModel,GPUs,Seq Length,Batch Size,tgs,MFU\nllama-7b,16,4096,512,"3,000",44\n'
    (run,) = rows(tmp_path / "runs.csv", text)
    per_token = 6 * (6738415616 - 32000 * 4096 - 65 * 4096) + 6 * 32 * 4096 * 4096
    assert run.imported.figures == Figures(
        tokens_per_s=48000.0, mfu_pct=44.0, tflops_per_gpu=pytest.approx(3000 * per_token / 1e12)
    )
    assert run.imported.outcome == "ok"


def workbook(path: Path) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "empty"
    sheet = book.create_sheet("runs")
    for row in (
        ["# of last week"],
        ["model", "n_gpus", "tp", "step_s", "outcome"],
        ["llama_7b", 8, 2.0, 3.25, "ok"],
        [],
        ["llama_7b", 16, 4, None, "oom"],
    ):
        sheet.append(row)
    book.save(path)
    return path


def test_a_workbook(tmp_path: Path) -> None:
    imported = [run.imported for run in foreign.read(source(workbook(tmp_path / "runs.xlsx")))]
    assert [(run.known.gpus, run.known.tp, run.outcome) for run in imported] == [
        (8, 2, "ok"),
        (16, 4, "oom"),
    ]
    assert imported[0].figures == Figures(step_ms_p50=3250.0)


def test_a_workbook_is_planned_as_a_csv_file_is(tmp_path: Path) -> None:
    text = "model,n_gpus,tp,step_s,outcome\nllama_7b,8,2,3.25,ok\nllama_7b,16,4,,oom\n"
    (tmp_path / "runs.csv").write_text(text)
    plain, book = (
        predictions.read(path) for path in (tmp_path / "runs.csv", workbook(tmp_path / "runs.xlsx"))
    )
    assert (book.written, book.notes) == (plain.written, plain.notes)


def test_what_is_no_workbook(tmp_path: Path) -> None:
    path = tmp_path / "runs.xlsx"
    path.write_text("model,tp\n")
    with pytest.raises(ReadError, match=r"runs\.xlsx: no workbook: "):
        foreign.read(source(path))


def test_no_openpyxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs.xlsx"
    path.write_text("")
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(ReadError, match=r"needs openpyxl: pip install 'megalaunch\[import\]'"):
        foreign.read(source(path))


def test_recomputation_and_stages_of_our_own_table(tmp_path: Path) -> None:
    text = (
        "backend,pp,pipeline_layout,recompute,recompute_modules,recompute_layers,recompute_method\n"
        "megatron,2,Et*3|tL,selective,layernorm mlp,,\nmegatron,2,,full,,3,block\n"
        "megatron,2,,selective,core_attn,,\n"
    )
    facts = [run.imported.known for run in rows(tmp_path / "t.csv", text)]
    assert [
        (f.pp, f.pipeline_layout, f.recompute, f.recompute_modules, f.recompute_layers,
         f.recompute_method)
        for f in facts
    ] == [
        (2, "Et*3|tL", "selective", "layernorm mlp", None, None),
        (2, None, "full", None, 3, "block"),
        (2, None, "selective", None, None, None),
    ]  # fmt: skip


EXPORT = (
    "row,outcome,cause,remark,backend,model,params_b,nodes,gpus,dp,tp,pp,vpp,cp,ep,sp,zero,"
    "global_batch,micro_batch,recompute,seq_len,precision,reduce_precision,tflops_per_gpu,"
    "stated_tflops_per_gpu,mfu_pct,tokens_per_s,step_ms_p50,step_ms_p95,mem_min_gib,mem_max_gib,loss_first,loss_last,"
    "grad_norm_max,skipped,steps,seconds,job_id,hosts\n"
    "1,timeout,JOB 7 DUE TO TIME LIMIT,a remark,megatron-deepspeed,,51.970064384,16,64,16,4,1,1,1,1,"
    "False,3,768,48,full,1024,fp16,fp32,30.187,39.875,24.1,6134.2068,128204.35,128598.86,27.5,27.890625,"
    "12.6,12.52221,38.99556,0,4,601.0,1999616,r6i4n5 r7i5n3\n"
)


def test_a_table_of_ours_comes_back_as_it_was(tmp_path: Path) -> None:
    (run,) = rows(tmp_path / "t.csv", EXPORT)
    imported = run.imported
    assert imported.known == RunFacts(
        backend="megatron-deepspeed",
        params_b=51.970064384,
        nodes=16,
        gpus=64,
        dp=16,
        tp=4,
        pp=1,
        vpp=1,
        cp=1,
        ep=1,
        sp=False,
        zero=3,
        global_batch=768,
        micro_batch=48,
        recompute="full",
        seq_len=1024,
        precision="fp16",
        reduce_precision="fp32",
    )
    assert imported.figures == Figures(
        steps=4,
        tokens_per_s=6134.2068,
        step_ms_p50=pytest.approx(128204.35),
        step_ms_p95=128598.86,
        tflops_per_gpu=30.187,
        mfu_pct=24.1,
        mem_min_gib=27.5,
        mem_max_gib=27.890625,
        loss_first=12.6,
        loss_last=12.52221,
        grad_norm_max=38.99556,
        skipped=0,
    )
    assert (imported.outcome, imported.cause, imported.remark) == (
        "timeout",
        "JOB 7 DUE TO TIME LIMIT",
        "a remark",
    )
    assert (imported.stated_tflops_per_gpu, imported.seconds, imported.job_id) == (
        39.875,
        601,
        "1999616",
    )
    assert imported.hosts == ("r6i4n5", "r7i5n3")
    assert run.remarks == ("not read: row",)


def test_what_people_call_their_figures(tmp_path: Path) -> None:
    text = "GPUs,tensor,pipeline,Global BS,Tokens/sec,s/it,peak_mem_mb,final loss\n16,2,4,64,48k,3.5,40000,2.25\n"
    (run,) = rows(tmp_path / "runs.csv", text)
    assert run.imported.known == RunFacts(gpus=16, tp=2, pp=4, global_batch=64)
    assert run.imported.figures == Figures(
        tokens_per_s=48000, step_ms_p50=3500, mem_max_gib=40, loss_last=2.25
    )
    assert (run.imported.outcome, run.remarks) == ("ok", ())


def test_a_batch_of_tokens_is_no_count_of_sequences(tmp_path: Path) -> None:
    runs = rows(tmp_path / "runs.csv", "gpus,gbs,seq_len\n8,4M tokens,4096\n8,4M tokens,\n")
    assert [run.imported.known.global_batch for run in runs] == [1024, None]


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    runs = rows(
        tmp_path / "runs.csv",
        "gpus,TP size,who,mood,empty,tgs\n8,eight,a,b,,OOM\n8,2,c,d,,-\n8,x,c,d,,y\n",
    )
    assert runs[0].remarks == (
        "not read: who, mood",
        "row 1: TP size 'eight' is no number; row 1: tgs 'OOM' is no number; row 3: TP size 'x' is no"
        " number, and 1 more such cells",
    )
    assert runs[0].imported.outcome == "oom"


TITLES = ["model", "n_gpus", "tp", "outcome"]


def test_a_workbook_whose_runs_are_below_a_title_of_another_sheet(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["Read me"])
    book.active.append(["what", "who"])
    sheet = book.create_sheet("runs")
    for row in (["Our runs of May"], [None, "on H100"], TITLES, ["llama_7b", 8, 2, "ok"]):
        sheet.append(row)
    book.save(tmp_path / "runs.xlsx")
    (run,) = foreign.read(source(tmp_path / "runs.xlsx"))
    assert (run.imported.known.model, run.imported.known.gpus) == ("llama_7b", 8)


def test_a_title_above_a_csv_file(tmp_path: Path) -> None:
    text = "Model\nOur runs,of May\n" + ",".join(TITLES) + "\nllama_7b,8,2,ok\n"
    (run,) = rows(tmp_path / "runs.csv", text)
    assert run.imported.known.tp == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04rest", r"runs\.csv: it is a workbook: give it the ending \.xlsx"),
        (b"\xd0\xcf\x11\xe0", r"runs\.csv: it is an old workbook"),
        (b"", r"runs\.csv: no rows below its first line"),
        (b"model,gpus,tp,pp\nTotal,8,,\n", r"runs\.csv: none of its rows is a run"),
    ],
)
def test_what_is_no_csv_file(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(data)
    with pytest.raises(ReadError, match=message):
        foreign.read(source(path))
