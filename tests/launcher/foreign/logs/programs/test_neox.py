"""GPT-NeoX's dump of arguments and step lines: `launcher.foreign.logs.programs.neox`."""

from pathlib import Path
from typing import Any

import pytest

from launcher.foreign.logs.programs.neox import is_dump
from tests.launcher.foreign.made import known_facts, known_fields, read


def argument(name: str, value: str, origin: str = "updated") -> str:
    text = f"  {name} {'.' * (32 - len(name))} {value}"
    return f"{text}{'.' * (64 - len(text))}{origin}\n"


DUMP = {
    "deepspeed": "True",
    "global_num_gpus": "16",
    "hidden_size": "1024",
    "max_position_embeddings": "2048",
    "model_parallel_size": "2",
    "num_attention_heads": "16",
    "num_layers": "24",
    "padded_vocab_size": "None",
    "pipe_parallel_size": "2",
    "pos_emb": "rotary",
    "precision": "bfloat16",
    "seq_length": "2048",
    "train_batch_size": "64",
    "train_iters": "20",
    "train_micro_batch_size_per_gpu": "4",
    "zero_optimization": "{'stage': 1, 'allgather_partitions': True, 'overlap_comm': True}",
}
PADDED = " > padded vocab (size: 50277) with 155 dummy tokens (new size: 50432)\n"


def dump(**changes: str) -> str:
    lines = [argument(name, value) for name, value in (DUMP | changes).items()]
    between = "-------------------- arguments --------------------\n{}"
    return between.format("".join(lines)) + "---------------- end of arguments ----------------\n"


def step(number: int, flops: str = "123.4TFLOPS", loss: str = "lm_loss: 7.500000E+00 |") -> str:
    return (
        f" samples/sec: 128.000 | iteration {number:8d}/{20:8d} | elapsed time per iteration (ms): 500.0 |"
        f" learning rate: 3.750E-05 | approx flops per GPU: {flops} | {loss}"
        " number of skipped iterations:   0 | number of nan iterations:   0 |\n"
    )


FACTS = {
    "backend": "gpt-neox", "gpus": 16, "dp": 4, "tp": 2, "pp": 2, "vpp": 1, "cp": 1, "ep": 1,
    "sp": False, "zero": 1, "global_batch": 64, "micro_batch": 4, "recompute": "none",
    "seq_len": 2048, "precision": "bf16",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({}, {}),
        ({"precision": "fp16"}, {"precision": "fp16"}),
        ({"checkpoint_activations": "True"}, {"recompute": "full"}),
        ({"pipe_parallel_size": "0", "model_parallel_size": "1"}, {"tp": 1, "pp": 1, "dp": 16}),
        ({"zero_optimization": "{'stage': 3}"}, {"zero": 3}),
        ({"deepspeed_extra_args_of_a_long_name": "None"}, {}),
    ],
)
def test_facts(tmp_path: Path, changes: dict[str, str], facts: dict[str, Any]) -> None:
    run = read(tmp_path, dump(**changes) + PADDED + step(10) + step(20))
    assert known_facts(run) == FACTS | facts
    assert (run.imported.outcome, run.unread) == ("ok", 0)
    assert run.lines[-1]["tokens_per_s"] == pytest.approx(64 * 2048 / 0.5)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (step(20), {"loss": 7.5, "stated_tflops_per_gpu": 123.4}),
        (step(20, "980.5GFLOPS"), {"loss": 7.5, "stated_tflops_per_gpu": 0.9805}),
        (step(20, loss="MFU: 41.20% | HFU: 43.10% | lm_loss: 2.5E+00 |"), {"loss": 2.5, "stated_tflops_per_gpu": 123.4}),
        (step(20, loss="lm_loss: nan |"), {"loss": "nan", "stated_tflops_per_gpu": 123.4}),
        (step(20, loss="lm_loss: 7.5E+00 | loss scale: 65536.0 |"), {"loss": 7.5, "stated_tflops_per_gpu": 123.4}),
    ],
)  # fmt: skip
def test_step_lines(tmp_path: Path, line: str, expected: dict[str, Any]) -> None:
    run = read(tmp_path, line)
    common = {"step": 20, "lr": 3.75e-05, "step_ms": 500.0}
    assert known_fields(run.lines[0]) == common | expected
    assert (run.imported.known.backend, run.unread) == ("gpt-neox", 0)


def test_parameters_as_stated_and_as_counted(tmp_path: Path) -> None:
    stated = " > total params: 354,871,296\n"
    assert (
        read(tmp_path, dump() + PADDED + stated + step(20)).imported.known.params_b == 0.354871296
    )
    ranks = "".join(
        f" > number of parameters on model parallel rank {n}: 1000000\n" for n in range(4)
    )
    gated = dump(activation="swiglu") + ranks + step(20)
    assert read(tmp_path, gated).imported.known.params_b == 0.004  # its width is not said


def test_sizes(tmp_path: Path) -> None:
    run = read(
        tmp_path, dump(norm="rmsnorm", no_weight_tying="True") + PADDED + step(10) + step(20)
    )
    layer = 4 * 1024 * 1024 + 2 * 1024 * 4096
    matrices = 24 * layer + 2 * 50432 * 1024
    assert run.imported.known.params_b == pytest.approx(matrices / 1e9, rel=0.002)
    assert run.lines[-1]["tflops_per_gpu"] is not None


@pytest.mark.parametrize(
    "text",
    ["rank: 0 | time: 2024-01-01 10:00:00 | exiting the program at iteration 10\n", step(20)],
)
def test_ends(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, dump() + step(10) + text).imported.outcome == "ok"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ({"a": "1.....updated", "b": "None.....default"}, True),
        ({"a": "1", "b": "default"}, False),
        ({"a": "1", "rope_type": "default", "c": "3"}, False),
        ({}, False),
    ],
)
def test_which_dump_it_is(arguments: dict[str, str], answer: bool) -> None:
    assert is_dump(arguments) is answer
