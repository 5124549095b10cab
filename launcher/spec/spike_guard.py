"""Settings of the spike guard: of `launcher.spikes.detector` and of the ladder of answers."""

from dataclasses import dataclass
from typing import Annotated

from launcher.decode import LARGEST, Count, Positive, Range, Whole
from launcher.errors import ConfigError

Factor = Annotated[float, Range(above=1.0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class SpikeGuard:
    """Bounds of a spike, and the answers to it. A step is an optimizer step."""

    window: Annotated[int, Range(low=8, high=LARGEST)] = 64
    """Values the baseline is learnt from; there is none before half of them."""
    sigmas: Positive = 8.0
    """A spike is this many standard deviations of the noise above the baseline, and ..."""
    loss_nats: Positive = 0.25
    """... the loss at least this far above it, nats per token;"""
    norm_factor: Factor = 5.0
    """... the gradient norm at least this many times as large."""
    patience: Count = 200
    """Steps after which what has not come back is a divergence, or a creep."""
    skip_factor: Factor = 10.0
    """Gradient norm / baseline from which an update is not applied."""
    max_skips: Whole = 10
    """Updates in a row that are not applied because of the norm."""
    margin: Whole = 100
    """Steps before an event whose weights and data are not trusted: a rollback goes to a
    checkpoint at least this much older, and passes over the data from here on."""
    budget: Whole = 3
    """Rollbacks of a run; what would be one more ends it."""
    lr_factor: Annotated[float, Range(above=0.0, high=1.0)] = 1.0
    """The learning rate after a rollback is the plan's times this, ..."""
    lr_steps: Whole = 1000
    """... until this many steps after the data that is passed over."""

    def check(self, where: str = "spike_guard") -> None:
        """Raise ConfigError where two fields disagree."""
        if self.skip_factor < self.norm_factor:
            raise ConfigError(
                f"{where}.skip_factor: {self.skip_factor:g} is below"
                f" {where}.norm_factor {self.norm_factor:g}: updates would be skipped unrecorded"
            )
