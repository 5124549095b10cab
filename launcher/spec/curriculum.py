"""A staged run: the data and schedule of each stage, and the specs that this makes of one run."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from launcher.decode import Count, NotNegative, Positive, Whole, decode, encode
from launcher.errors import ConfigError
from launcher.spec.batch_ramp import BatchRamp
from launcher.spec.optimizer import Decay, Optimizer, learning_rate
from launcher.spec.run import Data, RunSpec, Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A learning-rate schedule. It holds from the stage that states it until the next that does;
    the run's own, in train.optimizer, until the first that does."""

    lr: Positive | None = None
    """Peak; null is the learning rate that the schedule before ended with."""
    min_lr: NotNegative | None = None
    """At its end; null is train.optimizer.min_lr, or lr where that is lower."""
    warmup_steps: Whole = 0
    """Optimizer steps from the learning rate that the schedule before ended with to lr."""
    decay: Decay = "cosine"
    """Shape of the decay from lr to min_lr; constant stays at lr."""
    decay_steps: Count | None = None
    """Last steps, over which it decays, stable before (WSD); all after warm-up if null."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePlan:
    """One stage; what it does not say is as the run has it."""

    tokens: Count
    """Tokens to train on; rounded up to whole optimizer steps."""
    blend: dict[str, float] | None = None
    """Source -> weight; null is data.blend."""
    sequence: Count | None = None
    """Tokens of a sequence; null is model.sequence."""
    global_batch: Count | None = None
    """Sequences per optimizer step; null is train.global_batch."""
    batch_ramp: BatchRamp | None = None
    """Growth of the global batch to that at the beginning of the stage; null is none."""
    schedule: Schedule | None = None
    """Learning-rate schedule from here on; null goes on with the one before."""
    layout: dict[str, Any] | None = None
    """Fields of layout that differ from the run's."""
    nodes: Count | None = None
    """null is cluster.nodes."""
    gpus_per_node: Count | None = None
    """null is cluster.gpus_per_node."""
    backend: str | None = None
    """null is the run's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curriculum:
    """The stages of one run, in their order."""

    name: str
    """Name of the run's folder."""
    stages: dict[str, StagePlan]
    """Name -> stage."""
    max_epochs: Positive = 4.0
    """Passes over any source in all stages together, of which more are refused. Up to 4 cost next
    to nothing (Muennighoff et al. 2023, arXiv:2305.16264)."""

    def check(self) -> None:
        """Raise ConfigError on stages that no run can have."""
        if not self.stages:
            raise ConfigError("curriculum.stages: is empty; name at least one stage")
        for name in self.stages:
            if not name.strip() or "/" in name or "\0" in name:
                raise ConfigError(f"curriculum.stages: {name!r} cannot name a folder")


Resolve = Callable[[Data, str], Data]
"""Data by absolute paths and with the digest of its content; the text says which key it is of."""


def stage_specs(curriculum: Curriculum, base: RunSpec, resolve: Resolve) -> list[RunSpec]:
    """Return the spec of every stage, in their order.

    Raises:
        ConfigError: fields that disagree, or that a layout does not have; data that is not there.
    """
    plans = list(curriculum.stages.items())
    specs = _one_tokenizer([_spec(name, plan, base) for name, plan in plans])
    specs = [
        replace(spec, data=resolve(spec.data, f"curriculum.stages.{name}"))
        for spec, (name, _) in zip(specs, plans, strict=True)
    ]
    steps = [_steps(spec, plan.tokens) for spec, (_, plan) in zip(specs, plans, strict=True)]
    segments = list(_segments(plans, steps, base.train.optimizer))
    stages: list[RunSpec] = []
    for (name, plan), spec, stage_steps, (schedule_after, schedule_steps, optimizer) in zip(
        plans, specs, steps, segments, strict=True
    ):
        train = replace(
            spec.train,
            steps=stage_steps,
            tokens=plan.tokens,
            untimed_steps=min(base.train.untimed_steps, stage_steps - 1),
            optimizer=optimizer,
        )
        stage = replace(
            _stage_after(stages, spec, name),
            schedule_after=schedule_after,
            schedule_steps=schedule_steps,
            max_epochs=curriculum.max_epochs,
        )
        stages.append(replace(spec, train=train, stage=stage))
    return stages


def _stage_after(stages: Sequence[RunSpec], spec: RunSpec, name: str) -> Stage:
    """Place of a stage after others; its schedule is not known here."""
    last = stages[-1] if stages else None
    sequence = spec.model.sequence
    same_length = _tokens_before(spec, stages, sequence)
    return Stage(
        number=len(stages) + 1,
        name=name,
        steps_before=last.last if last else 0,
        tokens_before=last.tokens_through(last.last) if last else 0,
        parent=last.trajectory if last else None,
        schedule_after=0,
        schedule_steps=1,
        samples_before={
            name: tokens // spec.model.sequence for name, tokens in same_length.items()
        },
        source_tokens=_tokens_before(spec, stages, None),
        max_epochs=1,
    )


def _one_tokenizer(specs: list[RunSpec]) -> list[RunSpec]:
    """Give all stages one tokenizer: one that is trained is trained on all their texts."""
    if specs[0].data.tokenizer != "bpe":
        return specs
    texts = tuple(sorted({source for spec in specs for source in spec.data.texts}))
    return [replace(spec, data=replace(spec.data, tokenizer_texts=texts)) for spec in specs]


def most_samples(spec: RunSpec) -> dict[str, int]:
    """Return the most sequences that a run can take from each source: the blend rounds."""
    total, count = sum(spec.data.blend.values()), spec.samples_through(spec.last)
    return {
        source: math.ceil(count * weight / total) + len(spec.data.blend)
        for source, weight in spec.data.blend.items()
    }


def _spec(name: str, plan: StagePlan, base: RunSpec) -> RunSpec:
    """A stage's spec but for what depends on the stages before it."""
    where = f"curriculum.stages.{name}"
    layout = decode(type(base.layout), encode(base.layout) | (plan.layout or {}), f"{where}.layout")
    blend = base.data.blend if plan.blend is None else plan.blend
    if not blend or any(weight <= 0 for weight in blend.values()):
        raise ConfigError(f"{where}.blend: {blend} is not one or more weights above 0")
    return replace(
        base,
        model=replace(base.model, sequence=plan.sequence or base.model.sequence),
        layout=layout,
        cluster=replace(
            base.cluster,
            nodes=plan.nodes or base.cluster.nodes,
            gpus_per_node=plan.gpus_per_node or base.cluster.gpus_per_node,
        ),
        train=replace(
            base.train,
            global_batch=plan.global_batch or base.train.global_batch,
            batch_ramp=plan.batch_ramp,
        ),
        data=replace(base.data, blend=blend),
        backend=plan.backend or base.backend,
    )


def _steps(spec: RunSpec, tokens: int) -> int:
    """Optimizer steps that take so many tokens, rounded up."""
    samples = -(-tokens // spec.model.sequence)
    ramp, batch = spec.train.batch_ramp, spec.train.global_batch
    if ramp is None:
        return -(-samples // batch)
    last = [phase for phase in ramp.phases(batch) if phase.samples < samples][-1]
    return last.steps - (last.samples - samples) // last.batch


def _segments(
    stages: Sequence[tuple[str, StagePlan]], steps: Sequence[int], base: Optimizer
) -> Iterator[tuple[int, int, Optimizer]]:
    """Yield for each stage its schedule: the step it begins after, its steps, and the optimizer."""
    starts = [i for i, (_, plan) in enumerate(stages) if i == 0 or plan.schedule is not None]
    end_lr = 0.0
    for number, start in enumerate(starts):
        stop = starts[number + 1] if number + 1 < len(starts) else len(stages)
        schedule_after, schedule_steps = sum(steps[:start]), sum(steps[start:stop])
        name, plan = stages[start]
        try:
            previous_lr = end_lr if start else None
            optimizer = _optimizer(plan.schedule, base, previous_lr) if plan.schedule else base
        except ConfigError as error:
            raise ConfigError(f"curriculum.stages.{name}.schedule.{error}") from error
        end_lr = learning_rate(optimizer, schedule_steps, schedule_steps)
        for _ in range(start, stop):
            yield schedule_after, schedule_steps, optimizer


def _optimizer(schedule: Schedule, base: Optimizer, previous_lr: float | None) -> Optimizer:
    """``base`` with another schedule, going on from the learning rate ``previous_lr``."""
    if schedule.lr is None and previous_lr == 0:
        raise ConfigError("lr: null, but the schedule before ends at 0; give the peak of this one")
    lr = schedule.lr or previous_lr or base.lr
    min_lr = min(base.min_lr, lr) if schedule.min_lr is None else schedule.min_lr
    return replace(
        base,
        start_lr=base.start_lr if previous_lr is None else previous_lr,
        lr=lr,
        min_lr=min_lr,
        warmup_steps=schedule.warmup_steps,
        decay=schedule.decay,
        decay_steps=schedule.decay_steps,
    )


def _tokens_before(
    spec: RunSpec, stages: Sequence[RunSpec], sequence: int | None
) -> dict[str, int]:
    """Tokens that stages took from each source of a spec; of one sequence length, unless None."""
    tokens = Counter[str]()
    for stage in stages:
        stage_sequence = stage.model.sequence
        if sequence in (None, stage_sequence):
            tokens.update(
                {name: count * stage_sequence for name, count in most_samples(stage).items()}
            )
    return {source: tokens[source] for source in spec.data.blend}
