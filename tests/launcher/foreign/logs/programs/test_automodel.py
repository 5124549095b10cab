"""Step lines of NeMo AutoModel's recipes, and the configuration that it prints."""

from pathlib import Path
from typing import Any

import pytest

from tests.launcher.foreign.made import known_facts, known_fields, read

INFO = "2025-11-03 10:00:0{} | INFO | root | "
DETAILS = (
    "2025-11-03 09:59:00 | INFO | root | Experiment_details:\n"
    "2025-11-03 09:59:00 | INFO | root | World size: 8\n"
    "2025-11-03 09:59:00 | INFO | root | Recipe: TrainFinetuneRecipeForNextTokenPrediction\n"
)
CONFIG = (
    "step_scheduler:\n  global_batch_size: 64\n  local_batch_size: 8\n  max_steps: 2\n"
    "model:\n  pretrained_model_name_or_path: some/model-1B\n  torch_dtype: bfloat16\n"
    "distributed:\n  tp_size: 2\n  cp_size: 1\n  pp_size: 1\npacked_sequence:\n"
)
LINE = (
    "step {0} | epoch 0 | loss {1} | grad_norm {2} | lr 1.00e-05 | mem 11.66 GiB"
    " | tps 8000.00(2000.00/gpu) | num_label_tokens 4653\n"
)


def line(step: int, loss: float = 2.5, norm: float = 1.5) -> str:
    return INFO.format(step) + LINE.format(step, loss, norm)


PACKED = DETAILS + CONFIG + "  packed_sequence_size: 4096\n"
FACTS = {
    "gpus": 8, "dp": 4, "tp": 2, "pp": 1, "cp": 1, "global_batch": 64, "micro_batch": 8,
    "model": "some/model-1B", "precision": "bf16",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "facts", "last", "outcome"),
    [
        (  # its speed per card is one of data and context only
            PACKED + line(0) + line(1), FACTS | {"seq_len": 4096},
            {"step": 1, "tokens": 64 * 4096, "loss": 2.5, "grad_norm": 1.5, "lr": 1e-05,
             "step_ms": 64 * 4096 / 8, "tokens_per_s": 8000.0},
            "ok",
        ),
        (
            DETAILS + CONFIG + "  packed_sequence_size: 0\n" + line(0) + line(1), FACTS,
            {"step": 1, "loss": 2.5, "grad_norm": 1.5, "lr": 1e-05, "tokens_per_s": 8000.0},
            "ok",
        ),
        (
            line(0) + line(1), {},
            {"step": 1, "loss": 2.5, "grad_norm": 1.5, "lr": 1e-05, "tokens_per_s_per_gpu": 2000.0},
            "failed",
        ),
        (
            "INFO:root:step 4 | epoch 0 | loss 1.5514 | grad_norm 102.0000 | mem: 11.66 GiB | tps 6924.50\n", {},
            {"step": 4, "loss": 1.5514, "grad_norm": 102.0},
            "failed",
        ),
        (
            "step 10 | epoch 0 | loss 1.2296 | grad_norm 1.6987 | lr 8.19e-06 | mem 36.24 GiB | tps 830.26/gpu  |"
            " num_label_tokens 46638\n", {},
            {"step": 10, "loss": 1.2296, "grad_norm": 1.6987, "lr": 8.19e-06, "tokens_per_s_per_gpu": 830.26},
            "failed",
        ),
        (
            INFO.format(3) + "step 3 | epoch 0 | loss 1.2500 | kd_loss 0.5000 | lr 1.00e-05 | mem 3.00 GiB |"
            " tps 100.00 | kd_ratio 0.50 | temperature 1.00\n", {},
            {"step": 3, "loss": 1.25, "lr": 1e-05},
            "failed",
        ),
        (
            INFO.format(3) + "step 3 | epoch 0 | loss 0.5000 | train_acc 0.9000 | grad_norm 2.0000 | lr 1.00e-05 |"
            " mem 3.00 GiB | time 1.50s\n", {},
            {"step": 3, "loss": 0.5, "grad_norm": 2.0, "lr": 1e-05, "step_ms": 1500.0},
            "failed",
        ),
        (
            PACKED + line(0) + line(1, float("nan"), float("nan")), FACTS | {"seq_len": 4096},
            {"step": 1, "tokens": 64 * 4096, "loss": "nan", "grad_norm": "nan", "lr": 1e-05,
             "step_ms": 64 * 4096 / 8, "tokens_per_s": 8000.0},
            "diverged",
        ),
    ],
)  # fmt: skip
def test_logs(
    tmp_path: Path, text: str, facts: dict[str, Any], last: dict[str, Any], outcome: str
) -> None:
    run = read(tmp_path, text)
    assert known_facts(run) == {"backend": "automodel", **facts}
    assert known_fields(run.lines[-1]) == last
    assert (run.imported.format, run.imported.outcome, run.unread) == ("automodel", outcome, 0)


def test_a_validation_is_no_step(tmp_path: Path) -> None:
    val = (
        '[val] name "default" | step 1 | epoch 0 | loss 9.0 | lr 1.00e-05 | num_label_tokens 100\n'
    )
    run = read(tmp_path, line(0) + INFO.format(1) + val)
    assert ([step["loss"] for step in run.lines], run.unread) == ([2.5], 0)


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("max_steps not provided; will run for up to 2 steps", "ok"),
        ("Total parameters: 1,000", "failed"),
    ],
)
def test_its_last_step(tmp_path: Path, message: str, outcome: str) -> None:
    run = read(tmp_path, f"{DETAILS}{INFO.format(0)}{message}\n{line(0)}{line(1)}")
    assert run.imported.outcome == outcome


def test_a_line_without_its_figures_is_counted(tmp_path: Path) -> None:
    run = read(tmp_path, line(0) + INFO.format(1) + "step 1 | epoch 0 | loss ? | grad_norm 1.0\n")
    assert (len(run.lines), run.unread) == (1, 1)
