"""Train megatron-core's GPTModel with DeepSpeed's engine: ZeRO 0 to 3, offload, TP, CP and EP."""

import contextlib
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.transformer.moe.moe_layer import MoELayer

from launcher.spec.run import RunSpec
from launcher.workers.checkpoints.training_state import State
from launcher.workers.data.batches import Batch, Batches
from launcher.workers.engines import deepspeed_setup
from launcher.workers.engines.engine import Apply, Done
from launcher.workers.engines.update_gate import Gate
from launcher.workers.model import platform, weights
from launcher.workers.model.gpt import transformer_config, whole
from launcher.workers.model.groups import Place


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
    """A whole GPTModel (its tensor parallel shard) in DeepSpeed's hands."""

    def __init__(self, spec: RunSpec, place: Place, batches: Batches) -> None:
        self._spec, self._place, self._batches = spec, place, batches
        deepspeed = deepspeed_setup.start()
        options = deepspeed_setup.configuration(spec)
        model, held = _model(spec, deepspeed, options)
        self._named = list(weights.named_weights(model, spec, place))
        weights.initialise(self._named, spec, place, held)
        self.built = weights.count(self._named, len(model.decoder.layers), spec, place)
        deepspeed_setup.sum_duplicates(model.parameters())
        groups = deepspeed_setup.groups_of(self._named, spec)
        if spec.layout.ep > 1:
            groups = _tell_experts(model, groups, spec)
        optimizer = deepspeed_setup.optimizer(groups, spec)
        self._engine, *_ = deepspeed.initialize(
            model=model, optimizer=optimizer, config=options, mpu=Groups()
        )
        self._gate = Gate(optimizer)

    def step(self, number: int, lr: float, apply: Apply) -> None:
        """One optimizer step: every micro batch forward and backward, the update at the last."""
        deepspeed_setup.begin(self._engine, self._spec, number, lr)
        total, tokens, norm = torch.zeros((), device=platform.device()), 0, None
        counts = self._place.tp == 0

        def ask() -> bool:
            known = self._engine.optimizer._global_grad_norm if norm is None else norm
            loss = float(total) if counts else 0.0
            return apply(Done(loss, tokens if counts else 0, float(known)))

        self._gate.arm(ask)
        for batch in self._batches.of_step(number):
            losses = self._forward_backward(batch)
            total += losses.detach().sum()
            tokens += losses.numel()
            if self._spec.layout.zero == 0 and self._engine.is_gradient_accumulation_boundary():
                norm = deepspeed_setup.grad_norm(self._engine.module.parameters())
            self._engine.step()
        self._gate.passed()

    def state(self) -> State:
        """All that the steps so far have changed."""
        return State(self._named, self._engine.optimizer, self._spec, self._place)

    def _forward_backward(self, batch: Batch) -> Any:
        losses = self._engine(batch["tokens"], None, None, labels=batch["labels"]).float()
        self._engine.backward(losses.mean())
        return losses


def build(spec: RunSpec, place: Place, batches: Batches) -> DeepSpeedEngine:
    """The engine of `launcher.workers.engines.engine.ENGINES`."""
    return DeepSpeedEngine(spec, place, batches)


def _model(spec: RunSpec, deepspeed: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """The model, and what makes one of its parameters whole.

    Under ZeRO-3 each parameter is partitioned as it is made, so no rank ever holds them all.
    """
    config = transformer_config(spec)
    if spec.layout.zero < 3:
        return whole(spec, config), contextlib.nullcontext
    group = Groups().get_data_parallel_group()
    with deepspeed.zero.Init(
        data_parallel_group=group,
        config_dict_or_path=options,
        mpu=Groups(),
        tensor_overrides=[],  # it would make RoPE's frequencies bf16
    ):
        model = whole(spec, config)

    def held(parameter: Any) -> Any:
        return deepspeed.zero.GatheredParameters([parameter], modifier_rank=0)

    return model, held


def _tell_experts(model: Any, groups: list[dict[str, Any]], spec: RunSpec) -> list[dict[str, Any]]:
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
    split = []
    for group in groups:
        experts = [p for p in group["params"] if not getattr(p, "allreduce", True)]
        others = [p for p in group["params"] if getattr(p, "allreduce", True)]
        for parameter in experts:
            parameter.group_name = name
        split.append(group | {"params": others})
        if experts:
            split.append(group | {"params": experts, "moe": True, "name": name})
    return split
