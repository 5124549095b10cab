"""RunSpec -> megatron-core's configuration, layer and GPTModel."""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.transformer_block import (
    TransformerBlockSubmodules,
    get_num_layers_to_build,
)

from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from launcher.spec.shape import ModelShape
from launcher.workers.model import platform
from launcher.workers.model.attention import CausalAttention, RMSNorm
from launcher.workers.model.experts import StackedExperts
from launcher.workers.model.groups import expert_tensor_parallel

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def transformer_config(spec: RunSpec, pipeline: bool = True) -> Any:
    """Return megatron-core's configuration of the model and of the layout.

    Args:
        spec: the run.
        pipeline: False where something else than megatron-core splits the layers into stages.
    """
    options = {**_model(spec.model), **_layout(spec.layout), **_recompute(spec.layout)}
    if spec.model.experts:
        options |= _experts(spec)
    if pipeline and spec.layout.pp > 1:
        options |= _pipeline(spec)
    bf16, dtype = spec.train.precision == "bf16", PRECISIONS[spec.train.precision]
    return TransformerConfig(
        bf16=bf16,
        # The fused loss returns its gradient in bf16, whatever the model's precision is.
        cross_entropy_loss_fusion=(
            bf16 and platform.fusion_pays() and not spec.train.deterministic
        ),
        deterministic_mode=spec.train.deterministic,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        perform_initialization=False,  # launcher.workers.model.initial_weights fills the weights
        **options,
    )


def layer_spec(model: ModelShape) -> Any:
    """Modules of one transformer layer, as megatron-core's spec."""
    layer = get_gpt_layer_local_spec(num_experts=model.experts or None, normalization="RMSNorm")
    layer.submodules.input_layernorm = RMSNorm
    layer.submodules.pre_mlp_layernorm = RMSNorm
    layer.submodules.self_attention.submodules.core_attention = CausalAttention
    if model.experts:
        _submodules(layer.submodules.mlp).experts = StackedExperts
    return layer


def _submodules(builder: Any) -> Any:
    """Submodules of a spec; since core 0.17 some specs are partial calls of their class."""
    is_call = isinstance(builder, functools.partial)
    return builder.keywords["submodules"] if is_call else builder.submodules


def chunks(spec: RunSpec, config: Any) -> list[Any]:
    """Model chunks of this rank: one GPTModel, or ``vpp`` of them in the interleaved schedule."""
    stages = range(spec.layout.vpp) if spec.layout.vpp > 1 else [None]
    return [_chunk(spec, config, stage) for stage in stages]


def full_model(spec: RunSpec, config: Any) -> Any:
    """GPTModel with every layer."""
    return _gpt(spec.model, config, spec.model.layers)


def _chunk(spec: RunSpec, config: Any, stage: int | None) -> Any:
    virtual_stage: dict[str, Any] = {"ignore_virtual": stage is None, "vp_stage": stage}
    return _gpt(
        spec.model,
        config,
        get_num_layers_to_build(config, vp_stage=stage),
        pre_process=parallel_state.is_pipeline_first_stage(**virtual_stage),
        post_process=parallel_state.is_pipeline_last_stage(**virtual_stage),
        vp_stage=stage,
    )


def _gpt(model: ModelShape, config: Any, layers: int, **options: Any) -> Any:
    block = TransformerBlockSubmodules(layer_specs=[layer_spec(model)] * layers, layer_norm=RMSNorm)
    built = GPTModel(
        config,
        block,
        vocab_size=model.padded_vocab,
        max_sequence_length=model.sequence,
        parallel_output=True,
        share_embeddings_and_output_weights=model.tied,
        position_embedding_type="rope",
        rotary_base=model.rope_theta,
        **options,
    )
    return built.to(platform.device())  # megatron-core makes the router's weights on the CPU


def _model(model: ModelShape) -> dict[str, Any]:
    fused = platform.fusion_pays()
    return {
        "num_layers": model.layers,
        "hidden_size": model.hidden,
        "ffn_hidden_size": model.ffn,
        "num_attention_heads": model.heads,
        "num_query_groups": model.kv_heads,
        "kv_channels": model.head_dim,
        "normalization": "RMSNorm",
        "layernorm_epsilon": model.norm_eps,
        "gated_linear_unit": model.gated,
        "activation_func": F.silu if model.gated else F.gelu,
        "bias_activation_fusion": fused and model.gated,
        "bias_dropout_fusion": fused,
        "masked_softmax_fusion": False,
        "add_bias_linear": False,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    }


def _layout(layout: ParallelLayout) -> dict[str, Any]:
    return {
        "tensor_model_parallel_size": layout.tp,
        "sequence_parallel": layout.sp,
        "context_parallel_size": layout.cp,
        "expert_model_parallel_size": layout.ep,
        "expert_tensor_parallel_size": expert_tensor_parallel(layout),
        "gradient_accumulation_fusion": False,  # needs Apex
    }


def _recompute(layout: ParallelLayout) -> dict[str, Any]:
    if layout.recompute == "selective":
        return {
            "recompute_granularity": "selective",
            "recompute_modules": list(layout.recomputed_modules),
        }
    if layout.recompute == "full":
        some = layout.recompute_layers is not None
        return {
            "recompute_granularity": "full",
            "recompute_method": layout.recompute_method if some else "uniform",
            "recompute_num_layers": layout.recompute_layers or 1,
        }
    return {}


def _experts(spec: RunSpec) -> dict[str, Any]:
    model, weight = spec.model, spec.train.moe_aux_loss
    return {
        "num_moe_experts": model.experts,
        "moe_ffn_hidden_size": model.ffn,
        "moe_router_topk": model.top_k,
        # Of one chosen expert a softmax over the chosen is always 1 and teaches nothing.
        "moe_router_pre_softmax": model.top_k == 1,
        "moe_router_dtype": "fp32",
        # Per sequence: a loss over a micro batch would depend on the layout.
        "moe_router_load_balancing_type": "seq_aux_loss" if weight else "none",
        "moe_aux_loss_coeff": weight,
        "moe_token_dispatcher_type": spec.layout.dispatcher,
        "moe_grouped_gemm": True,  # `StackedExperts`
    }


def _pipeline(spec: RunSpec) -> dict[str, Any]:
    layout = spec.layout
    # Only an explicit layout lets stages have different numbers of layers.
    stages = [["decoder"] * layers for layers in layout.stages(spec.model.layers)]
    stages[0].insert(0, "embedding")
    stages[-1].append("loss")
    overlap = layout.vpp > 1 and layout.overlap_p2p
    return {
        "pipeline_model_parallel_size": layout.pp,
        "virtual_pipeline_model_parallel_size": layout.vpp if layout.vpp > 1 else None,
        "pipeline_model_parallel_layout": stages,
        "overlap_p2p_comm": overlap,
        "batch_p2p_comm": not overlap,
        # What has been sent to the next stage is not needed for the backward pass. The interleaved
        # schedule frees it at once: on a card that is after the send in the order of its stream,
        # while gloo may still be sending it, and the losses would be silently wrong.
        "deallocate_pipeline_outputs": layout.vpp == 1 or torch.cuda.is_available(),
    }
