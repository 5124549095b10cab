"""Train with megatron-core: its data parallelism, distributed optimizer and pipeline schedules."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer.clip_grads import clip_grad_by_total_norm_fp32
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.transformer.module import Float16Module

from launcher.spec.run import RunSpec
from launcher.workers.checkpoints.optimizer_state import class_names
from launcher.workers.checkpoints.training_state import TrainingState
from launcher.workers.data.batches import Batch, Batches
from launcher.workers.engines.engine import Apply, RankStep, Take, evaluating
from launcher.workers.model import platform, weights
from launcher.workers.model.gpt import PRECISIONS, chunks, transformer_config
from launcher.workers.model.groups import RankPlace


class MegatronEngine:
    """A GPTModel (or the chunks of one pipeline stage) and its optimizer."""

    def __init__(self, spec: RunSpec, place: RankPlace, batches: Batches) -> None:
        self._spec, self._place, self._batches = spec, place, batches
        config = transformer_config(spec)
        models = chunks(spec, config)
        self._named = list(chain(*(weights.named_weights(model, spec, place) for model in models)))
        weights.initialise(self._named, spec, place)
        layers = sum(len(model.decoder.layers) for model in models)
        self.built = weights.count(self._named, layers, spec, place)
        self._chunks = _distributed(spec, config, models)
        self._optimizer = _optimizer(spec, self._chunks)
        self.optimizer_name = class_names(self._optimizer)
        config.grad_scale_func = self._optimizer.scale_loss
        config.finalize_model_grads_func = finalize_model_grads
        self._run = get_forward_backward_func()

    def step(self, number: int, lr: float, apply: Apply) -> None:
        """Do one optimizer step: every micro batch forward and backward, then the update."""
        self._set_rate(lr)
        for chunk in self._chunks:
            chunk.zero_grad_buffer()
        self._optimizer.zero_grad()
        count = self._spec.accumulation_at(number)
        losses = self._schedule(_forward, lambda: self._data(number), count)
        self._optimizer.prepare_grads()
        norm = self._optimizer.get_grad_norm()
        loss_sum, tokens = 0.0, 0
        if self._place.last_stage and self._place.tp == 0:  # the others have none, or the same
            loss_sum = float(torch.stack([loss["sum"] for loss in losses]).sum())
            tokens = sum(loss["tokens"] for loss in losses)
        if apply(RankStep(loss_sum=loss_sum, tokens=tokens, grad_norm=float(norm))):
            self._update(norm)

    def _update(self, norm: Any) -> None:
        """Clip and update: the rest of the optimizer's own step, once the norm is known."""
        limit = self._spec.train.optimizer.clip_grad
        for optimizer in self._optimizer.chained_optimizers if limit else ():
            if parameters := optimizer.get_parameters():
                clip_grad_by_total_norm_fp32(parameters, max_norm=limit, total_norm=norm)
        self._optimizer.step_with_ready_grads()

    def state(self) -> TrainingState:
        """Return all that steps change."""
        return TrainingState(self._named, self._optimizer, self._spec, self._place)

    def forward_only(self, batches: Sequence[Batch], take: Take) -> None:
        """Pass micro batches through the model; weights that are still to be gathered are."""
        sequence = batches[0]["tokens"].size(1) * self._spec.layout.cp
        with evaluating(self._chunks):
            forward = partial(_forward_only, take)
            self._schedule(forward, lambda: iter(batches), len(batches), sequence)

    def _schedule(
        self,
        forward: Callable[..., Any],
        data: Callable[[], Iterator[Batch]],
        micro_batches: int,
        sequence: int | None = None,
    ) -> list[dict[str, Any]]:
        """Run megatron's schedule: with a ``sequence``, of that length, its forward passes alone.

        Return what the last stage reports of each micro batch.
        """
        several = len(self._chunks) > 1  # megatron's interleaved schedule takes lists
        iterators = [data() for _ in self._chunks]
        return self._run(
            forward_step_func=forward,
            data_iterator=iterators if several else iterators[0],
            model=self._chunks if several else self._chunks[0],
            num_microbatches=micro_batches,
            seq_length=sequence or self._spec.model.sequence,
            micro_batch_size=self._spec.layout.micro_batch,
            forward_only=sequence is not None,
        )

    def _data(self, number: int) -> Iterator[Batch]:
        """Micro batches of a step; empty ones for a stage in the middle of a pipeline."""
        if self._place.first_stage or self._place.last_stage:
            yield from self._batches.of_step(number)
        else:
            for _ in range(self._spec.accumulation_at(number)):
                yield {"tokens": None, "labels": None}

    def _set_rate(self, lr: float) -> None:
        decay = self._spec.train.optimizer.weight_decay
        for group in self._optimizer.param_groups:
            group["lr"] = lr
            # The optimizer alone would decay norms too: wd_mult is left to the scheduler.
            group["weight_decay"] = decay * group["wd_mult"]


def build(spec: RunSpec, place: RankPlace, batches: Batches) -> MegatronEngine:
    """Build the engine of ``backend: megatron``."""
    return MegatronEngine(spec, place, batches)


def _forward(data: Iterator[Batch], model: Any) -> tuple[Any, Any]:
    batch = next(data)
    losses = model(batch["tokens"], None, None, labels=batch["labels"])
    return losses, _loss


def _forward_only(take: Take, data: Iterator[Batch], model: Any) -> tuple[Any, Any]:
    batch = next(data)
    output = model(batch["tokens"], None, None, labels=batch.get("labels"))

    def taken(output: Any) -> tuple[Any, Any, dict[str, Any]]:
        take(output, batch)
        return output.new_zeros(()), torch.tensor(1, dtype=torch.int), {}

    return output, taken


def _loss(losses: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Loss sum and token count of a micro batch (megatron divides), and the figures to report."""
    total = losses.float().sum()
    count = losses.numel()
    reported = {"sum": total.detach().clone(), "tokens": count}  # megatron divides total in place
    return total, torch.tensor(count, dtype=torch.int), reported


def _distributed(spec: RunSpec, config: Any, models: list[Any]) -> list[Any]:
    if spec.train.precision == "bf16":
        models = [Float16Module(config, model) for model in models]
    overlap = spec.dp * spec.layout.cp > 1 and platform.overlap_pays()
    ddp = DistributedDataParallelConfig(
        grad_reduce_in_fp32=spec.train.reduces_in == "fp32",
        overlap_grad_reduce=overlap,
        use_distributed_optimizer=spec.layout.zero == 1,
        overlap_param_gather=overlap and spec.layout.zero == 1,
        check_for_nan_in_grad=False,  # the training loop does, and says so
    )
    wrapped = [
        DistributedDataParallel(config, ddp, model, disable_bucketing=number > 0)
        for number, model in enumerate(models)
    ]
    if overlap:
        functions = [model.no_sync for model in wrapped]
        config.no_sync_func = functions if len(functions) > 1 else functions[0]
    return wrapped


def _optimizer(spec: RunSpec, models: list[Any]) -> Any:
    settings = spec.train.optimizer
    config = OptimizerConfig(
        optimizer="adam",
        lr=settings.lr,
        min_lr=settings.min_lr,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.beta1,
        adam_beta2=settings.beta2,
        adam_eps=settings.eps,
        clip_grad=settings.clip_grad,
        bf16=spec.train.precision == "bf16",
        params_dtype=PRECISIONS[spec.train.precision],
        use_distributed_optimizer=spec.layout.zero == 1,
        overlap_param_gather=models[0].ddp_config.overlap_param_gather,
    )
    optimizer = get_megatron_optimizer(config, models, use_gloo_process_groups=False)
    for group in optimizer.param_groups:
        group["fused"] = True  # one kernel over all parameters; megatron has no option for it
    return optimizer
