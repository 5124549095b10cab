"""The Hugging Face Trainer, on DeepSpeed or alone: its bar, and a dict every ``logging_steps``.

Format strings: ``ProgressCallback`` and ``Trainer.train`` of huggingface/transformers; tqdm's bar.
"""

import math
import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar, Self

from launcher.foreign.logs.lines import number
from launcher.foreign.logs.programs.megatron import ENGINE_ARGUMENT
from launcher.foreign.logs.programs.program import ProgramReader
from launcher.foreign.logs.reader import LoggedStep

# Without a description: with one it is of the tokenizer, of a download.
BAR = re.compile(
    r"(?:^|\])\s*\d+%\|[^|]*\| (\d{1,12})/(\d{1,12}) \[(\d[\d:]{0,15})<"
    r"[^\],]*, +([\d.]+|\?)(?:s/it|it/s)"
)
LOGGED = re.compile(r"\{'loss': [^}]*\}")
FIELD = re.compile(r"'(\w+)': '?([-+\w.]+)")
# ms-swift's callbacks put it into the dict.
OWN_STEP = re.compile(r"'(?:global_step/max_steps|iteration)': '(\d{1,12})/(\d{1,12})'")
ENDED = re.compile(
    r"\{'train_runtime': [^}]*\}|train_runtime +=|Training completed\. Do not forget"
)
SIGNS = re.compile(r"\bTrainingArguments\(|\*{5} Running training \*{5}")
ANNOUNCED = re.compile(
    r"(Total train batch size|Total optimization steps|"
    r"Instantaneous batch size per device|Number of trainable parameters)"
    r"[^=]*= (\d[\d,]{0,15})"
)
LOGGING_STEPS = re.compile(r"\blogging_steps=(\d{1,12})")


@dataclass(kw_only=True)
class HuggingFace(ProgramReader):
    """Reads bars and dicts: a bar says which step it is, a dict its loss."""

    name: ClassVar[str] = "huggingface"
    looks_like: ClassVar[str] = "\"{'loss': 7.1, 'learning_rate': ...}\" or '  6%|# | 1/16 [...]'"

    _every: int = 1
    _announced: int | None = None
    _bars: dict[int, dict[int, float]] = field(default_factory=dict)
    """Length of a bar -> step -> seconds; several processes have one each, the first counts."""
    _started: dict[int, int] = field(default_factory=dict)
    """Length of a bar -> the step that it began at."""
    _newest: tuple[int, int] | None = None
    _dicts: list[tuple[tuple[int, int] | None, dict[str, float | None]]] = field(
        default_factory=list
    )
    """Length and step of the bar that was printed last, or by the dict, and the dict."""

    @property
    def backend(self) -> str | None:
        """DeepSpeed, where its engine says how it is set up."""
        return "deepspeed" if any(name.startswith("engine.") for name in self.arguments) else None

    def feed(self, line: str) -> bool:
        """Take a line. True where it is one of a step."""
        steps = [self._bar(bar) for bar in BAR.finditer(line)] if "%|" in line else []
        if "{'loss'" in line:
            steps += [self._logged(logged[0]) for logged in LOGGED.finditer(line)]
        if "[config.py" in line and (engine := ENGINE_ARGUMENT.search(line)):
            self.arguments[f"engine.{engine[1]}"] = engine[2].strip()
        elif "rain" in line or " = " in line:
            self._remark(line)
        return any(steps)

    def _remark(self, line: str) -> None:
        if SIGNS.search(line):
            self.recognized, self.finished = True, None  # a log may hold several starts
        if every := LOGGING_STEPS.search(line):
            self._every = int(every[1])
        for name, value in ANNOUNCED.findall(line):
            self.arguments[name] = value.replace(",", "")
            if name == "Total optimization steps":
                self._announced = int(self.arguments[name])
        if ENDED.search(line):
            self.finished, self.recognized = "train_runtime", True

    def _bar(self, match: re.Match[str]) -> bool:
        step, length = int(match[1]), int(match[2])
        clock = reversed(match[3].split(":"))  # seconds, minutes, hours
        seconds = sum(60**i * int(part or 0) for i, part in enumerate(clock))
        self._bars.setdefault(length, {}).setdefault(step, seconds)
        if match[4] == "?":  # it has just been drawn
            self._started.setdefault(length, step)
            return False
        self._newest = length, step
        return True

    def _logged(self, text: str) -> bool:
        values = {name: number(value) for name, value in FIELD.findall(text)}
        self.recognized = True
        if values.get("loss") is None:
            self.count_unread(text)
            return False
        at = self._newest
        if own := OWN_STEP.search(text):
            at = int(own[2]), int(own[1])
            self._bars.setdefault(at[0], {})
        self._dicts.append((at, values))
        return True

    def join(self, other: Self) -> None:
        """Take another file: bars go to stderr, dicts to stdout, and are steps only together."""
        bars_and_dicts = bool(self._dicts) is not bool(other._dicts)
        super().join(other)
        if bars_and_dicts:
            self.repeated = 0
            self.steps.clear()
            self.close()

    def close(self) -> None:
        """Make steps of the bar of training: only now is it known which one that is."""
        finished, longest = self.finished, max(self._bars, default=None)
        self.total = self._announced or (longest if self.recognized else None)
        bar = self._bars.get(self.total or 0, {})
        for (earlier, began), (step, ended) in pairwise(sorted(bar.items())):
            self.add(LoggedStep(step=step, step_ms=1000 * (ended - began) / (step - earlier)))
        if bar and min(bar) != self._started.get(self.total or 0):
            self.add(LoggedStep(step=min(bar)))
        every = self._every
        if every == 1 and finished and self.total and self._dicts:  # it does not say, or each step
            every = max(self.total // len(self._dicts), 1)
        for count, (newest, values) in enumerate(self._dicts, 1):
            in_bar = newest is not None and newest[0] == self.total
            self._put(newest[1] if newest and in_bar else count * every, values)
        self.last = max(self.steps, default=None)
        self.finished = finished

    def _put(self, step: int, values: dict[str, float | None]) -> None:
        self.steps[step] = replace(
            self.steps.get(step, LoggedStep(step=step)),
            loss=_loss(values),
            grad_norm=values.get("grad_norm"),
            lr=values.get("learning_rate"),
        )


def _loss(values: dict[str, float | None]) -> float | None:
    """Loss of a dict; nan where the Trainer has put a 0 in its place.

    With ``logging_nan_inf_filter`` a loss that is not finite is left out of the mean that it logs,
    so that a mean of none but such is 0.
    """
    loss, norm = values.get("loss"), values.get("grad_norm")
    replaced = loss == 0 and norm is not None and not math.isfinite(norm)
    return math.nan if replaced else loss
