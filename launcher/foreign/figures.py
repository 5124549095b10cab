"""Logged steps -> lines of metrics, and figures by the definitions of this project."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from launcher.foreign.logs.reader import LoggedStep
from launcher.results import metrics
from launcher.results.imported import RunFacts
from launcher.results.record import Figures, MemoryKind
from launcher.results.summary import finite, step_figures
from launcher.spec.cluster import Accelerator
from launcher.spec.shape import ModelShape

UNTIMED = 2
"""First steps that the speed leaves out: they compile and allocate; as `Train.untimed_steps`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedRun:
    """Logged steps of a run, and what its source states of it."""

    steps: Sequence[LoggedStep]
    """In order; only losses and norms may be nan or inf."""
    facts: RunFacts
    shape: ModelShape | None
    accelerator: Accelerator | None
    """The card, where it is one whose peaks are known."""
    memory: dict[str, float]
    """Rank -> peak reserved, GiB."""

    def lines(self) -> list[dict[str, Any]]:
        """One line a step, as a run of our own writes them; None is "not known"."""
        return [self._line(step) for step in self.steps]

    def _line(self, step: LoggedStep) -> dict[str, Any]:
        speed = self._speed(step)
        return {
            "step": step.step,
            "tokens": self._tokens(step),
            "loss": metrics.encoded(step.loss),
            "grad_norm": metrics.encoded(step.grad_norm),
            "lr": step.lr,
            "step_ms": self._ms(step),
            "tokens_per_s": speed,
            "tflops_per_gpu": self._tflops(speed),
            "stated_tflops_per_gpu": step.tflops,
            "tokens_per_s_per_gpu": step.tokens_per_s_per_gpu if speed is None else None,
            "mem_min_gib": None,
            "mem_max_gib": step.memory_gib,
            "stage": None,
            "action": "skip" if step.skipped and step.loss is None else None,
        }

    @property
    def seconds(self) -> float:
        """The sum of all step times."""
        times = (self._ms(step) or 0 for step in self.steps)
        return sum(ms * span for ms, span in zip(times, self._spans, strict=True)) / 1000

    @property
    def _spans(self) -> list[int]:
        """Steps that each line is of; the first one stands for those up to it, or one interval."""
        numbers = [step.step for step in self.steps]
        spans = [second - first for first, second in pairwise(numbers)]
        if not numbers:
            return []
        return [min(max(numbers[0], 1), spans[0] if spans else 1), *spans]

    def figures(self) -> Figures:
        """The figures; speed without the first steps, and at the whole batch."""
        timed = self._timed()
        times = [ms for step in timed if (ms := self._ms(step))]
        step_times = step_figures(times)
        p50 = step_times["step_ms_p50"]
        speed = self._speed(dataclasses.replace(timed[-1], step_ms=p50)) if timed else None
        tflops = self._tflops(speed)
        losses = [step.loss for step in self.steps if finite(step.loss) is not None]
        norms = [norm for step in self.steps if (norm := finite(step.grad_norm))]
        memory = [*self.memory.values(), *(s.memory_gib for s in self.steps if s.memory_gib)]
        return Figures(
            steps=sum(self._spans) if self.steps else None,
            tokens_per_s=speed,
            **step_times,
            tflops_per_gpu=tflops,
            mfu_pct=self._mfu(tflops),
            mem_min_gib=min(self.memory.values()) if len(self.memory) > 1 else None,
            mem_max_gib=max(memory) if memory else None,
            memory_kind=_kind(memory),
            loss_first=losses[0] if losses else None,
            loss_last=losses[-1] if losses else None,
            grad_norm_max=max(norms, default=None),
            skipped=int(sum(step.skipped for step in self.steps)) if self.steps else None,
        )

    def stated(self) -> float | None:
        """The median of what the source calls its TFLOP/s per card, over the same steps."""
        tflops = [step.tflops for step in self._timed() if step.tflops]
        return median(tflops) if tflops else None

    def _timed(self) -> Sequence[LoggedStep]:
        timed = self._warm()
        # With a batch that grows, only steps of the whole batch tell the speed.
        whole_batch = max((step.batch or 0 for step in timed), default=0)
        return [step for step in timed if step.batch in (None, whole_batch)]

    def _warm(self) -> Sequence[LoggedStep]:
        """Steps without the first ones; of an excerpt of hardly any, all that are not of the run's
        beginning."""
        if len(self.steps) > 1:
            every = max(self.steps[1].step - self.steps[0].step, 1)
            if warm := self.steps[math.ceil(UNTIMED / every) :]:
                return warm
        return [step for step in self.steps if step.step > UNTIMED]

    def _batch(self, step: LoggedStep) -> float | None:
        return step.batch or self.facts.global_batch

    def _tokens(self, step: LoggedStep) -> int | None:
        if step.tokens is not None:
            return int(step.tokens)
        batch, sequence = self._batch(step), self.facts.seq_len
        samples = step.samples if step.samples is not None else batch and batch * step.step
        tokens = finite(samples * sequence) if samples and sequence else None
        return None if tokens is None else int(tokens)

    def _ms(self, step: LoggedStep) -> float | None:
        """Milliseconds of a step: as stated, else by the stated speed and the size of the step."""
        batch, sequence = self._batch(step), self.facts.seq_len
        per_gpu, gpus = step.tokens_per_s_per_gpu, self.facts.gpus
        if step.step_ms is None and step.samples_per_s and batch:
            return finite(1000 * batch / step.samples_per_s)
        if step.step_ms is None and per_gpu and batch and sequence and gpus:
            return finite(1000 * batch * sequence / (per_gpu * gpus))
        return step.step_ms

    def _speed(self, step: LoggedStep) -> float | None:
        """Tokens per second over all ranks."""
        batch, sequence, ms = self._batch(step), self.facts.seq_len, self._ms(step)
        if batch and sequence and ms:
            return finite(1000 * batch * sequence / ms)
        if step.samples_per_s and sequence:
            return finite(step.samples_per_s * sequence)
        gpus = self.facts.gpus
        return finite(
            step.tokens_per_s_per_gpu * gpus if step.tokens_per_s_per_gpu and gpus else None
        )

    def _tflops(self, speed: float | None) -> float | None:
        """Model FLOPs (`launcher.spec.shape`) per second and rank."""
        if speed is None or self.shape is None or not self.facts.gpus:
            return None
        return finite(speed * self.shape.flops_per_token / self.facts.gpus / 1e12)

    def _mfu(self, tflops: float | None) -> float | None:
        peak = peak_of(self.accelerator, self.facts.precision)
        return 100 * tflops / peak if tflops is not None and peak else None


def peak_of(accelerator: Accelerator | None, precision: str | None) -> float | None:
    """Peak in TFLOP/s; tensor cores of every card known here do fp16 at the speed of bf16."""
    if accelerator is None or precision is None:
        return None
    peaks = {"fp32": accelerator.fp32_tflops, "fp8": accelerator.fp8_tflops}
    return peaks.get(precision, accelerator.bf16_tflops)


def _kind(memory: Sequence[float]) -> MemoryKind | None:
    return "cuda reserved" if memory else None
