"""A global batch that grows at the start of a run: Megatron-LM's ``--rampup-batch-size``."""

from dataclasses import dataclass
from itertools import pairwise

from launcher.decode import Count
from launcher.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Phase:
    """Steps in a row of the same global batch."""

    batch: int
    """Sequences per optimizer step."""
    steps: int
    """Optimizer steps before it."""
    samples: int
    """Sequences before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRamp:
    """A batch that grows from ``start`` to the run's global batch in equal increments."""

    start: Count
    """Sequences per optimizer step at the beginning."""
    increment: Count
    """Sequences by which it grows each time."""
    samples: Count
    """Sequences until the whole global batch is reached; each size has an equal share of them."""

    def check(self, global_batch: int, where: str) -> None:
        """Raise ConfigError unless whole increments lead to the global batch."""
        between = global_batch - self.start
        if between <= 0:
            raise ConfigError(
                f"{where}.start: {self.start} is not below train.global_batch {global_batch}"
            )
        if between % self.increment:
            raise ConfigError(
                f"{where}.increment: {self.increment} does not divide the {between} between"
                f" {where}.start {self.start} and train.global_batch {global_batch}"
            )

    def phases(self, global_batch: int) -> tuple[Phase, ...]:
        """Return the sizes it takes, the last of which is ``global_batch`` and stays.

        The size after n sequences is start + increment x floor(n / share), where share is
        samples x increment / (global_batch - start): megatron/core/num_microbatches_calculator.py.
        """
        sizes = range(self.start, global_batch, self.increment)
        phases, steps, samples = [], 0, 0
        for number, size in enumerate(sizes, 1):
            phases.append(Phase(size, steps, samples))
            missing = -(-self.samples * number // len(sizes)) - samples
            phase_steps = max(-(-missing // size), 0)
            steps, samples = steps + phase_steps, samples + phase_steps * size
        phases.append(Phase(global_batch, steps, samples))
        nonempty = [phase for phase, following in pairwise(phases) if following.steps > phase.steps]
        return (*nonempty, phases[-1])
