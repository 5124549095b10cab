"""The Hugging Face Trainer, on DeepSpeed or alone: its bar, and a dict every ``logging_steps``.

Format strings: ``ProgressCallback`` and ``Trainer.train`` of huggingface/transformers; tqdm's bar.
"""

import re
from dataclasses import dataclass, replace
from typing import ClassVar

from launcher.foreign.lines import number
from launcher.foreign.log import LogReader, Step
from launcher.foreign.megatron import ENGINE_ARGUMENT

BAR = re.compile(r"(?:^|[\s\]])\d+%\|[^|]*\| (\d+)/(\d+) \[([\d:]+)<[^\],]*, +[\d.?]+(?:s/it|it/s)")
LOGGED = re.compile(r"\{'loss': [^}]*\}")
FIELD = re.compile(r"'(\w+)': '?([-+\w.]+)")
ENDED = re.compile(
    r"\{'train_runtime': [^}]*\}|train_runtime +=|Training completed\. Do not forget"
)
KNOWN = re.compile(r"\bTrainingArguments\(|\*{5} Running training \*{5}")
ANNOUNCED = re.compile(r"(Total train batch size|Total optimization steps|"
                       r"Instantaneous batch size per device|Number of trainable parameters)"
                       r"[^=]*= ([\d,]+)")  # fmt: skip
LOGGING_STEPS = re.compile(r"\blogging_steps=(\d+)")


@dataclass(kw_only=True)
class HuggingFace(LogReader):
    """Reads bars and dicts: a bar says which step it is, a dict its loss."""

    name: ClassVar[str] = "huggingface"
    looks_like: ClassVar[str] = "\"{'loss': 7.1, 'learning_rate': ...}\" or '  6%|# | 1/16 [...]'"

    _elapsed: tuple[int, float] = (0, 0.0)
    _every: int = 1
    _dicts: int = 0
    _bars: bool = False

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
        self.known = self.known or bool(KNOWN.search(line))
        if found := LOGGING_STEPS.search(line):
            self._every = int(found[1])
        for name, value in ANNOUNCED.findall(line):
            self.facts[name] = value.replace(",", "")
            if name == "Total optimization steps":
                self.total = int(self.facts[name])
        if ENDED.search(line):
            self.finished, self.known = "train_runtime", True
        if "[config.py" in line and (engine := ENGINE_ARGUMENT.search(line)):
            self.facts[f"engine.{engine[1]}"] = engine[2].strip()

    def _bar(self, found: re.Match[str]) -> bool:
        step, of = int(found[1]), int(found[2])
        if not self.known or self.total not in (None, of):
            return False  # of the tokenizer, of a download
        self.total, self._bars = of, True
        at = sum(60**i * int(part) for i, part in enumerate(reversed(found[3].split(":"))))
        before, since = self._elapsed
        if step > before:  # each process has a bar of its own: the first one counts
            self.add(Step(step=step, step_ms=1000 * (at - since) / (step - before)))
            self._elapsed = (step, at)
        return step > 0

    def _logged(self, text: str) -> bool:
        self._dicts += 1
        said = {name: number(value) for name, value in FIELD.findall(text)}
        step = self.last if self._bars and self.last is not None else self._dicts * self._every
        kept = self.steps.get(step, Step(step=step))
        self.steps.pop(step, None)
        self.add(
            replace(
                kept,
                loss=said.get("loss"),
                grad_norm=said.get("grad_norm"),
                lr=said.get("learning_rate"),
            )
        )
        return True
