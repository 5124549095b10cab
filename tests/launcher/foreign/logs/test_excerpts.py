"""Excerpts of real logs: every figure here was taken from the file by eye, or is worked out."""

import re
from pathlib import Path

import pytest

from launcher import foreign
from launcher.foreign.source import SourceRun
from launcher.results.imported import RunFacts
from tests.conftest import ROOT
from tests.launcher.foreign.made import known_fields, source

LOGS = ROOT / "tests" / "data" / "foreign_logs"


def found(name: str) -> SourceRun:
    (run,) = foreign.read(source(LOGS / name))
    return run


def test_megatron_lm() -> None:
    run = found("megatron_lm_cancelled.txt")
    imported, figures = run.imported, run.imported.figures
    assert imported.known == RunFacts(
        backend="megatron-lm",
        params_b=18.440318976,
        nodes=4,
        gpus=16,
        dp=1,
        tp=4,
        pp=4,
        vpp=1,
        cp=1,
        ep=1,
        sp=False,
        zero=0,
        global_batch=4,
        micro_batch=1,
        recompute="full",
        seq_len=1024,
        precision="fp16",
    )
    assert [line["step"] for line in run.lines] == [10, 20, 30, 40]
    assert known_fields(run.lines[0]) == {
        "step": 10,
        "tokens": 40 * 1024,
        "lr": 0.0,
        "step_ms": 2152.2,
        "action": "skip",
        "tokens_per_s": pytest.approx(4 * 1024 / 2.1522),
        "tflops_per_gpu": pytest.approx(13.33, abs=0.01),
    }
    assert run.lines[2]["loss"] == 22.47505 and run.lines[2]["grad_norm"] == 16.999
    assert (imported.format, imported.outcome, imported.job_id) == (
        "megatron",
        "cancelled",
        "1809579",
    )
    assert imported.cause == "JOB 1809579 ON r8i3n1 CANCELLED AT 2021-05-23T08:45:57"
    assert (run.total, run.unread, figures.steps, figures.skipped) == (1000, 0, 40, 19)
    # 29056.0 MB of rank 9 and 30806.0 MB of rank 15.
    assert figures.mem_min_gib == 29056 / 1024 and figures.mem_max_gib == 30806 / 1024
    # The first line has the first ten steps, of which two are untimed.
    assert figures.step_ms_p50 == 1376.1 and figures.loss_first == 12.03115
    assert figures.mfu_pct is None and imported.stated_tflops_per_gpu is None  # of a V100


def test_its_parameters_are_those_that_its_ranks_count() -> None:
    text = (LOGS / "megatron_lm_cancelled.txt").read_text()
    counts = re.findall(r"parallel rank \(\d, \d\): (\d+)", text)
    hidden, layers = 6144, 40
    # Each of 4 tensor ranks has the norms, two biases and the positions whole, and the last
    # stage has the embedding once more.
    twice = 50688 * hidden + 3 * hidden * (layers * (4 + 2) + 2 + 1024)
    params = found("megatron_lm_cancelled.txt").imported.known.params_b
    assert params is not None and len(counts) == 16
    assert round(params * 1e9) == sum(map(int, counts)) - twice


def test_megatron_deepspeed() -> None:
    run = found("megatron_deepspeed_time_limit.txt")
    imported, figures = run.imported, run.imported.figures
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
    )
    assert [line["stated_tflops_per_gpu"] for line in run.lines] == [41.31, 39.66, 39.74, 40.01]
    assert [line["loss"] for line in run.lines] == [12.52221, 12.5177, 40.75232, 38.99556]
    assert (imported.outcome, imported.hosts) == ("timeout", ("r6i4n5", "r7i5n3"))
    assert (
        imported.cause
        == "STEP 1999616.0 ON r6i4n5 CANCELLED AT 2021-05-27T21:42:11 DUE TO TIME LIMIT"
    )
    # Without the first two steps; its own definition counts recomputation.
    assert figures.step_ms_p50 == (128642.7 + 127766.0) / 2
    assert imported.stated_tflops_per_gpu == pytest.approx((39.74 + 40.01) / 2)
    assert figures.tflops_per_gpu == pytest.approx(30.19, abs=0.01)
    assert (figures.mem_max_gib, figures.mem_min_gib) == (28560 / 1024, None)
    assert imported.seconds == 601 and imported.ended == 1622151731  # 21:32:10 to 21:42:11


def test_hugging_face_on_deepspeed() -> None:
    run = found("huggingface_done.txt")
    imported = run.imported
    assert imported.known == RunFacts(
        backend="deepspeed",
        gpus=16,
        dp=16,
        zero=3,
        global_batch=64,
        micro_batch=4,
        precision="fp16",
    )
    # Four processes have a bar each; step=0 of DeepSpeed's engine is none.
    assert [line["step"] for line in run.lines] == list(range(1, 17))
    assert [line["step_ms"] for line in run.lines[:3]] == [58000.0, 62000.0, 60000.0]
    assert (imported.format, imported.outcome, imported.cause, imported.remark) == (
        "huggingface",
        "ok",
        None,
        None,
    )


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.txt")), ids=lambda path: path.name)
def test_no_line_is_left_unread(path: Path) -> None:
    assert found(path.name).unread == 0
