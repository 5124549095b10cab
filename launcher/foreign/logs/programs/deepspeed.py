"""DeepSpeed without a trainer above it: what its engines print every ``steps_per_print`` steps.

Format strings: ``_report_progress`` and ``log_dist`` (deepspeed/runtime/engine.py,
deepspeed/utils/logging.py), ``ThroughputTimer.stop`` (deepspeed/utils/timer.py) and
``PipelineEngine.train_batch`` (deepspeed/runtime/pipe/engine.py) of deepspeedai/DeepSpeed.
"""

import re
from dataclasses import dataclass, replace
from typing import ClassVar

from launcher.foreign.logs.lines import number
from launcher.foreign.logs.programs.megatron import ENGINE_ARGUMENT
from launcher.foreign.logs.programs.program import ProgramReader
from launcher.foreign.logs.reader import LoggedStep

PROGRESS = re.compile(r"\bstep=(\d{1,12}), skipped=(\d{1,12}), lr=\[([^\]]*)\]")
PIPELINE = re.compile(
    r"\bsteps: (\d{1,12}) loss: (\S+).*?iter time \(s\): (\S+)(?: samples/sec: (\S+))?"
)
SPEED = re.compile(
    r"(?:global_step=|\b\d+/)(\d{1,12}), RunningAvgSamplesPerSec=(\S+?), CurrSamplesPerSec=(\S+?),"
)
# The words of deepspeed/launcher/launch.py, once for each process of a node.
EXITED = re.compile(
    r"\bProcess \d+ exits successfully\.?|Killing subprocess|exits with return code"
)
# Its logger's own format, and what engines and launchers print without one.
SIGNS = re.compile(
    r"DeepSpeed info: version|\[(?:INFO|WARNING|ERROR)\] \[\w+\.py:\d+:\w+\] "
    r"|\[deep(?:speed|scale)\] OVERFLOW!"
)


@dataclass(kw_only=True)
class DeepSpeed(ProgramReader):
    """Reads the three kinds of lines, each of which says another part of a step."""

    name: ClassVar[str] = "deepspeed"
    looks_like: ClassVar[str] = "'[Rank 0] step=10, skipped=0, lr=[...]' or 'steps: 10 loss: ...'"

    _skipped: int = 0
    _failed: bool = False

    def feed(self, line: str) -> bool:
        """Take a line. True where it is one of a step."""
        if "step=" in line and (progress := PROGRESS.search(line)):
            return self._progress(progress)
        if "iter time (s)" in line and (pipeline := PIPELINE.search(line)):
            step = self._at(int(pipeline[1]))
            loss, seconds = number(pipeline[2]), number(pipeline[3])
            ms = None if seconds is None else 1000 * seconds
            if loss is None and ms is None:
                self.count_unread(line)
                return False
            self.add(replace(step, loss=loss, step_ms=ms, samples_per_s=number(pipeline[4])))
            return True
        if "SamplesPerSec=" in line and (speed := SPEED.search(line)):
            self.add(replace(self._at(int(speed[1])), samples_per_s=number(speed[3])))
            return True
        if "[config.py" in line and (engine := ENGINE_ARGUMENT.search(line)):
            self.arguments[f"engine.{engine[1]}"] = engine[2].strip()
        if self.last is not None and ("exits " in line or "Killing" in line):
            self._exit(line)
        self.recognized = self.recognized or bool(SIGNS.search(line))
        return False

    def _exit(self, line: str) -> None:
        """Take a line of a process that ends: after one that failed the launcher kills the rest."""
        if exited := EXITED.search(line):
            succeeded = exited[0].startswith("Process") and not self._failed
            self._failed = not succeeded
            self.finished = exited[0] if succeeded else None

    def _progress(self, match: re.Match[str]) -> bool:
        step, skipped = int(match[1]), int(match[2])
        self.recognized = True
        if not step:  # printed by the engine's start, before any step
            return False
        new = max(skipped - self._skipped, 0)
        self._skipped = skipped
        lr = number(match[3].split(",")[0])
        self.add(replace(self._at(step), lr=lr, skipped=new))
        return True

    def _at(self, step: int) -> LoggedStep:
        """The step so far, where the line before was of it too."""
        return self.steps[step] if step == self.last else LoggedStep(step=step)
