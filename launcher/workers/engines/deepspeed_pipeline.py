"""Train megatron-core's layers with DeepSpeed's pipeline engine: PP with TP, SP, DP, ZeRO 0 and 1.

The same modules as GPTModel's, in DeepSpeed's sequence; its engine schedules them (1F1B).
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from deepspeed.pipe import LayerSpec, PipelineModule
from deepspeed.runtime.pipe.topology import PipeModelDataParallelTopology
from megatron.core import parallel_state
from megatron.core.models.common.embeddings.language_model_embedding import LanguageModelEmbedding
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from megatron.core.tensor_parallel import ColumnParallelLinear, vocab_parallel_cross_entropy
from megatron.core.transformer.spec_utils import build_module

from launcher.spec.run import RunSpec
from launcher.workers.checkpoints.optimizer_state import class_names
from launcher.workers.checkpoints.training_state import TrainingState
from launcher.workers.data.batches import Batch, Batches
from launcher.workers.engines import deepspeed_setup
from launcher.workers.engines.engine import Apply, RankStep, Take, evaluating
from launcher.workers.engines.host_threads import widen_update
from launcher.workers.engines.update_gate import UpdateGate
from launcher.workers.model import platform, weights
from launcher.workers.model.attention import RMSNorm
from launcher.workers.model.gpt import PRECISIONS, layer_spec, transformer_config
from launcher.workers.model.groups import RankPlace
from launcher.workers.model.weights import NamedWeight


class Embedding(torch.nn.Module):
    """Tokens [b, s] to hidden states [s, b, h]."""

    prefix = ""

    def __init__(self, spec: RunSpec, config: Any) -> None:
        super().__init__()
        model = spec.model
        self.embedding = LanguageModelEmbedding(
            config, model.padded_vocab, model.sequence, position_embedding_type="rope"
        )

    def forward(self, tokens: Any) -> Any:
        """Look the tokens up; [s / tp, b, h] under sequence parallelism."""
        return self.embedding(tokens, None)


class Block(torch.nn.Module):
    """One transformer layer."""

    def __init__(self, spec: RunSpec, config: Any, number: int) -> None:
        super().__init__()
        self.prefix = f"decoder.layers.{number}."
        self.layer = build_module(layer_spec(spec.model), config=config, layer_number=number + 1)
        self._parts = _sequence_parts(spec)
        self._rotary = RotaryEmbedding(config.kv_channels, 1.0, rotary_base=spec.model.rope_theta)

    def forward(self, hidden: Any) -> Any:
        """Attention and feed-forward, [s, b, h]; s / tp under sequence parallelism."""
        frequencies = self._rotary(hidden.size(0) * self._parts)
        return self.layer(hidden, None, rotary_pos_emb=frequencies)[0]


class Head(torch.nn.Module):
    """The final norm and the logits of this rank's part of the vocabulary."""

    prefix = ""

    def __init__(self, spec: RunSpec, config: Any) -> None:
        super().__init__()
        model = spec.model
        self.final_layernorm = RMSNorm(config, model.hidden, eps=model.norm_eps)
        self.output_layer = ColumnParallelLinear(
            model.hidden,
            model.padded_vocab,
            config=config,
            init_method=config.init_method,
            bias=False,
            gather_output=False,
        )

    def forward(self, hidden: Any) -> Any:
        """Logits, [s, b, vocab / tp]."""
        return self.output_layer(self.final_layernorm(hidden))[0]


class Pipeline(PipelineModule):
    """DeepSpeed's sequence of layers, cut where ``layout.stages`` says."""

    def __init__(self, spec: RunSpec, config: Any) -> None:
        layout, layers = spec.layout, spec.model.layers
        self._layout = layout
        self._ends = list(accumulate(layout.stages(layers)))
        super().__init__(
            [
                LayerSpec(Embedding, spec, config),
                *(LayerSpec(Block, spec, config, number) for number in range(layers)),
                LayerSpec(Head, spec, config),
            ],
            topology=PipeModelDataParallelTopology(layout.pp, layout.tp, spec.dp),
            loss_fn=_loss,
            # More than 0 tells the engine that `forward` checkpoints.
            activation_checkpoint_interval=int(layout.recompute == "full"),
        )

    def forward(self, forward_input: Any) -> Any:
        """Run the modules of this stage; layers that are recomputed keep no more than their input.

        DeepSpeed's own interval would count the embedding as a layer, and recompute every one.
        """
        modules = self.forward_funcs
        first = int(not isinstance(modules[0], Block))  # behind the embedding
        blocks = sum(isinstance(module, Block) for module in modules)
        last = first + self._layout.recomputed_layers(blocks)
        hidden, start = forward_input, 0
        while start < len(modules):
            again = self.training and first <= start < last
            end = start + (self._layout.recompute_unit if again else 1)
            run = _in_sequence(modules[start:end])
            hidden = self.activation_checkpoint_func(run, hidden) if again else run(hidden)
            start = end
        return hidden

    def _partition_layers(self, method: str = "") -> None:
        """Put the embedding before the first layer, and the head after the last."""
        self.parts = [0, *(end + 1 for end in self._ends)]
        self.parts[-1] += 1
        stage = self._topo.get_coord(self.global_rank).pipe
        self._set_bounds(start=self.parts[stage], stop=self.parts[stage + 1])

    def named_weights(self, spec: RunSpec, place: RankPlace) -> Iterator[NamedWeight]:
        """Parameters of this stage, with their global names."""
        paths = []
        for module in self.children():
            for name, parameter in module.named_parameters():
                path = f"{module.prefix}{name.removeprefix('layer.')}"
                if path.startswith("final_layernorm"):
                    path = f"decoder.{path}"
                paths.append((path, parameter))
        return weights.with_experts_apart(paths, spec, place)


class PipelineEngine:
    """One stage of the model, trained by DeepSpeed's pipeline engine."""

    def __init__(self, spec: RunSpec, place: RankPlace, batches: Batches) -> None:
        self._spec, self._place, self._batches = spec, place, batches
        deepspeed = deepspeed_setup.start()
        net = Pipeline(spec, transformer_config(spec, pipeline=False))
        self._named = list(net.named_weights(spec, place))
        weights.initialise(self._named, spec, place)
        layers = sum(isinstance(module, Block) for module in net.children())
        self.built = weights.count(self._named, layers, spec, place)
        self._duplicates = deepspeed_setup.duplicate_sums(net.parameters())
        optimizer = deepspeed_setup.optimizer(deepspeed_setup.groups_of(self._named, spec), spec)
        options = deepspeed_setup.configuration(spec)
        # Both would assume that tensor parallel ranks hold equal activations; under SP they do not.
        options["pipeline"] = {"pipe_partitioned": False, "grad_partitioned": False}
        self._norm: float | None = None
        if spec.layout.zero == 0 and spec.train.precision == "fp32":
            options["gradient_clipping"] = 0.0
            optimizer.register_step_pre_hook(self._clip)
        self._gate = UpdateGate(optimizer)  # after the hook that clips, so that it knows the norm
        self._engine, *_ = deepspeed.initialize(model=net, optimizer=optimizer, config=options)
        self.optimizer_name = class_names(self._engine.optimizer)
        widen_update(self._engine.optimizer, spec)

    def step(self, number: int, lr: float, apply: Apply) -> None:
        """Do one optimizer step, as DeepSpeed schedules it."""
        deepspeed_setup.begin(self._engine, self._spec, number, lr)
        self._duplicates.begin(self._spec.accumulation_at(number))
        self._gate.arm(lambda: apply(self._rank_step(number)))
        data = ((batch["tokens"], batch["labels"]) for batch in self._batches.of_step(number))
        self._engine.train_batch(data)
        self._gate.end_step()

    def forward_only(self, batches: Sequence[Batch], take: Take) -> None:
        """Pass micro batches from stage to stage.

        DeepSpeed's own takes them in the shape of training alone, and counts them.
        """
        net, place = self._engine.module, self._place
        stages = parallel_state.get_pipeline_model_parallel_group()
        with evaluating([net]):
            for batch in batches:
                output = net(batch["tokens"] if place.first_stage else self._receive(batch))
                if not place.last_stage:
                    following = parallel_state.get_pipeline_model_parallel_next_rank()
                    dist.send(output.contiguous(), following, stages)
                    continue
                if "labels" in batch:
                    output = _losses(output, batch["labels"])
                take(output.transpose(0, 1), batch)

    def _receive(self, batch: Batch) -> Any:
        """Hidden states of a micro batch from the stage before, [s, b, h]; s / tp under SP."""
        rows, sequence = batch["tokens"].shape
        shape = (sequence // _sequence_parts(self._spec), rows, self._spec.model.hidden)
        dtype = PRECISIONS[self._spec.train.precision]
        hidden = torch.empty(shape, dtype=dtype, device=platform.device())
        stages = parallel_state.get_pipeline_model_parallel_group()
        dist.recv(hidden, parallel_state.get_pipeline_model_parallel_prev_rank(), stages)
        return hidden

    def _rank_step(self, number: int) -> RankStep:
        """Loss and gradient norm of a step's micro batches; called before the update."""
        norm = self._engine.optimizer._global_grad_norm if self._norm is None else self._norm
        if not self._place.last_stage or self._place.tp:
            return RankStep(loss_sum=0.0, tokens=0, grad_norm=float(norm))
        spec = self._spec
        tokens_per_micro_batch = spec.layout.micro_batch * spec.model.sequence
        return RankStep(
            loss_sum=float(self._engine.total_loss)
            * tokens_per_micro_batch,  # a sum of means of micro batches
            tokens=spec.accumulation_at(number) * tokens_per_micro_batch,
            grad_norm=float(norm),
        )

    def state(self) -> TrainingState:
        """Return all that steps change."""
        return TrainingState(self._named, self._engine.optimizer, self._spec, self._place)

    def _clip(self, optimizer: Any, *_: Any) -> None:
        """Clip by the norm of the whole model.

        Without ZeRO, DeepSpeed leaves the norms of all stages but the first out of it.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._norm = deepspeed_setup.grad_norm(iter(parameters))
        limit = self._spec.train.optimizer.clip_grad
        if 0 < limit < self._norm:
            for parameter in parameters:
                parameter.grad.mul_(limit / self._norm)


def _in_sequence(modules: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def run(hidden: Any) -> Any:
        for module in modules:
            hidden = module(hidden)
        return hidden

    return run


def _sequence_parts(spec: RunSpec) -> int:
    """Ranks that hold parts of a sequence between two layers."""
    return spec.layout.tp if spec.layout.sp else 1


def _losses(logits: Any, labels: Any) -> Any:
    """Loss of each token, [s, b]."""
    return vocab_parallel_cross_entropy(logits.float(), labels.transpose(0, 1).contiguous())


def _loss(logits: Any, labels: Any) -> Any:
    """Mean loss of a micro batch."""
    return _losses(logits, labels).mean()
