"""Process groups, and this rank's coordinates in each direction of the layout."""

from dataclasses import dataclass
from datetime import timedelta

import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from launcher.workers.model import platform

TIMEOUT_HOURS = 24
"""Timeout of a collective; so long that the watchdog, which says where a run hangs, is first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankPlace:
    """Coordinates of one rank in the layout; each number counts from 0 within its group."""

    tp: int
    pp: int
    cp: int
    dp: int
    dp_size: int
    ep: int
    expert_dp: int
    """Number of the replica of this rank's experts."""
    first_stage: bool
    last_stage: bool


def expert_tensor_parallel(layout: ParallelLayout) -> int:
    """Ranks that split one expert's matrices.

    Experts are spread over the tensor parallel ranks too where there is expert parallelism.
    Without it they are split like everything else: with neither, megatron-core would not sum
    their gradients over the tensor parallel ranks.
    """
    return 1 if layout.ep > 1 else layout.tp


def connect(spec: RunSpec) -> RankPlace:
    """Meet the other ranks, make every process group of the layout, and return this rank's."""
    platform.make_deterministic(spec.train.deterministic)
    platform.join(timedelta(hours=TIMEOUT_HOURS))
    layout = spec.layout
    parallel_state.initialize_model_parallel(
        layout.tp,
        layout.pp,
        layout.vpp if layout.vpp > 1 else None,
        context_parallel_size=layout.cp,
        expert_model_parallel_size=layout.ep,
        expert_tensor_parallel_size=expert_tensor_parallel(layout),
        distributed_timeout_minutes=TIMEOUT_HOURS * 60,
        create_gloo_process_groups=False,
    )
    torch.manual_seed(spec.train.seed)
    model_parallel_cuda_manual_seed(spec.train.seed)  # nothing is random, but SP asks for it
    return _place(spec)


def _place(spec: RunSpec) -> RankPlace:
    stage = parallel_state.get_pipeline_model_parallel_rank()
    return RankPlace(
        tp=parallel_state.get_tensor_model_parallel_rank(),
        pp=stage,
        cp=parallel_state.get_context_parallel_rank(),
        dp=parallel_state.get_data_parallel_rank(),
        dp_size=parallel_state.get_data_parallel_world_size(),
        ep=parallel_state.get_expert_model_parallel_rank(),
        expert_dp=parallel_state.get_expert_data_parallel_rank(),
        first_stage=stage == 0,
        last_stage=stage == spec.layout.pp - 1,
    )
