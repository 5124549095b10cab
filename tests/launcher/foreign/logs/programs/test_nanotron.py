"""Step lines and configurations of nanotron, old and new, in words of our own making."""

import math
from pathlib import Path
from typing import Any

import pytest

from launcher import foreign
from launcher.errors import ReadError
from launcher.foreign.logs.programs.nanotron import human
from tests.launcher.foreign.made import known_facts, known_fields, read, source

OLD = (
    "05/10/2024 09:30:0{0} [INFO|DP=0|PP=1|TP=0|gpu-3]: iteration: {0} / 3 | consumed_tokens: {1}"
    " | elapsed_time_per_iteration_ms: {2} | tokens_per_sec: 45.6K | tokens_per_sec_per_gpu: 11.4K"
    " | global_batch_size: 128 | lm_loss: {3} | lr: 0.0003 | model_tflops_per_gpu: 38.3"
    " | hardware_tflops_per_gpu: 40.1 | grad_norm: 1.25{4}\n"
)
NEW = (
    "03/27 09:30:0{0} [INFO|DP=0|TP=0]: iteration: {0} / 3 | consumed_tokens: 1.05M"
    " | time_per_iteration_ms: 2.5K | tokens_per_sec: 210K | tokens_per_sec_per_gpu: 52.4K"
    " | global_batch_size: 524K | grad_norm: 0.5 | lm_loss: 10.9 | z_loss: 0.001 | lr: 3e-05"
    " | model_tflops_per_gpu: 410 | eta: 0:00:05\n"
)
STARTED = (
    "03/27 09:29:59 [INFO|DP=0|TP=0]: mbs: 2 | grad_accum: 32 | cp: 1 | sequence_length: 4096"
    " | global_batch_size: 128 | train_steps: 3 | start_iteration_step: 0"
    " | consumed_tokens_total: 0\n"
)
CONFIG = (
    "03/27 09:29:58 [INFO]: Config(general=GeneralArgs(project='any', run='7'),\n"
    "03/27 09:29:58 [INFO|DP=0|TP=0]:        parallelism=ParallelismArgs(dp=2,\n"
    "03/27 09:29:58 [INFO|DP=0|TP=0]:                                    pp=1,\n"
    "03/27 09:29:58 [INFO|DP=0|TP=0]:                                    tp=2,\n"
    "03/27 09:29:58 [INFO|DP=0|TP=0]:                                    recompute_layer=True,\n"
    "03/27 09:29:58 [INFO|DP=0|TP=0]:        optimizer=OptimizerArgs(zero_stage=1,\n"
    "03/27 09:29:58 [INFO|DP=0|TP=0]: LlamaConfig(hidden_size=1024, intermediate_size=4096,"
    " num_attention_heads=16, num_hidden_layers=8, num_key_value_heads=8,"
    " tie_word_embeddings=True, vocab_size=32768)\n"
    "03/27 09:29:58 [INFO|DP=0|TP=0]: dtype=torch.bfloat16\n"
    "03/27 09:29:58 [INFO|DP=0|TP=0]: Total number of parameters: 161M (307.1MiB)\n"
)


def old(*values: str) -> str:
    return OLD.format(*values, *[""] * (5 - len(values)))


CASES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (  # thousands, of a speed that says how many cards there are
        old("1", "262K", "11.5K", "7.5") + old("2", "524K", "11.6K", "7.25") + old("3", "786K", "850", "7"),
        {"gpus": 4, "dp": 4, "global_batch": 128},
        {"step": 3, "tokens": 786000, "loss": 7.0, "grad_norm": 1.25, "lr": 0.0003, "step_ms": 850.0,
         "tokens_per_s": 45600.0, "stated_tflops_per_gpu": 38.3},
        "ok",
    ),
    (  # billions were "G" once; memory in bytes
        old("3", "85.8G", "11.5K", "2.38", " | cuda_memory_allocated: 9.1G | cuda_max_memory_reserved: 57G"),
        {"gpus": 4, "dp": 4, "global_batch": 128},
        {"step": 3, "tokens": 85_800_000_000, "loss": 2.38, "grad_norm": 1.25, "lr": 0.0003,
         "step_ms": 11500.0, "tokens_per_s": 45600.0, "stated_tflops_per_gpu": 38.3,
         "mem_max_gib": 57e9 / 2**30},
        "ok",
    ),
    (old("1", "262K", "1K", "nan") + old("2", "524K", "1K", "nan") + old("3", "786K", "1K", "nan"),
     {"gpus": 4, "dp": 4, "global_batch": 128},
     {"step": 3, "tokens": 786000, "loss": "nan", "grad_norm": 1.25, "lr": 0.0003, "step_ms": 1000.0,
      "tokens_per_s": 45600.0, "stated_tflops_per_gpu": 38.3},
     "diverged"),
    (  # since 2025 it counts a batch in tokens
        CONFIG + STARTED + NEW.format(1) + NEW.format(2) + NEW.format(3),
        {"gpus": 4, "dp": 2, "tp": 2, "pp": 1, "cp": 1, "zero": 1, "global_batch": 128,
         "micro_batch": 2, "seq_len": 4096, "recompute": "full", "precision": "bf16"},
        {"step": 3, "tokens": 1050000, "loss": 10.9, "grad_norm": 0.5, "lr": 3e-05, "step_ms": 2500.0,
         "tokens_per_s": pytest.approx(128 * 4096 / 2.5), "stated_tflops_per_gpu": 410.0,
         "tflops_per_gpu": pytest.approx(57, rel=0.1)},
        "ok",
    ),
    (  # no sequence: the batch in tokens is of no known number of sequences
        NEW.format(1) + NEW.format(2),
        {"gpus": 4, "dp": 4},
        {"step": 2, "tokens": 1050000, "loss": 10.9, "grad_norm": 0.5, "lr": 3e-05, "step_ms": 2500.0,
         "tokens_per_s": 4 * 52400.0, "stated_tflops_per_gpu": 410.0},
        "failed",
    ),
    (CONFIG + STARTED,
     {"gpus": 4, "dp": 2, "tp": 2, "pp": 1, "cp": 1, "zero": 1, "global_batch": 128,
      "micro_batch": 2, "seq_len": 4096, "recompute": "full", "precision": "bf16"},
     {}, "failed"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "facts", "last", "outcome"), CASES, ids=range(len(CASES)))
def test_logs(
    tmp_path: Path, text: str, facts: dict[str, Any], last: dict[str, Any], outcome: str
) -> None:
    run = read(tmp_path, text)
    assert known_facts(run) == {"backend": "nanotron", **facts}
    assert [known_fields(line) for line in run.lines[-1:]] == ([last] if last else [])
    assert (run.imported.format, run.imported.outcome, run.unread) == ("nanotron", outcome, 0)


def test_parameters_are_as_it_states_them(tmp_path: Path) -> None:
    assert read(tmp_path, CONFIG + STARTED).imported.known.params_b == 0.161


def test_its_times_are_american(tmp_path: Path) -> None:
    run = read(tmp_path, old("1", "1K", "1K", "7") + old("3", "1K", "1K", "7"))
    assert run.imported.seconds == 2


def test_megatron_does_not_take_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_text(old("3", "1K", "1K", "7"))
    with pytest.raises(ReadError, match="no log of a known kind"):
        foreign.read(source(path), "megatron")


def test_a_line_without_its_figures_is_counted(tmp_path: Path) -> None:
    cut = (
        old("2", "524K", "?", "?").replace("45.6K", "?").replace("11.4K", "?").replace("38.3", "?")
    )
    run = read(tmp_path, old("1", "262K", "1K", "7") + cut)
    assert (len(run.lines), run.unread) == (1, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [("11.5K", 11500), ("850", 850), ("0.00744", 0.00744), ("1e-05", 1e-5), ("85.8G", 85.8e9),
     ("2T", 2e12), ("nan", math.nan), ("?", None), ("", None)],
)  # fmt: skip
def test_human(text: str, value: float | None) -> None:
    assert human(text) == (None if value is None else pytest.approx(value, nan_ok=True))
