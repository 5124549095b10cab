"""Arguments as sources print them, as facts of a run."""

from typing import Any

import pytest

from launcher.foreign.logs import arguments

MEGATRON = {"tensor_model_parallel_size": "2", "world_size": "16"}
"""A dump has all arguments: what is not in it has its default."""

PRINTED: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({}, {"tp": None, "gpus": None, "zero": None, "precision": None, "recompute": None}),
    (
        MEGATRON,
        {
            "tp": 2,
            "pp": 1,
            "dp": 8,
            "zero": 0,
            "sp": False,
            "precision": "fp32",
            "recompute": "none",
        },
    ),
    (
        MEGATRON | {"use_distributed_optimizer": "True", "bf16": "True"},
        {"zero": 1, "precision": "bf16"},
    ),
    (MEGATRON | {"fp8": "hybrid", "bf16": "True"}, {"precision": "fp8", "reduce_precision": None}),
    (
        MEGATRON | {"bf16": "True", "accumulate_allreduce_grads_in_fp32": "True"},
        {"reduce_precision": "fp32"},
    ),
    (
        MEGATRON | {"bf16": "True", "accumulate_allreduce_grads_in_fp32": "False"},
        {"reduce_precision": "bf16"},
    ),
    (MEGATRON | {"recompute_granularity": "selective"}, {"recompute": "selective"}),
    (MEGATRON | {"checkpoint_activations": "True"}, {"recompute": "full"}),
    (
        MEGATRON | {"recompute_granularity": "selective", "recompute_modules": "['core_attn']"},
        {"recompute": "selective", "recompute_modules": None, "recompute_layers": None},
    ),
    (
        MEGATRON
        | {"recompute_granularity": "selective", "recompute_modules": "['moe_act', 'layernorm']"},
        {"recompute_modules": "layernorm moe_act"},
    ),
    (
        MEGATRON
        | {
            "recompute_granularity": "full",
            "recompute_modules": "['core_attn']",
            "recompute_method": "block",
            "recompute_num_layers": "4",
        },
        {"recompute_modules": None, "recompute_layers": 4, "recompute_method": "block"},
    ),
    (
        MEGATRON
        | {
            "recompute_granularity": "full",
            "recompute_method": "uniform",
            "recompute_num_layers": "1",
        },
        {"recompute": "full", "recompute_layers": None, "recompute_method": None},
    ),
    (
        MEGATRON
        | {
            "pipeline_model_parallel_size": "2",
            "num_layers": "32",
            "num_layers_per_virtual_pipeline_stage": "4",
        },
        {"pp": 2, "vpp": 4, "dp": 4},
    ),
    (
        MEGATRON | {"pipeline_model_parallel_layout": "Et*3|(tt|)*29,m|L"},
        {"pipeline_layout": "Et*3|(tt|)*29,m|L"},
    ),
    (MEGATRON | {"pipeline_model_parallel_layout": "None"}, {"pipeline_layout": None}),
    ({"engine.zero_optimization_stage": "3", "engine.world_size": "8"}, {"zero": 3, "gpus": 8}),
    (MEGATRON | {"deepspeed": "True", "zero_stage": "2"}, {"zero": 2}),
    ({"dp_shard": "8", "pp": "1"}, {"zero": 3}),  # FSDP
    ({"dp_shard": "8", "pp": "2"}, {"zero": 2}),
    ({"dp_shard": "1"}, {"zero": 0}),
    ({"NNODES": "4"}, {"nodes": 4}),
    ({"world_size": "16", "GPUS_PER_NODE": "8"}, {"nodes": 2, "gpus": 16}),
    ({"batch_size": "4", "data_parallel_size": "8"}, {"micro_batch": 4, "global_batch": 32}),
]


@pytest.mark.parametrize(("printed", "expected"), PRINTED)
def test_facts(printed: dict[str, str], expected: dict[str, Any]) -> None:
    facts = arguments.run_facts(printed, "megatron-lm", 7e9)
    assert {name: getattr(facts, name) for name in expected} == expected
    assert (facts.backend, facts.params_b) == ("megatron-lm", 7.0)


SIZES = {
    "num_layers": "4", "hidden_size": "64", "num_attention_heads": "4", "padded_vocab_size": "128",
    "seq_length": "32",
}  # fmt: skip


def test_a_model_that_has_all_sizes_has_a_shape() -> None:
    shape = arguments.model(SIZES).shape
    assert shape and (shape.layers, shape.ffn, shape.kv_heads) == (4, 256, 4)
    assert arguments.model(SIZES | {"num_query_groups": "2"}).shape.kv_heads == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("flag", [{"multi_latent_attention": "True"}, {"moe_layer_freq": "2"}])
def test_a_model_of_another_kind_has_none(flag: dict[str, str]) -> None:
    assert arguments.model(SIZES | flag).shape is None


def test_parameters_of_all_ranks_are_added() -> None:
    ranks = {"params.0,0": "100", "params.1,0": "50"}
    assert arguments.model(ranks | {"tp": "2"}).params == 150
    assert arguments.model(ranks | {"tp": "4"}).params is None
