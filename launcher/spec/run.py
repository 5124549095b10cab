"""One run, fully described: equal specs are the same run."""

import dataclasses
import json
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from typing import Annotated, Any, get_type_hints

from launcher.decode import (
    Count,
    NotNegative,
    Positive,
    Range,
    Whole,
    added,
    canonical,
    content,
    decode,
    digest,
    fingerprint,
    join,
)
from launcher.errors import ConfigError
from launcher.spec import environment
from launcher.spec.batch_ramp import BatchRamp, Phase
from launcher.spec.cluster import Cluster, Precision
from launcher.spec.layout import ParallelLayout
from launcher.spec.optimizer import SCHEDULE, Optimizer, learning_rate
from launcher.spec.shape import ModelShape
from launcher.spec.spike_guard import SpikeGuard


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """The training itself: batches, steps, precision, optimizer."""

    global_batch: Count
    """Sequences per optimizer step."""
    batch_ramp: BatchRamp | None = None
    """Growth of the global batch to that; null is the whole of it from the first step on."""
    steps: Count
    """Optimizer steps of this run."""
    tokens: Count | None = None
    """Tokens of the real run to come; eta_days is for these."""
    untimed_steps: Whole = 2
    """First steps, kept in the metrics and left out of the figures."""
    precision: Precision = "bf16"
    """Precision of the matrix products; master weights are fp32."""
    reduce_precision: Precision | None = added(None)
    """Precision in which gradients are summed over data parallel ranks; null is fp32. bf16 is half
    the bytes; megatron then adds up micro batches in bf16 too, deepspeed in fp32."""
    seed: Whole = 1234
    """Decides the initial weights and the order of the data."""
    moe_aux_loss: NotNegative = 0.0
    """Weight of the load-balancing loss of a mixture of experts (per sequence)."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    deterministic: bool = added(False)
    """Make every sum in one order on cards too, slower: two runs of one layout on the same cards
    have the same losses bit by bit. On a CPU they have them anyhow."""
    spike_guard: SpikeGuard | None = None
    """Answers to loss spikes; null ends a run whose loss is not finite, and no more. It needs
    checkpoint_every."""
    probe_micro_batches: Count | None = added(None)
    """Micro batches per step of a trial that is to tell the speed of the whole global batch; null
    is all of them. A sweep sets it where a trial would take too long: see sweep.trial_seconds."""

    @property
    def reduces_in(self) -> Precision:
        """Precision in which gradients are summed over data parallel ranks, on either engine."""
        return self.reduce_precision or "fp32"


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """The text, and how it becomes tokens."""

    blend: dict[str, float]
    """Source -> weight. A source is bundled/prose, bundled/code, or the path of a
    megatron .bin/.idx pair (with or without the ending), a .jsonl or a .txt file."""
    tokenizer: str = "bpe"
    """bpe (trained on the blend's text), bytes, or the path of a tokenizer.json."""
    tokenizer_vocab: Count = 2048
    """Vocabulary of the bpe tokenizer that is trained."""
    tokenizer_texts: tuple[str, ...] = ()
    """Texts the bpe tokenizer is trained on; the blend's where there are none."""
    held_out: Annotated[float, Range(low=0.0, high=0.5)] = 0.0
    """Share of the documents of each source that is not trained on, for validation."""
    content: str | None = None
    """Digest of the content of sources and tokenizer; the launcher fills it in, so that a run on
    changed text is another run."""

    def __hash__(self) -> int:
        return hash((self.tokenizer, self.content))  # cheap: it is asked for all the time

    @property
    def texts(self) -> tuple[str, ...]:
        """Sources, of which the text ones train the tokenizer."""
        return self.tokenizer_texts or tuple(self.blend)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Place of a run in a curriculum: the training before it, and its part of a schedule.

    Steps of its metrics, checkpoints and events go on counting from the stages before.
    """

    number: Count
    """From 1."""
    name: str
    steps_before: Whole
    """Optimizer steps of the stages before."""
    tokens_before: Whole
    """Tokens of the stages before."""
    parent: str | None
    """Trajectory of the stage before, which this one goes on from; null for the first."""
    schedule_after: Whole
    """Step after which the learning-rate schedule begins that this stage is a part of."""
    schedule_steps: Count
    """Optimizer steps of that schedule."""
    samples_before: dict[str, int]
    """Source -> sequences of this length that the stages before took: this one goes on there."""
    source_tokens: dict[str, int]
    """Source -> tokens that the stages before took, in sequences of any length."""
    max_epochs: Positive
    """Passes over a source, stages before included, of which more are refused."""

    def __hash__(self) -> int:
        return hash((self.number, self.name, self.parent))


@dataclass(frozen=True, kw_only=True)  # no slots, to keep `id`: it is asked for all the time
class RunSpec:
    """Everything that decides what a run computes and how fast; no paths of its output."""

    model: ModelShape
    layout: ParallelLayout
    cluster: Cluster
    train: Train
    data: Data
    backend: str
    """The engine: a key of ``launcher.backends.BACKENDS``."""
    stage: Stage | None = None
    """Its place in a curriculum; null for a run by itself."""

    @cached_property
    def id(self) -> str:
        """12 hex digits of the content: the name of the run's folder."""
        # `fingerprint(self)`, but the points of a sweep share most of their parts.
        parts = (f'"{name}": {_canonical(getattr(self, name))}' for name in FIELD_NAMES)
        return digest("{" + ", ".join(parts) + "}")

    @property
    def name(self) -> str:
        """The name of the run's folder, and of its job."""
        return f"{self.stage.number}-{self.stage.name}" if self.stage else self.id

    @cached_property
    def trajectory(self) -> str:
        """12 hex digits of `loss_settings`: of two specs with the same one, either can go on from
        the other's checkpoints."""
        settings = self.loss_settings()
        for name in SCHEDULE:  # of a schedule that spans stages only the rates of this one count
            del settings["train"]["optimizer"][name]
        for name in ("schedule_after", "schedule_steps"):
            settings["stage"].pop(name, None)
        # Whatever differs between two schedules shows at one of these: it begins or ends a stretch.
        steps = range(self.first + 1, self.last + 1)
        sampled = {*steps[:SAMPLED], *steps[-SAMPLED:], *steps[:: max(len(steps) // SAMPLED, 1)]}
        return fingerprint([settings, [self.rate(step) for step in sorted(sampled)]])

    @cached_property
    def scaling_group(self) -> str:
        """12 hex digits of all but the size of the machine and the global batch: what is compared
        in strong and weak scaling."""
        train = content(self.train)
        for name in ("global_batch", "probe_micro_batches"):
            train.pop(name, None)
        machine = content(self.cluster)
        for name in ("nodes", "gpus_per_node"):
            del machine[name]
        return fingerprint([self.model, self.layout, machine, train, self.data, self.backend])

    def loss_settings(self) -> dict[str, Any]:
        """Settings that decide the losses: layout, machines and engine do not, nor do the answers
        to accidents."""
        train = content(self.train)
        for name in ("untimed_steps", "tokens", "spike_guard", "deterministic"):
            train.pop(name, None)
        if self.train.reduces_in == "fp32":  # said or not
            train.pop("reduce_precision", None)
        stage = content(self.stage) if self.stage else {}
        stage.pop("max_epochs", None)
        model = content(self.model) | {"name": ""}
        return {"model": model, "train": train, "data": content(self.data), "stage": stage}

    def rate(self, step: int) -> float:
        """Learning rate of optimizer step ``step``; of a stage, by the schedule it is a part of."""
        stage, optimizer = self.stage, self.train.optimizer
        if stage is None:
            return learning_rate(optimizer, step, self.train.steps)
        return learning_rate(optimizer, step - stage.schedule_after, stage.schedule_steps)

    @property
    def first(self) -> int:
        """Optimizer steps before this run's own."""
        return self.stage.steps_before if self.stage else 0

    @property
    def last(self) -> int:
        """The last optimizer step of this run."""
        return self.first + self.train.steps

    def batch_at(self, step: int) -> int:
        """Sequences of optimizer step ``step``."""
        return self._phase(step).batch

    def samples_through(self, step: int) -> int:
        """Sequences of this run's own steps up to ``step``, that one included."""
        if step <= self.first:
            return 0
        phase = self._phase(step)
        return phase.samples + phase.batch * (step - self.first - phase.steps)

    def tokens_through(self, step: int) -> int:
        """Tokens up to ``step``, stages before included."""
        tokens_before = self.stage.tokens_before if self.stage else 0
        return tokens_before + self.samples_through(step) * self.model.sequence

    def _phase(self, step: int) -> Phase:
        return next(phase for phase in reversed(self._phases) if phase.steps < step - self.first)

    @cached_property
    def _phases(self) -> tuple[Phase, ...]:
        ramp, batch = self.train.batch_ramp, self.train.global_batch
        return ramp.phases(batch) if ramp else (Phase(batch, 0, 0),)

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step over all ranks, of the whole global batch."""
        return self.train.global_batch * self.model.sequence

    @property
    def dp(self) -> int:
        """Data parallel size."""
        return self.layout.dp(self.cluster.gpus)

    @property
    def accumulation(self) -> int:
        """Micro batches per optimizer step of one data parallel rank, of the whole global batch."""
        return self.layout.accumulation(self.cluster.gpus, self.train.global_batch)

    @property
    def trained(self) -> "RunSpec":
        """The run that its ranks do: of a trial with fewer micro batches per step, one of those."""
        probe = self.train.probe_micro_batches
        if probe is None:
            return self
        batch = probe * self.layout.micro_batch * self.dp
        train = replace(self.train, global_batch=batch, probe_micro_batches=None)
        return replace(self, train=train)

    def accumulation_at(self, step: int) -> int:
        """`accumulation` in optimizer step ``step``."""
        return self.layout.accumulation(self.cluster.gpus, self.batch_at(step))

    def check(self) -> None:
        """Raise RequestError on the first thing arithmetic alone shows to be impossible."""
        train = self.train
        if train.untimed_steps >= train.steps:
            raise ConfigError(
                f"train.untimed_steps: {train.untimed_steps} leaves none of"
                f" train.steps {train.steps} to measure"
            )
        if train.reduces_in == "bf16" and train.precision == "fp32":
            raise ConfigError(
                "train.reduce_precision: bf16 would round the gradients of train.precision fp32"
            )
        self._check_schedule()
        if train.deterministic:
            environment.check_determinism(self.cluster.environment, "cluster.environment")
        if train.spike_guard:
            train.spike_guard.check("train.spike_guard")
        if train.batch_ramp:
            self._check_ramp(train.batch_ramp)
        self.layout.check(self.model, self.cluster.gpus, train.global_batch)
        if train.probe_micro_batches is not None:
            self._check_probe(train.probe_micro_batches)

    def _check_probe(self, probe: int) -> None:
        name, layout = f"train.probe_micro_batches: {probe}", self.layout
        if self.train.batch_ramp or self.stage:
            taken = "train.batch_ramp" if self.train.batch_ramp else "a stage of a curriculum"
            raise ConfigError(f"{name} is for a trial of one global batch, not for {taken}")
        if probe > self.accumulation:
            raise ConfigError(
                f"{name} is more than the {self.accumulation} of train.global_batch"
                f" {self.train.global_batch} at micro_batch {layout.micro_batch} x dp {self.dp}"
            )
        self.trained.check()

    def _check_schedule(self) -> None:
        optimizer = self.train.optimizer
        if optimizer.min_lr > optimizer.lr:
            raise ConfigError(
                f"train.optimizer.min_lr: {optimizer.min_lr:g} is above"
                f" train.optimizer.lr {optimizer.lr:g}"
            )
        steps = self.stage.schedule_steps if self.stage else self.train.steps
        after_warmup = steps - optimizer.warmup_steps
        if (optimizer.decay_steps or 0) > max(after_warmup, 0):
            total = f"the {steps} steps of its schedule" if self.stage else f"train.steps {steps}"
            raise ConfigError(
                f"train.optimizer.decay_steps: {optimizer.decay_steps} is more than the"
                f" {max(after_warmup, 0)} that warmup_steps {optimizer.warmup_steps} leaves of"
                f" {total}"
            )
        if self.stage and after_warmup <= 0:  # a run by itself may be a short probe of a long one
            raise ConfigError(
                f"train.optimizer.warmup_steps: {optimizer.warmup_steps} leaves none of the {steps}"
                " steps of its schedule"
            )

    def _check_ramp(self, ramp: BatchRamp) -> None:
        ramp.check(self.train.global_batch, "train.batch_ramp")
        if self._phases[-1].steps >= self.train.steps:
            raise ConfigError(
                f"train.batch_ramp.samples: {ramp.samples} is not below the"
                f" {self.samples_through(self.last)} sequences of all train.steps"
                f" {self.train.steps}: the batch never gets to train.global_batch"
            )
        layout, dp = self.layout, self.dp
        granularity = layout.micro_batch * dp * (layout.pp if layout.vpp > 1 else 1)
        for name, value in (("start", ramp.start), ("increment", ramp.increment)):
            if value % granularity:
                pp = f" x pp {layout.pp}" if layout.vpp > 1 else ""
                raise ConfigError(
                    f"train.batch_ramp.{name}: {value} is not a multiple of micro_batch"
                    f" {layout.micro_batch} x dp {dp}{pp} ({granularity})"
                )


SAMPLED = 128
"""Steps of a run whose learning rates are compared at its start, at its end, and in between."""

SECONDS_A_DAY = 86400

FIELD_NAMES = sorted(part.name for part in dataclasses.fields(RunSpec))

_canonical = lru_cache(maxsize=2**16)(canonical)


def decode_spec(data: Any, where: str = "") -> RunSpec:
    """``decode(RunSpec, data, where)``; a part that many points of a sweep share is decoded once.

    Raises:
        ConfigError: as `launcher.decode.decode`.
    """
    if isinstance(data, dict):
        # Not `canonical`: the order in which sources are named decides the order of samples.
        data = {name: _part(name, json.dumps(value), where) for name, value in data.items()}
    return decode(RunSpec, data, where)


@lru_cache(maxsize=2**12)
def _part(name: str, text: str, where: str) -> Any:
    return decode(_field_types().get(name, Any), json.loads(text), join(where, name))


@cache
def _field_types() -> dict[str, Any]:
    return get_type_hints(RunSpec, include_extras=True)
