"""Setup that both DeepSpeed engines share: import, configuration, optimizer, and gradient hooks."""

import importlib
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.utils import logger
from megatron.core import parallel_state
from megatron.core.transformer.moe.moe_utils import MoEAuxLossAutoScaler

from launcher.spec.run import RunSpec
from launcher.workers.engines import deepspeed_zero
from launcher.workers.engines.duplicate_sums import DuplicateSums
from launcher.workers.model import platform
from launcher.workers.model.weights import NamedWeight, by_parameter

NO_PRINTING = 10**9

REDUCE_BUCKET = 125_000_000
"""Gradients that ZeRO reduces at once: two buffers of them in fp32, one being filled while the
other is reduced, are the 1 GB that DeepSpeed's default of one buffer in bf16 takes."""


def start() -> Any:
    """Join DeepSpeed's communication to the process group there is, and return the library."""
    logger.setLevel(logging.WARNING)
    no_compiled_collectives()
    deepspeed_zero.install()
    # ZeRO looks whether an optimizer is this one, which compiles its functions on import: 1 s.
    with platform.without_compile():
        importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")
    deepspeed.init_distributed("nccl" if torch.cuda.is_available() else "gloo")
    return deepspeed


def no_compiled_collectives() -> None:
    """Turn off the CPU's shared-memory collectives: compiled on first use, 26 s and a compiler."""
    if not torch.cuda.is_available():
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def configuration(spec: RunSpec) -> dict[str, Any]:
    """DeepSpeed's configuration of a run."""
    layout, bf16 = spec.layout, spec.train.precision == "bf16"
    zero: dict[str, Any] = {"stage": layout.zero, "overlap_comm": platform.overlap_pays()}
    if layout.zero:
        zero["reduce_bucket_size"] = REDUCE_BUCKET
        # Under ZeRO 1 and 2 each part of a bucket is reduced to its owner: the bytes of a
        # reduce-scatter. By default all of it is all-reduced, twice as many.
        zero["use_multi_rank_bucket_allreduce"] = False
    if layout.zero == 3:
        # Only vectors are not partitioned; Hugging Face's "auto" chooses the same.
        zero["stage3_param_persistence_threshold"] = 10 * spec.model.hidden
    if layout.offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    options = {
        "train_micro_batch_size_per_gpu": layout.micro_batch,
        "gradient_accumulation_steps": spec.accumulation,
        "gradient_clipping": spec.train.optimizer.clip_grad,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        # torch's fused AdamW instead of DeepSpeedCPUAdam, which is compiled on first use.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": NO_PRINTING,
        "bf16": {"enabled": bf16},
        "communication_data_type": spec.train.reduces_in,
    }
    if bf16:
        options["data_types"] = {"grad_accum_dtype": "fp32"}
    return options


def optimizer(groups: list[dict[str, Any]], spec: RunSpec) -> Any:
    """AdamW over groups of parameters."""
    settings = spec.train.optimizer
    return torch.optim.AdamW(
        groups, lr=settings.lr, betas=(settings.beta1, settings.beta2), eps=settings.eps, fused=True
    )


def groups_of(weights: Iterable[NamedWeight], spec: RunSpec) -> list[dict[str, Any]]:
    """Parameter groups: matrices with weight decay, vectors without."""
    decay = spec.train.optimizer.weight_decay
    matrices: dict[str, Any] = {"params": [], "weight_decay": decay}
    vectors: dict[str, Any] = {"params": [], "weight_decay": 0.0}
    for parameter, parts in by_parameter(weights):
        (vectors if len(parts[0].shape) == 1 else matrices)["params"].append(parameter)
    return [group for group in (matrices, vectors) if group["params"]]


def duplicate_sums(parameters: Iterable[Any]) -> DuplicateSums:
    """Sums of the gradients that sequence parallelism duplicates."""
    return DuplicateSums(parameters, parallel_state.get_tensor_model_parallel_group())


def begin(engine: Any, spec: RunSpec, step: int, lr: float) -> None:
    """Set the learning rate of a step and, while the batch grows, its number of micro batches."""
    for group in engine.optimizer.param_groups:
        group["lr"] = lr
    if spec.train.batch_ramp:
        samples_at_once = engine.train_micro_batch_size_per_gpu() * engine.dp_world_size
        engine.set_train_batch_size(spec.accumulation_at(step) * samples_at_once)
        engine.micro_steps = 0  # it would look for the end of a step in multiples of the new number
    weigh_aux_loss(spec, step)


def weigh_aux_loss(spec: RunSpec, step: int) -> None:
    """Set the weight of one micro batch's auxiliary loss, as megatron's own schedules do.

    Context parallel ranks each hold a part of a sequence's loss, and gradients are averaged over
    them: hence the factor cp.
    """
    weight = spec.layout.cp / spec.accumulation_at(step)
    MoEAuxLossAutoScaler.set_loss_scale(torch.tensor(weight, device=platform.device()))


def grad_norm(parameters: Iterator[Any]) -> float:
    """L2 norm of gradients already reduced over data parallel ranks.

    For fp32 without ZeRO, where DeepSpeed clips by a norm that it does not tell.
    """
    # A replicated parameter, such as a norm's, is counted on one tensor parallel rank only.
    first = parallel_state.get_tensor_model_parallel_rank() == 0
    squares = torch.zeros((), dtype=torch.float32, device=platform.device())
    for parameter in parameters:
        if parameter.grad is not None and (
            first or getattr(parameter, "tensor_model_parallel", False)
        ):
            squares += parameter.grad.float().square().sum()
    dist.all_reduce(squares, group=parallel_state.get_model_parallel_group())
    return float(squares.sqrt())
