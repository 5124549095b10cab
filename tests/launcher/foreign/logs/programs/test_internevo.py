"""Step lines of InternEvo, with spaces as today and with commas as before."""

from pathlib import Path
from typing import Any

import pytest

from tests.launcher.foreign.made import known_facts, known_fields, read

ENVIRONMENT = (
    "2024-03-01 10:00:00,000\tINFO launch.py:503 in initialize_distributed_env -- Distributed environment is"
    " initialized, data parallel size: 4, pipeline parallel size: 2, tensor parallel size: 1, weight parallel size: 1\n"
)
LINE = (
    "2024-03-01T10:00:0{0}.225+08:00 INFO [pipeline.py, line 600, in record_current_batch_training_metrics] -"
    " pid=7 : tflops=150.5 step={0} loss={1} tgs (tokens/gpu/second)=2000.0 tgs/last_tgs_1=2000.1"
    " tgs/tgs_all=1900.0 lr=4.0000000000000003e-07 loss_scale=65536.0 grad_norm={{'0_default': {2}, '1_fp32': 3.0}}"
    " micro_num=4 num_consumed_tokens={3} inf_nan_skip_batches={4} num_samples_in_batch=19 largest_length=2048"
    " adam_beta2=0.95 fwd_bwd_time=6.87 acc=0.0 perplexity=112181.7188 acc/en=0.0 loss_from_metric=11.6 loss/cn=nan\n"
)
BEFORE = (
    "2023-07-07 12:28:5{0},802\tINFO train.py:323 in record_current_batch_training_metrics -- tflops=63.5,step={0},"
    "loss={1},tgs (tokens/gpu/second)=1000.0,lr=4e-07,loss_scale=65536.0,grad_norm={2},micro_num=4,"
    "num_consumed_tokens={3},inf_nan_skip_batches=0,num_samples_in_batch=19,largest_length=2048,acc=0.0\n"
)
TOTAL = "2024-03-01 10:00:00,000 INFO config: data=dict(seq_len=2048, total_steps=2, micro_num=4)\n"
FACTS = {"gpus": 8, "dp": 4, "pp": 2, "tp": 1}


@pytest.mark.parametrize(
    ("text", "facts", "last", "outcome"),
    [
        (
            ENVIRONMENT + LINE.format(0, 11.5, 9.25, 131072, 0) + LINE.format(1, 11.25, 8.5, 262144, 0),
            FACTS,
            {"step": 1, "tokens": 262144, "loss": 11.25, "grad_norm": 8.5, "lr": 4.0000000000000003e-07,
             "step_ms": 8192.0, "tokens_per_s": 16000.0, "stated_tflops_per_gpu": 150.5},
            "failed",
        ),
        (
            TOTAL + ENVIRONMENT + LINE.format(0, 11.5, 9.25, 131072, 0) + LINE.format(1, 11.25, 8.5, 262144, 0),
            FACTS,
            {"step": 1, "tokens": 262144, "loss": 11.25, "grad_norm": 8.5, "lr": 4.0000000000000003e-07,
             "step_ms": 8192.0, "tokens_per_s": 16000.0, "stated_tflops_per_gpu": 150.5},
            "ok",
        ),
        (
            BEFORE.format(0, 11.5, 63.5, 131072) + BEFORE.format(1, 11.25, 62.5, 262144), {},
            {"step": 1, "tokens": 262144, "loss": 11.25, "grad_norm": 62.5, "lr": 4e-07,
             "stated_tflops_per_gpu": 63.5, "tokens_per_s_per_gpu": 1000.0},
            "failed",
        ),
        (
            LINE.format(0, "nan", "nan", 131072, 0), {},
            {"step": 0, "tokens": 131072, "loss": "nan", "grad_norm": "nan", "lr": 4.0000000000000003e-07,
             "stated_tflops_per_gpu": 150.5, "tokens_per_s_per_gpu": 2000.0},
            "diverged",
        ),
        (ENVIRONMENT + "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n",
         FACTS, None, "oom"),
        (  # it goes on from a checkpoint: of the first step the tokens are not known
            ENVIRONMENT + LINE.format(5, 3.5, 1.25, 786432, 0), FACTS,
            {"step": 5, "tokens": 786432, "loss": 3.5, "grad_norm": 1.25, "lr": 4.0000000000000003e-07,
             "tokens_per_s": 16000.0, "stated_tflops_per_gpu": 150.5},
            "failed",
        ),
    ],
)  # fmt: skip
def test_logs(
    tmp_path: Path, text: str, facts: dict[str, Any], last: dict[str, Any] | None, outcome: str
) -> None:
    run = read(tmp_path, text)
    assert known_facts(run) == {"backend": "internevo", **facts}
    assert [known_fields(line) for line in run.lines[-1:]] == ([last] if last else [])
    assert (run.imported.format, run.imported.outcome, run.unread) == ("internevo", outcome, 0)


def test_skipped_batches_are_counted_once(tmp_path: Path) -> None:
    text = "".join(
        LINE.format(n, 3.0, 1.0, 1000 * n, skipped) for n, skipped in ((1, 1), (2, 1), (3, 3))
    )
    assert read(tmp_path, text).imported.figures.skipped == 3


def test_a_line_without_its_figures_is_counted(tmp_path: Path) -> None:
    odd = "tflops=? step=2 loss=? tgs (tokens/gpu/second)=? lr=1\n"
    reordered = "step=3 tgs (tokens/gpu/second)=1000.0 loss=3\n"
    run = read(tmp_path, LINE.format(1, 3.0, 1.0, 1000, 0) + odd + reordered)
    assert (len(run.lines), run.unread) == (1, 2)
