"""Blocks of Composer's console logger, and the configuration of llm-foundry."""

from pathlib import Path
from typing import Any

import pytest

from tests.launcher.foreign.made import known_facts, known_fields, read

CONFIG = """\
2024-01-19 15:51:44,402: rank0[11406][MainThread]: INFO: composer.trainer.trainer: Run name: any
******************************
Config:
max_seq_len: 2048
global_train_batch_size: 256
device_train_microbatch_size: 16
max_duration: 3ba
precision: amp_bf16
fsdp_config:
  sharding_strategy: FULL_SHARD
  activation_checkpointing: true
model:
  d_model: 768
  n_heads: 12
  n_layers: 12
  expansion_ratio: 4
  vocab_size: 50368
n_params: 125311488

******************************
"""


def block(head: str, loss: float | None = 10.5, **figures: float) -> str:
    named = {name.replace("__", "/"): value for name, value in figures.items()}
    named |= {"loss/train/total": loss, "metrics/train/LanguageCrossEntropy": loss} if loss else {}
    lines = "".join(f"\t Train {name}: {value:.4f}\n" for name, value in named.items())
    return f"{head}:\n{lines}"


SPEED = {
    "throughput__batches_per_sec": 0.5, "throughput__samples_per_sec": 128.0,
    "throughput__tokens_per_sec": 262144.0, "throughput__device__tokens_per_sec": 32768.0,
    "throughput__device__flops_per_sec": 25e12, "memory__peak_reserved_mem": 51.328,
    "lr-DecoupledAdamW/group0": 0.0006, "l2_norm__grad__global": 1.25,
}  # fmt: skip
FACTS = {
    "gpus": 8, "dp": 8, "zero": 3, "global_batch": 256, "micro_batch": 16, "recompute": "full",
    "seq_len": 2048, "precision": "bf16",
}  # fmt: skip
MEMORY = 51.328 * 1e9 / 2**30


@pytest.mark.parametrize(
    ("text", "facts", "last", "outcome"),
    [
        (
            CONFIG + block("[batch=1/3]") + block("[batch=2/3]", **SPEED) + block("[batch=3/3]", 10.25, **SPEED),
            FACTS,
            {"step": 3, "tokens": 3 * 256 * 2048, "loss": 10.25, "grad_norm": 1.25, "lr": 0.0006,
             "step_ms": 2000.0, "tokens_per_s": 262144.0, "stated_tflops_per_gpu": 25.0,
             "tflops_per_gpu": pytest.approx(28, abs=0.1), "mem_max_gib": MEMORY},
            "ok",
        ),
        (
            block("[batch=1/100]") + block("[batch=2/100]", **SPEED), {"gpus": 8, "dp": 8},
            {"step": 2, "loss": 10.5, "grad_norm": 1.25, "lr": 0.0006, "step_ms": 2000.0,
             "tokens_per_s": 262144.0, "stated_tflops_per_gpu": 25.0, "mem_max_gib": MEMORY},
            "failed",
        ),
        (
            CONFIG.replace("3ba", "2ep") + block("[epoch=1][batch=5/5]") + block("[epoch=2][batch=5/5]", 9.5),
            {name: value for name, value in FACTS.items() if name not in ("gpus", "dp")},
            {"step": 10, "tokens": 10 * 256 * 2048, "loss": 9.5},
            "ok",
        ),
        (
            block("[token=524288/1048576]", time__batch=0.0) + block("[token=1048576/1048576]", 9.0, time__batch=1.0), {},
            {"step": 2, "loss": 9.0},
            "ok",
        ),
        (block("[batch=1/2]") + block("[batch=2/2]", float("nan")), {}, {"step": 2, "loss": "nan"}, "diverged"),
        (
            block("[batch=1/2]") + "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n", {},
            {"step": 1, "loss": 10.5},
            "oom",
        ),
        # As people put it on one line
        (
            "[batch=1/2]:  Train metrics/train/LanguageCrossEntropy: 1.9195\n[batch=2/2]: Train loss/train/total:"
            " 0.0773\n               Train throughput/device/tokens_per_sec: 7785.3322\n", {},
            {"step": 2, "loss": 0.0773, "tokens_per_s_per_gpu": 7785.3322},
            "ok",
        ),
        ("[batch=1/1]:\n         Train LanguageCrossEntropy: 10.9736\n         Train Perplexity: 58312.0586\n", {},
         {"step": 1, "loss": 10.9736}, "ok"),
    ],
)  # fmt: skip
def test_logs(
    tmp_path: Path, text: str, facts: dict[str, Any], last: dict[str, Any], outcome: str
) -> None:
    run = read(tmp_path, text)
    assert known_facts(run) == {"backend": "composer", **facts}
    assert known_fields(run.lines[-1]) == last
    assert (run.imported.format, run.imported.outcome, run.unread) == ("composer", outcome, 0)


def test_an_evaluation_is_no_step(tmp_path: Path) -> None:
    evaluation = (
        "[Eval batch=8/8] Eval on eval data:\n\t Eval metrics/eval/LanguageCrossEntropy: 3.0\n"
    )
    run = read(tmp_path, block("[batch=1/3]") + evaluation + block("[batch=2/3]"))
    assert ([line["step"] for line in run.lines], run.unread) == ([1, 2], 0)


def test_a_block_without_its_figures_is_counted(tmp_path: Path) -> None:
    run = read(tmp_path, block("[batch=1/3]") + block("[batch=2/3]", None, time__batch=1.0))
    assert (len(run.lines), run.unread, run.first_unread) == (1, 1, "[batch=2/3]:")


def test_it_says_that_it_is_done(tmp_path: Path) -> None:
    done = "2024-01-19 15:51:44,402: rank0[1][MainThread]: INFO: llmfoundry.command_utils.train: Done.\n"
    assert read(tmp_path, block("[batch=1/3]") + done).imported.outcome == "ok"


def test_parameters_are_as_it_states_them(tmp_path: Path) -> None:
    assert read(tmp_path, CONFIG + block("[batch=1/3]")).imported.known.params_b == 0.125311488
