"""What torchtitan prints today; `tests/launcher/foreign/logs/test_formats.py` has earlier lines."""

from pathlib import Path
from typing import Any

import pytest

from tests.launcher.foreign.made import known_facts, read

BEFORE = "[rank0]:[titan] 2026-08-01 10:00:0{},287 - root - INFO - {}\n"
MESH = BEFORE.format(
    0, "Building device mesh with parallelism: pp=1, dp_replicate=1, dp_shard={}, cp=1, tp={}, ep=1"
)
TRAINER = (
    "Trainer is initialized with {} tokens per DP rank, {} tokens per train step, gradient accumulation"
    " steps {}, maximum context length {}, total steps 2 (warmup 2)"
)
STEP = "step: {:2}  loss:  8.0277  grad_norm:  1.4604  memory:  1.25GiB(0.86%)  tps: 5,000  tflops: 0.41  mfu: N/A"


def log(*messages: str) -> str:
    steps = (BEFORE.format(n, STEP.format(n)) for n in (1, 2))
    return "".join((*messages, *steps))


@pytest.mark.parametrize(
    ("message", "facts"),
    [
        (BEFORE.format(0, TRAINER.format(8192, 65536, 1, 8192)), {"global_batch": 8, "micro_batch": 1, "seq_len": 8192}),
        (BEFORE.format(0, TRAINER.format(16384, 262144, 2, 4096)), {"global_batch": 64, "micro_batch": 4, "seq_len": 4096}),
        (BEFORE.format(0, TRAINER.format(5000, 40000, 1, 4096)), {"seq_len": 4096}),
        (BEFORE.format(0, "Building llama3 8B"), {"model": "llama3 8B"}),
        (BEFORE.format(0, "Applied FullAC activation checkpointing to the model"), {"recompute": "full"}),
        (BEFORE.format(0, "Applied SelectiveAC activation checkpointing to the model"), {"recompute": "selective"}),
        (BEFORE.format(0, "Applied full activation checkpointing to the model"), {"recompute": "full"}),
    ],
)  # fmt: skip
def test_facts(tmp_path: Path, message: str, facts: dict[str, Any]) -> None:
    run = read(tmp_path, log(MESH.format(8, 1), message))
    common = {
        "backend": "torchtitan",
        "gpus": 8,
        "dp": 8,
        "tp": 1,
        "pp": 1,
        "cp": 1,
        "ep": 1,
        "zero": 3,
    }
    assert known_facts(run) == common | facts
    assert run.unread == 0


def test_its_steps_are_of_tokens(tmp_path: Path) -> None:
    run = read(
        tmp_path, log(MESH.format(4, 2), BEFORE.format(0, TRAINER.format(8192, 65536, 2, 8192)))
    )
    assert run.imported.outcome == "ok"
    assert run.lines[1]["step_ms"] == pytest.approx(1000 * 65536 / (8 * 5000))
    assert run.lines[1]["tokens"] == 2 * 65536


@pytest.mark.parametrize(
    "odd", ["step:  3  loss:  ?  grad_norm:  ?", "step: 3 grad_norm: 1.0 tps: 3"]
)
def test_a_line_without_its_figures_is_counted(tmp_path: Path, odd: str) -> None:
    run = read(tmp_path, log(BEFORE.format(0, "Building llama3 8B")) + BEFORE.format(3, odd))
    assert (len(run.lines), run.unread) == (2, 1)
