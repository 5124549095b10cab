"""Habits of frameworks that rows of a sheet do not mention."""

import pytest

from launcher.planner.engines import ENGINES
from tests.launcher.sheets.made import read


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # Megatron-DeepSpeed adds bf16 gradients up in fp32 beside them, and has no flash attention
        ({"backend": "Megatron-DeepSpeed"},
         {"engine": ENGINES.index("deepspeed"), "gradient_bytes": 6, "flash": 0}),
        ({"backend": "deepspeed"},
         {"engine": ENGINES.index("deepspeed"), "gradient_bytes": 6, "flash": 1}),
        # of which nothing is text: as the paper of ZeRO counts it
        ({}, {"engine": ENGINES.index("deepspeed"), "gradient_bytes": 2, "flash": 1, "dropout": 0}),
        ({"backend": "megatron", "ffn": "8192"},
         {"gradient_bytes": 4, "reduced_bytes": 4, "dropout": 1, "tied": 1}),
        ({"backend": "megatron", "reduce_precision": "bf16"}, {"reduced_bytes": 2}),
        ({"backend": "deepspeed", "communication_data_type": "fp32"}, {"reduced_bytes": 4}),
        ({"backend": "deepspeed"}, {"reduced_bytes": 2}),
        ({"backend": "megatron", "ffn": "5632"}, {"gradient_bytes": 4, "dropout": 0, "tied": 0}),
        ({"backend": "nemo", "precision": "fp8", "zero": "ddp"}, {"gradient_bytes": 2, "zero": 1}),
        ({"backend": "megatron", "precision": "fp8", "zero": "ddp"}, {"gradient_bytes": 4, "zero": 0}),
        ({"source": "llm-foundry", "zero": "fsdp"},
         {"engine": ENGINES.index("fsdp"), "fused_loss": 1, "gradient_bytes": 4}),
        ({"source": "torchtitan", "zero": "fsdp"}, {"fused_loss": 0}),
    ],
)  # fmt: skip
def test_what_a_framework_does_unasked(row: dict[str, str], expected: dict[str, float]) -> None:
    sizes = {"hidden": "2048", "layers": "24", "precision": "bf16"}
    points = read(**{**sizes, **row}).points
    assert {name: float(getattr(points, name)[0]) for name in expected} == expected
