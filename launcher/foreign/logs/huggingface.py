"""The Hugging Face Trainer, on DeepSpeed or alone: its bar, and a dict every ``logging_steps``.

Format strings: ``ProgressCallback`` and ``Trainer.train`` of huggingface/transformers; tqdm's bar.
"""

import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar

from launcher.foreign.logs.lines import number
from launcher.foreign.logs.megatron import ENGINE_ARGUMENT
from launcher.foreign.logs.reader import LogReader, Step

# Without a description: with one it is of the tokenizer, of a download.
BAR = re.compile(
    r"(?:^|\])\s*\d+%\|[^|]*\| (\d{1,12})/(\d{1,12}) \[(\d[\d:]{0,15})<"
    r"[^\],]*, +([\d.]+|\?)(?:s/it|it/s)"
)
LOGGED = re.compile(r"\{'loss': [^}]*\}")
FIELD = re.compile(r"'(\w+)': '?([-+\w.]+)")
ENDED = re.compile(
    r"\{'train_runtime': [^}]*\}|train_runtime +=|Training completed\. Do not forget"
)
KNOWN = re.compile(r"\bTrainingArguments\(|\*{5} Running training \*{5}")
ANNOUNCED = re.compile(
    r"(Total train batch size|Total optimization steps|"
    r"Instantaneous batch size per device|Number of trainable parameters)"
    r"[^=]*= (\d[\d,]{0,15})"
)
LOGGING_STEPS = re.compile(r"\blogging_steps=(\d{1,12})")


@dataclass(kw_only=True)
class HuggingFace(LogReader):
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
    """What was logged, and the bar's length and step before it."""

    @property
    def backend(self) -> str | None:
        """DeepSpeed, where its engine says how it is set up."""
        return "deepspeed" if any(name.startswith("engine.") for name in self.facts) else None

    def feed(self, line: str) -> bool:
        """Take a line. True where it is one of a step."""
        steps = [self._bar(bar) for bar in BAR.finditer(line)] if "%|" in line else []
        if "{'loss'" in line:
            steps += [self._logged(found[0]) for found in LOGGED.finditer(line)]
        if "rain" in line or " = " in line:
            self._remark(line)
        elif "[config.py" in line and (engine := ENGINE_ARGUMENT.search(line)):
            self.facts[f"engine.{engine[1]}"] = engine[2].strip()
        return any(steps)

    def _remark(self, line: str) -> None:
        if KNOWN.search(line):
            self.known, self.finished = True, None  # a log may hold several starts
        if found := LOGGING_STEPS.search(line):
            self._every = int(found[1])
        for name, value in ANNOUNCED.findall(line):
            self.facts[name] = value.replace(",", "")
            if name == "Total optimization steps":
                self._announced = int(self.facts[name])
        if ENDED.search(line):
            self.finished, self.known = "train_runtime", True
        if "[config.py" in line and (engine := ENGINE_ARGUMENT.search(line)):
            self.facts[f"engine.{engine[1]}"] = engine[2].strip()

    def _bar(self, found: re.Match[str]) -> bool:
        step, of = int(found[1]), int(found[2])
        at = sum(60**i * int(part or 0) for i, part in enumerate(reversed(found[3].split(":"))))
        self._bars.setdefault(of, {}).setdefault(step, at)
        if found[4] == "?":  # it has just been drawn
            self._started.setdefault(of, step)
            return False
        self._newest = of, step
        return True

    def _logged(self, text: str) -> bool:
        said = {name: number(value) for name, value in FIELD.findall(text)}
        self._dicts.append((self._newest, said))
        self.known = True
        return True

    def close(self) -> None:
        """Which of the bars is of training is known at the end."""
        finished, longest = self.finished, max(self._bars, default=None)
        self.total = self._announced or (longest if self.known else None)
        bar = self._bars.get(self.total or 0, {})
        for (before, since), (step, at) in pairwise(sorted(bar.items())):
            self.add(Step(step=step, step_ms=1000 * (at - since) / (step - before)))
        if bar and min(bar) != self._started.get(self.total or 0):
            self.add(Step(step=min(bar)))
        for count, (newest, said) in enumerate(self._dicts, 1):
            self._put(
                newest[1] if newest and newest[0] == self.total else count * self._every, said
            )
        self.last = max(self.steps, default=None)
        self.finished = finished

    def _put(self, step: int, said: dict[str, float | None]) -> None:
        self.steps[step] = replace(
            self.steps.get(step, Step(step=step)),
            loss=said.get("loss"),
            grad_norm=said.get("grad_norm"),
            lr=said.get("learning_rate"),
        )
