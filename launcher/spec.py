"""One run, fully described: equal specs are the same run."""

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal

from launcher.cluster import Cluster, Precision
from launcher.decode import Count, Fraction, NotNegative, Positive, Whole, canonical, digest
from launcher.errors import ConfigError
from launcher.layout import ParallelLayout
from launcher.shape import ModelShape

Decay = Literal["cosine", "linear", "exponential", "minus_sqrt", "constant"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """AdamW and its learning-rate schedule."""

    lr: Positive = 3e-4
    """Peak learning rate."""
    min_lr: NotNegative = 3e-5
    """Learning rate at the end of the decay."""
    warmup_steps: Whole = 2
    """Optimizer steps of linear warm-up from 0."""
    decay: Decay = "cosine"
    """Shape of the decay from lr to min_lr; constant stays at lr."""
    decay_steps: Count | None = None
    """Last steps, over which it decays, stable before (WSD); all after warm-up if null."""
    weight_decay: NotNegative = 0.1
    """Decoupled weight decay of matrices; vectors (norms) are not decayed."""
    beta1: Fraction = 0.9
    beta2: Fraction = 0.95
    eps: Positive = 1e-8
    clip_grad: NotNegative = 1.0
    """Gradients are scaled to this global L2 norm when above it; 0 is no clipping."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """What is trained on how many tokens, in which numbers."""

    global_batch: Count
    """Sequences per optimizer step."""
    steps: Count
    """Optimizer steps of this run."""
    tokens: Count | None = None
    """Tokens of the real run to come; eta_days is for these."""
    untimed_steps: Whole = 2
    """First steps, kept in the metrics and left out of the figures."""
    precision: Precision = "bf16"
    """Precision of the matrix products; master weights and gradients are fp32."""
    seed: Whole = 1234
    """Decides the initial weights and the order of the data."""
    moe_aux_loss: NotNegative = 0.0
    """Weight of the load-balancing loss of a mixture of experts (per sequence)."""
    optimizer: Optimizer = field(default_factory=Optimizer)


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
    content: str | None = None
    """Digest of what the sources and the tokenizer hold; the launcher fills it in, so that a run
    on changed text is another run."""

    def __hash__(self) -> int:
        return hash((self.tokenizer, self.content))  # cheap: it is asked for all the time


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

    @cached_property
    def id(self) -> str:
        """12 hex digits of the content: the name of the run's folder."""
        # `fingerprint(self)`, but the points of a sweep share most of their parts.
        parts = (f'"{name}": {_text(getattr(self, name))}' for name in NAMES)
        return digest("{" + ", ".join(parts) + "}")

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step over all ranks."""
        return self.train.global_batch * self.model.sequence

    @property
    def dp(self) -> int:
        """Data parallel size."""
        return self.layout.dp(self.cluster.gpus)

    @property
    def accumulation(self) -> int:
        """Micro batches per optimizer step of one data parallel rank."""
        return self.layout.accumulation(self.cluster.gpus, self.train.global_batch)

    def check(self) -> None:
        """Raise RequestError on the first thing arithmetic alone shows to be impossible."""
        train = self.train
        if train.untimed_steps >= train.steps:
            raise ConfigError(
                f"train.untimed_steps: {train.untimed_steps} leaves none of"
                f" train.steps {train.steps} to measure"
            )
        if train.optimizer.min_lr > train.optimizer.lr:
            raise ConfigError(
                f"train.optimizer.min_lr: {train.optimizer.min_lr:g} is above"
                f" train.optimizer.lr {train.optimizer.lr:g}"
            )
        after = train.steps - train.optimizer.warmup_steps
        if (train.optimizer.decay_steps or 0) > max(after, 0):
            raise ConfigError(
                f"train.optimizer.decay_steps: {train.optimizer.decay_steps} is more than the"
                f" {max(after, 0)} of train.steps {train.steps} after warmup_steps"
                f" {train.optimizer.warmup_steps}"
            )
        self.layout.check(self.model, self.cluster.gpus, train.global_batch)


NAMES = sorted(one.name for one in dataclasses.fields(RunSpec))

_text = lru_cache(maxsize=2**16)(canonical)
