"""Reduction of gradients in DeepSpeed's ZeRO 1 and 2: in no more bytes than needed, overlapped."""

from collections.abc import Sequence
from typing import Any

from deepspeed import comm
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime import engine as runtime
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer

_CHOSEN = runtime.DeepSpeedEngine._do_optimizer_sanity_check


def install() -> None:
    """Replace the two functions of DeepSpeed that the functions here stand for."""
    runtime.DeepSpeedEngine._do_optimizer_sanity_check = choose_wrapper
    DeepSpeedZeroOptimizer.allreduce_and_copy = reduce_to_owner


def choose_wrapper(engine: Any, optimizer: Any) -> Any:
    """Choose how an optimizer is wrapped by the stage of ZeRO alone.

    Left to itself, in bf16, DeepSpeed takes its BF16_Optimizer for stage 1: that all-reduces every
    gradient after the last backward pass, twice the bytes, unhidden. Without ZeRO, which in bf16 is
    a pipeline's, it refuses to add gradients up in fp32, which BF16_Optimizer can.
    """
    if engine.zero_optimization():
        return runtime.ZERO_OPTIMIZATION
    return runtime.BFLOAT16 if engine.bfloat16_enabled() else _CHOSEN(engine, optimizer)


def reduce_to_owner(
    optimizer: Any,
    gradients: Sequence[Any],
    dtype: Any,
    rank: int | None = None,
    log: Any = None,
    divide: bool = True,
    process_group: Any = None,
    output_bucket: Sequence[Any] | None = None,
) -> None:
    """Reduce parts of a bucket to the rank that owns them, in the stream of the caller.

    DeepSpeed's own waits for all that runs on the card before each, so that no backward pass runs
    beside it. What it waits for is that gradients can be freed, which those of a contiguous bucket
    are not; where it all-reduces a bucket it does not wait either.
    """
    assert optimizer.contiguous_gradients
    group = process_group or optimizer.dp_process_group
    reduced = optimizer.allreduce_bucket(
        gradients, dtype, rank=rank, divide=divide, process_group=group
    )
    in_own_stream = optimizer.overlap_comm and not get_accelerator().resolves_data_dependency()
    if in_own_stream:
        reduced.record_stream(optimizer.reduction_stream)
    if rank is not None and rank != comm.get_rank(group=group):
        return
    outputs = output_bucket or [None] * len(gradients)
    parts = zip(gradients, optimizer.unflatten(reduced, gradients), outputs, strict=True)
    for gradient, total, output in parts:
        optimizer._add_to_grad_partition_buffer(output, total)
        gradient.copy_(total)
        if in_own_stream:
            gradient.record_stream(optimizer.reduction_stream)
