"""Train megatron-core's GPTModel with DeepSpeed's engine: ZeRO 0 to 3, offload, TP, CP and EP."""

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.transformer.moe.moe_layer import MoELayer

from launcher.spec.run import RunSpec
from launcher.workers.checkpoints.optimizer_state import class_names
from launcher.workers.checkpoints.training_state import TrainingState
from launcher.workers.data.batches import Batch, Batches
from launcher.workers.engines import deepspeed_setup
from launcher.workers.engines.engine import Apply, Engine, RankStep, Take, evaluating
from launcher.workers.engines.host_threads import widen_update
from launcher.workers.engines.update_gate import UpdateGate
from launcher.workers.model import platform, weights
from launcher.workers.model.gpt import full_model, transformer_config
from launcher.workers.model.groups import RankPlace


class Groups:
    """megatron's process groups under the names that ``deepspeed.initialize(mpu=...)`` asks for.

    ``model_parallel`` are DeepSpeed's older names of tensor parallelism. Context parallel ranks
    count as data parallel: they hold the same weights and other tokens.
    """

    def get_model_parallel_rank(self) -> int:
        return parallel_state.get_tensor_model_parallel_rank()

    def get_model_parallel_world_size(self) -> int:
        return parallel_state.get_tensor_model_parallel_world_size()

    def get_model_parallel_group(self) -> Any:
        return parallel_state.get_tensor_model_parallel_group()

    get_tensor_model_parallel_rank = get_model_parallel_rank
    get_tensor_model_parallel_world_size = get_model_parallel_world_size
    get_tensor_model_parallel_group = get_model_parallel_group

    def get_data_parallel_rank(self) -> int:
        return parallel_state.get_data_parallel_rank(with_context_parallel=True)

    def get_data_parallel_world_size(self) -> int:
        return parallel_state.get_data_parallel_world_size(with_context_parallel=True)

    def get_data_parallel_group(self) -> Any:
        return parallel_state.get_data_parallel_group(with_context_parallel=True)


class DeepSpeedEngine:
    """A GPTModel with all its layers (of each its tensor parallel shard), trained by DeepSpeed."""

    def __init__(self, spec: RunSpec, place: RankPlace, batches: Batches) -> None:
        self._spec, self._place, self._batches = spec, place, batches
        deepspeed = deepspeed_setup.start()
        options = deepspeed_setup.configuration(spec)
        model, gathered = _model(spec, deepspeed, options)
        self._named = list(weights.named_weights(model, spec, place))
        weights.initialise(self._named, spec, place, gathered)
        self.built = weights.count(self._named, len(model.decoder.layers), spec, place)
        self._duplicates = deepspeed_setup.duplicate_sums(model.parameters())
        groups = deepspeed_setup.groups_of(self._named, spec)
        if spec.layout.ep > 1:
            groups = _register_experts(model, groups, spec)
        optimizer = deepspeed_setup.optimizer(groups, spec)
        self._engine, *_ = deepspeed.initialize(
            model=model, optimizer=optimizer, config=options, mpu=Groups()
        )
        widen_update(self._engine.optimizer, spec)
        self._gate = UpdateGate(optimizer)
        self.optimizer_name = class_names(self._engine.optimizer)

    def step(self, number: int, lr: float, apply: Apply) -> None:
        """Do one optimizer step: every micro batch forward and backward, the update at the last."""
        deepspeed_setup.begin(self._engine, self._spec, number, lr)
        self._duplicates.begin(self._spec.accumulation_at(number))
        total, tokens, norm = torch.zeros((), device=platform.device()), 0, None
        accounts_for_loss = self._place.tp == 0

        def ask() -> bool:
            grad_norm = self._engine.optimizer._global_grad_norm if norm is None else norm
            if accounts_for_loss:
                return apply(RankStep(float(total), tokens, float(grad_norm)))
            return apply(RankStep(0.0, 0, float(grad_norm)))

        self._gate.arm(ask)
        for batch in self._batches.of_step(number):
            losses = self._forward_backward(batch)
            total += losses.detach().sum()
            tokens += losses.numel()
            if self._spec.layout.zero == 0 and self._engine.is_gradient_accumulation_boundary():
                norm = deepspeed_setup.grad_norm(self._engine.module.parameters())
            self._engine.step()
        self._gate.end_step()

    def forward_only(self, batches: Sequence[Batch], take: Take) -> None:
        """Pass micro batches through the model, whose hooks gather what ZeRO-3 partitions."""
        model = self._engine.module
        with evaluating([model]):
            for batch in batches:
                take(model(batch["tokens"], None, None, labels=batch.get("labels")), batch)

    def state(self) -> TrainingState:
        """Return all that steps change."""
        return TrainingState(self._named, self._engine.optimizer, self._spec, self._place)

    def _forward_backward(self, batch: Batch) -> Any:
        losses = self._engine(batch["tokens"], None, None, labels=batch["labels"]).float()
        self._engine.backward(losses.mean())
        return losses


def build(spec: RunSpec, place: RankPlace, batches: Batches) -> Engine:
    """Build the engine of ``backend: deepspeed``; stages of a pipeline have one of their own."""
    if spec.layout.pp > 1:
        from launcher.workers.engines.deepspeed_pipeline import PipelineEngine

        return PipelineEngine(spec, place, batches)
    return DeepSpeedEngine(spec, place, batches)


def _model(spec: RunSpec, deepspeed: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """Return the model, and a function that gives a context in which a parameter is complete.

    Under ZeRO-3 each parameter is partitioned as it is made, so no rank ever holds them all.
    """
    config = transformer_config(spec)
    if spec.layout.zero < 3:
        return full_model(spec, config), contextlib.nullcontext
    group = Groups().get_data_parallel_group()
    with deepspeed.zero.Init(
        data_parallel_group=group,
        config_dict_or_path=options,
        mpu=Groups(),
        tensor_overrides=[],  # it would make RoPE's frequencies bf16
    ):
        model = full_model(spec, config)

    def gathered(parameter: Any) -> Any:
        return deepspeed.zero.GatheredParameters([parameter], modifier_rank=0)

    return model, gathered


def _register_experts(
    model: Any, groups: list[dict[str, Any]], spec: RunSpec
) -> list[dict[str, Any]]:
    """Register megatron's expert groups with DeepSpeed, and give experts groups of their own.

    Both libraries mark an expert's parameters by ``allreduce = False``; DeepSpeed then looks
    for its own names of the groups, which only its own MoE layer would have set.
    """
    import deepspeed.runtime.engine as runtime
    from deepspeed.utils import groups as registry

    name = f"ep_size_{spec.layout.ep}"
    registry._EXPERT_PARALLEL_GROUP[name] = parallel_state.get_expert_model_parallel_group()
    registry._EXPERT_DATA_PARALLEL_GROUP[name] = parallel_state.get_expert_data_parallel_group()
    runtime.MoE = (runtime.MoE, MoELayer)  # it asks isinstance(module, MoE)
    for module in model.modules():
        if isinstance(module, MoELayer):
            module.num_experts = spec.model.experts
    split_groups = []
    for group in groups:
        experts = [p for p in group["params"] if not getattr(p, "allreduce", True)]
        dense = [p for p in group["params"] if getattr(p, "allreduce", True)]
        for parameter in experts:
            parameter.group_name = name
        split_groups.append(group | {"params": dense})
        if experts:
            split_groups.append(group | {"params": experts, "moe": True, "name": name})
    return split_groups
