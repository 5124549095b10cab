"""NeMo AutoModel: ``step 10 | epoch 0 | loss 1.23 | grad_norm 1.70 | lr 8.19e-06 | ...``.

Format strings: ``log_train_metrics`` (nemo_automodel/recipes/llm/train_ft.py, kd.py and others),
``_log_experiment_details`` (recipes/base_recipe.py) and ``StepScheduler``
(components/training/step_scheduler.py) of NVIDIA-NeMo/Automodel. The memory that it prints is what
was allocated, not what was reserved, and is left out.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from launcher.foreign.logs.lines import number, whole_number
from launcher.foreign.logs.programs.program import ProgramReader
from launcher.foreign.logs.reader import LoggedStep

STEP = re.compile(r"(?:^|[\s:])step (\d{1,12}) \| epoch \d+ \| (.*)")
FIELD = re.compile(r"\s*(\w+):? (.*)")
PER_GPU = re.compile(r"\(([\d.]+)/gpu\)|^([\d.]+)/gpu")
SIGNS = re.compile(r"\bnemo_automodel\b|\bExperiment_details:")
# The configuration, which it prints as YAML, and the details of the experiment.
ARGUMENT = re.compile(
    r"(?:^|\| )\s*(global_batch_size|local_batch_size|max_steps|tp_size|cp_size|pp_size|ep_size"
    r"|seq_length|packed_sequence_size|World size|pretrained_model_name_or_path|torch_dtype):"
    r" ['\"]?([^\s'\"]+)"
)
NAMES = {
    "local_batch_size": "micro_batch_size", "tp_size": "tp", "cp_size": "cp", "pp_size": "pp",
    "ep_size": "ep", "World size": "world_size", "packed_sequence_size": "seq_length",
    "pretrained_model_name_or_path": "model", "torch_dtype": "precision",
}  # fmt: skip
"""Its names -> those of `launcher.foreign.logs.arguments`."""
UNTIL = re.compile(r"max_steps not provided; will run for up to (\d{1,12}) steps")
PARAMS = re.compile(r"Total parameters: (\d[\d,]{0,20})")


@dataclass(kw_only=True)
class AutoModel(ProgramReader):
    """Reads the step lines, and the configuration before them."""

    name: ClassVar[str] = "automodel"
    looks_like: ClassVar[str] = "'step 10 | epoch 0 | loss 1.23 | grad_norm 1.70 | ...'"

    def feed(self, line: str) -> bool:
        """Take a line. True where it is one of a step."""
        if "| epoch" in line and "[val]" not in line and (match := STEP.search(line)):
            return self._step(int(match[1]), match[2], line)
        if self.last is None:
            self._preamble(line)
        return False

    def _step(self, step: int, text: str, line: str) -> bool:
        pieces = (FIELD.match(piece) for piece in text.split("|"))
        texts = {piece[1]: piece[2] for piece in pieces if piece}
        values = {name: number(value) for name, value in texts.items()}
        seconds = values.get("time")
        logged = LoggedStep(
            step=step,
            loss=values.get("loss"),
            grad_norm=values.get("grad_norm"),
            lr=values.get("lr"),
            step_ms=None if seconds is None else 1000 * seconds,
            tokens_per_s_per_gpu=self._speed(texts.get("tps", ""), values.get("tps")),
        )
        if not self.has_figures(logged):
            self.count_unread(line)
            return False
        self.add(logged)
        return True

    def _speed(self, text: str, tps: float | None) -> float | None:
        """Tokens per second and card: of all ranks, where their number is known, since it divides
        by those of data and of context only."""
        per_gpu = PER_GPU.search(text)
        gpus = whole_number(self.arguments.get("world_size"))
        if tps is not None and gpus and not (per_gpu and per_gpu[2]):
            return tps / gpus
        return number(per_gpu[1] or per_gpu[2]) if per_gpu else None

    def _preamble(self, line: str) -> None:
        """Take a line from before the first step."""
        if not self.recognized:
            self.recognized = ("utomodel" in line or "details" in line) and bool(SIGNS.search(line))
            return
        if argument := ARGUMENT.search(line):
            name = NAMES.get(argument[1], argument[1])
            if name != "seq_length" or argument[2] != "0":  # 0: its sequences are not packed
                self.arguments.setdefault(name, argument[2])
            if name == "max_steps" and argument[2].isdigit():
                self.total = int(argument[2][:12]) - 1  # it counts from 0
        elif until := UNTIL.search(line):
            self.total = int(until[1]) - 1
        elif params := PARAMS.search(line):
            self.arguments["params"] = params[1].replace(",", "")
