"""NeMo: the lines of its progress printer, and the bars of Lightning before that.

Format strings: ``ProgressPrinter`` (nemo/lightning/pytorch/callbacks/progress_printer.py) and
``MegatronProgressBar`` of NVIDIA/NeMo; Lightning's ``Trainer.fit`` messages.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from launcher.foreign.logs.arguments import DUMP_NAMES
from launcher.foreign.logs.lines import number, whole_number
from launcher.foreign.logs.programs.program import ProgramReader
from launcher.foreign.logs.reader import LoggedStep

PRINTED = re.compile(r"Training epoch (\d{1,12}), iteration (\d{1,12})(?:/(\d{1,12}))? \|(.*)")
BAR = re.compile(
    r"Epoch (\d{1,12}): (?:: )?.*?(?:(\d{1,12})/(\d{1,12})|(\d{1,12})it) \[([^\]]*)\]?"
)
SIGNS = re.compile(r"\[NeMo [IWEDC] |\bnemo_logging\b|\bNeMo\b.*\bExperiment")
FINISHED = re.compile(r"`?Trainer\.fit`? stopped: `?max_(?:steps|epochs)=(\d+)`? reached")
MAX_STEPS = re.compile(r"\bmax_steps['\"]?[:=] ?(-?\d{1,12})\b")
TIMED_OUT = re.compile(r"Time limit reached\..*|Signaling Trainer to stop.*")
GIB = 2.0**30
# Of the dump of its configuration, and what Lightning counts.
ARGUMENT = re.compile(r"^\s*(?:\w+\.)*(\w+)[:=] ?(\S+)$")
PROCESSES = re.compile(r"Starting with (\d+) processes")
PARAMS = re.compile(
    r"(?<![\d.])(\d[\d.]*) +([KMBT]) +Total params|Total params: (\d[\d.]*) ([KMBT])"
)
TIMES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@dataclass(kw_only=True)
class Nemo(ProgramReader):
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
        self.recognized = self.recognized or bool(SIGNS.search(line))
        if "Training epoch" in line and "iteration" in line:
            self.count_unread(line)
        elif self.last is None:
            self._preamble(line)
        elif FINISHED.search(line):
            self.finished = line.strip()
        elif stopped := TIMED_OUT.search(line):
            self.stopped = stopped[0]
        return False

    def _preamble(self, line: str) -> None:
        """Take a line from before the first step."""
        if "max_steps" in line and (limit := MAX_STEPS.search(line)):
            self._max_steps = int(limit[1])
        if (argument := ARGUMENT.match(line)) and argument[1] in DUMP_NAMES:
            self.arguments.setdefault(argument[1], argument[2].strip("'\",)"))
        elif processes := PROCESSES.search(line):
            self.arguments["world_size"] = processes[1]
        elif params := PARAMS.search(line):
            count, unit = params[1] or params[3], params[2] or params[4]
            self.arguments["params"] = f"{(number(count) or 0) * TIMES[unit]:.0f}"

    def _printed(self, match: re.Match[str]) -> bool:
        pieces = (piece.partition(":") for piece in match[4].split("|"))
        texts = {name.strip().lower(): value for name, _, value in pieces}
        global_step = whole_number(texts.get("global_step"))
        self.total = int(match[3]) if match[3] and self._of_all(int(match[1])) else None
        step = int(match[2]) if global_step is None else global_step
        if not self._keep(step, {name: number(text) for name, text in texts.items()}):
            self.count_unread(match[0])
            return False
        return True

    def _of_all(self, epoch: int) -> bool:
        """Return True if a step line's total is the run's; without max_steps it is an epoch's."""
        if self._max_steps is not None:
            return self._max_steps > 0
        return epoch == 0

    def _bar(self, match: re.Match[str]) -> None:
        pairs = re.findall(r"([\w/ ]+)=([^,\]]+)", match[5])
        values = {name.strip().lower(): number(value) for name, value in pairs}
        epoch, step = int(match[1]), int(match[2] or match[4])
        length = int(match[3] or 0)
        self.total = (epoch + 1) * length if length and self._of_all(epoch) else None
        if step:
            # A postfix rounds global_step to three digits, so the bar's own count is taken.
            self._keep(epoch * length + step, values)

    def _keep(self, number_of: int, values: dict[str, float | None]) -> bool:
        """Keep a step. Return False where its line says neither a loss nor a speed."""
        seconds = values.get("train_step_timing in s")
        reserved = values.get("max_memory_reserved")
        step = LoggedStep(
            step=number_of,
            loss=values.get("reduced_train_loss", values.get("loss")),
            grad_norm=values.get("grad_norm", values.get("gradient_norm")),
            lr=values.get("lr"),
            step_ms=None if seconds is None else 1000 * seconds,
            batch=values.get("global_batch_size"),
            samples=values.get("consumed_samples"),
            tokens_per_s_per_gpu=values.get("tokens_per_sec_per_gpu"),
            tflops=values.get("tflops_per_gpu"),
            memory_gib=None if reserved is None else reserved / GIB,
        )
        self.recognized = True
        if not self.has_figures(step):
            return False
        self.add(step)
        return True
