"""NeMo: the lines of its progress printer, and the bars of Lightning before that.

Format strings: ``ProgressPrinter`` (nemo/lightning/pytorch/callbacks/progress_printer.py) and
``MegatronProgressBar`` of NVIDIA/NeMo; Lightning's ``Trainer.fit`` messages.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from launcher.foreign.logs.arguments import NAMED
from launcher.foreign.logs.lines import number, whole
from launcher.foreign.logs.reader import LogReader, Step

PRINTED = re.compile(r"Training epoch (\d{1,12}), iteration (\d{1,12})(?:/(\d{1,12}))? \|(.*)")
BAR = re.compile(
    r"Epoch (\d{1,12}): (?:: )?.*?(?:(\d{1,12})/(\d{1,12})|(\d{1,12})it) \[([^\]]*)\]?"
)
KNOWN = re.compile(r"\[NeMo [IWEDC] |\bnemo_logging\b|\bNeMo\b.*\bExperiment")
FINISHED = re.compile(r"`?Trainer\.fit`? stopped: `?max_(?:steps|epochs)=(\d+)`? reached")
MAX_STEPS = re.compile(r"\bmax_steps['\"]?[:=] ?(-?\d{1,12})\b")
TIMED_OUT = re.compile(r"Time limit reached\..*|Signaling Trainer to stop.*")
GIB = 2.0**30
# Of the dump of its configuration, and what Lightning counts.
ARGUMENT = re.compile(r"^\s*(?:\w+\.)*(\w+)[:=] ?(\S+)$")
PROCESSES = re.compile(r"Starting with (\d+) processes")
PARAMS = re.compile(r"(?:(\d[\d.]*) +([KMBT]) +Total params|Total params: (\d[\d.]*) ([KMBT]))")
TIMES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@dataclass(kw_only=True)
class Nemo(LogReader):
    """Reads both kinds of step lines."""

    name: ClassVar[str] = "nemo"
    looks_like: ClassVar[str] = (
        "'Training epoch 0, iteration 3/999 | ... | reduced_train_loss: ...' or"
        " 'Epoch 0: ... 30/1000 [..., reduced_train_loss=...]'"
    )

    _max_steps: int | None = None

    def feed(self, line: str) -> bool:
        """Take a line. True where it is one of a step."""
        if "Training epoch" in line and (printed := PRINTED.search(line)):
            return self._printed(printed)
        if "Epoch " in line and "[" in line:
            bars = [bar for bar in BAR.finditer(line) if "loss" in bar[5]]
            for bar in bars:
                self._bar(bar)
            if bars:
                return True
        self.known = self.known or bool(KNOWN.search(line))
        if "Training epoch" in line and "iteration" in line:
            self.give_up(line)
        elif self.last is None:
            self._before(line)
        elif FINISHED.search(line):
            self.finished = line.strip()
        elif stopped := TIMED_OUT.search(line):
            self.stopped = stopped[0]
        return False

    def _before(self, line: str) -> None:
        """What is printed before the first step."""
        if "max_steps" in line and (most := MAX_STEPS.search(line)):
            self._max_steps = int(most[1])
        if (argument := ARGUMENT.match(line)) and argument[1] in NAMED:
            self.facts.setdefault(argument[1], argument[2].strip("'\",)"))
        elif processes := PROCESSES.search(line):
            self.facts["world_size"] = processes[1]
        elif params := PARAMS.search(line):
            count, unit = params[1] or params[3], params[2] or params[4]
            self.facts["params"] = f"{(number(count) or 0) * TIMES[unit]:.0f}"

    def _printed(self, found: re.Match[str]) -> bool:
        pairs = re.findall(r"([^|:]+): *([^|\s]+)", found[4])
        said = {name.strip().lower(): number(value) for name, value in pairs}
        logged = whole(
            dict((name.strip().lower(), value) for name, value in pairs).get("global_step")
        )
        self.total = int(found[3]) if found[3] and self._of_all(int(found[1])) else None
        self._keep(int(found[2]) if logged is None else logged, said)
        return True

    def _of_all(self, epoch: int) -> bool:
        """Whether a step line's total is one of the run; without max_steps it is an epoch's."""
        if self._max_steps is not None:
            return self._max_steps > 0
        return epoch == 0

    def _bar(self, found: re.Match[str]) -> None:
        pairs = re.findall(r"([\w/ ]+)=([^,\]]+)", found[5])
        said = {name.strip().lower(): number(value) for name, value in pairs}
        epoch, done = int(found[1]), int(found[2] or found[4])
        of = int(found[3] or 0)
        self.total = (epoch + 1) * of if of and self._of_all(epoch) else None
        if done:
            # A postfix rounds global_step to three digits, so the bar's own count is taken.
            self._keep(epoch * of + done, said)

    def _keep(self, step: int, said: dict[str, float | None]) -> None:
        seconds = said.get("train_step_timing in s")
        reserved = said.get("max_memory_reserved")
        self.add(
            Step(
                step=step,
                loss=said.get("reduced_train_loss", said.get("loss")),
                grad_norm=said.get("grad_norm", said.get("gradient_norm")),
                lr=said.get("lr"),
                step_ms=None if seconds is None else 1000 * seconds,
                batch=said.get("global_batch_size"),
                samples=said.get("consumed_samples"),
                tokens_per_s_per_gpu=said.get("tokens_per_sec_per_gpu"),
                tflops=said.get("tflops_per_gpu"),
                memory_gib=None if reserved is None else reserved / GIB,
            )
        )
