"""InternEvo: ``tflops=189.3 step=5 loss=9.82 tgs (tokens/gpu/second)=4262.67 lr=1.4e-06 ...``.

Format strings: ``record_current_batch_training_metrics`` (internlm/train/pipeline.py) and
``initialize_distributed_env`` (internlm/initialize/launch.py) of InternLM/InternEvo; before it was
taken out of InternLM/InternLM there were commas between the fields.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from launcher.foreign.logs.lines import number, whole_number
from launcher.foreign.logs.programs.program import ProgramReader
from launcher.foreign.logs.reader import LoggedStep

STEP = re.compile(r"\btflops=[^ ,]+[ ,]step=(\d{1,12})[ ,]")
LOOKS = re.compile(r"\bstep=\d+\b.*\btgs \(tokens/gpu/second\)=")
FIELD = re.compile(r"(?<![\w/])([\w/]+(?: \([\w/]+\))?)=(?:\{[^}]*?: ?([^,}]+)[^}]*\}|([^\s,]+))")
INITIALIZED = re.compile(
    r"Distributed environment is initialized, data parallel size: (\d{1,9}),"
    r" pipeline parallel size: (\d{1,9}), tensor parallel size: (\d{1,9})"
)
TOTAL = re.compile(r"\btotal_steps['\"]?[=:] ?(\d{1,12})\b")


@dataclass(kw_only=True)
class InternEvo(ProgramReader):
    """Reads the step lines, and how the ranks are laid out."""

    name: ClassVar[str] = "internevo"
    looks_like: ClassVar[str] = "'tflops=189.3 step=5 loss=9.82 tgs (tokens/gpu/second)=...'"

    _tokens: float | None = None
    """Tokens up to and with the step before."""
    _skipped: float = 0

    def feed(self, line: str) -> bool:
        """Take a line. True where it is one of a step."""
        if "step=" in line and "tgs" in line and (match := STEP.search(line)):
            return self._step(int(match[1]), line[match.start() :])
        if "tgs (" in line and LOOKS.search(line):
            self.count_unread(line)
        elif "Distributed environment" in line and (sizes := INITIALIZED.search(line)):
            dp, pp, tp = (int(size) for size in sizes.groups())
            self.arguments |= {"dp": str(dp), "pp": str(pp), "tp": str(tp)}
            self.arguments["world_size"] = str(dp * pp * tp)
            self.recognized = True
            self.starts += 1
        elif "total_steps" in line and self.last is None and (total := TOTAL.search(line)):
            self.total = int(total[1]) - 1  # it counts from 0
        return False

    def _step(self, step: int, text: str) -> bool:
        values = {name: number(inner or value) for name, inner, value in FIELD.findall(text)}
        tokens, skipped = values.get("num_consumed_tokens"), values.get("inf_nan_skip_batches") or 0
        speed = values.get("tgs (tokens/gpu/second)")
        logged = LoggedStep(
            step=step,
            loss=values.get("loss"),
            grad_norm=values.get("grad_norm"),
            lr=values.get("lr"),
            step_ms=self._ms(step, tokens, speed),
            tokens=tokens,
            tokens_per_s_per_gpu=speed,
            tflops=values.get("tflops"),
            skipped=max(skipped - self._skipped, 0),
        )
        if not self.has_figures(logged):
            self.count_unread(text)
            return False
        self._tokens, self._skipped = tokens, skipped
        self.add(logged)
        return True

    def _ms(self, step: int, tokens: float | None, speed: float | None) -> float | None:
        """Time of a step, by its tokens and by the speed of a card, where their number is known."""
        before = 0.0 if step == 0 else self._tokens if step - 1 == self.last else None
        gpus = whole_number(self.arguments.get("world_size"))
        if tokens is None or before is None or not speed or not gpus or tokens <= before:
            return None
        return 1000 * (tokens - before) / (speed * gpus)
