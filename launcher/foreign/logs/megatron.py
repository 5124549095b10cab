"""Megatron-LM, Megatron-DeepSpeed, GPT-NeoX and Megatron-Bridge: ``iteration 10/ 1000 | ...``.

Format strings: ``training_log`` and ``report_memory`` of Megatron-LM (megatron/training.py before
core 0.6, megatron/training/training.py since), of microsoft/Megatron-DeepSpeed and of
bigscience-workshop/Megatron-DeepSpeed; ``training_log`` of EleutherAI/gpt-neox;
``train_utils.training_log`` of NVIDIA-NeMo/Megatron-Bridge.
"""

import math
import re
from dataclasses import dataclass, replace
from typing import ClassVar

from launcher.foreign.logs.lines import number
from launcher.foreign.logs.reader import LoggedStep, LogReader

# A literal first, and what must not be before it after it: lines are searched faster so.
_ITERATION = r"iteration(?<!\witeration)(?<!, iteration)(?<!at iteration):?\s+"
STEP = re.compile(_ITERATION + r"(\d{1,12})\s*/\s*(?:(\d{1,12})\s*(?=\|)|\d*\s*$)")
LOOKS = re.compile(_ITERATION + r"\d+\s*/")
ARGUMENTS = re.compile(r"-{4,} arguments -{4,}")
ARGUMENTS_END = re.compile(r"-{4,} end of arguments -{4,}")
# Whatever stands before it: a host, a time. A name that is long has no dots behind it.
ARGUMENT = re.compile(r"(?:^|\s)(\w+) (?:\.{2,} ?| )(\S.*|)$")
# DeepSpeed prints its own configuration so, behind a time: it is what the engine goes by.
ENGINE_ARGUMENT = re.compile(r"\[config\.py:\d+:print\w*\]\s+(\w+) (?:\.{2,}|) ?(\S.*)$")
VOCABULARY = re.compile(r"padded vocab \(size: (\d+)\) with \d+ dummy tokens \(new size: (\d+)\)")
RANK_PARAMS = re.compile(
    r"number of parameters on \(tensor, pipeline\) model parallel rank"
    r" \((\d+, ?\d+)\): (\d{1,15})\b"
)
MEMORY = re.compile(
    r"(?:\[Rank (\d+)\] )?\(?after \d+ iterations\)? memory \(MB\) \|"
    r"[^\[]*?max reserved:\s*([\d.]+)"
)
UTILIZATION = re.compile(r"GPU utilization: ?([\d.]+) ?(?:MODEL_)?TFLOP/s/GPU")
TFLOPS = re.compile(r"([\d.]+) ?(?:MODEL_)?TFLOP/s/GPU")
# DeepSpeedExamples' Megatron-LM-v1.1.5-ZeRO3 says it on the line after; recomputation counts.
EFFECTIVE = re.compile(r"Effective Tera Flops per GPU: ([\d.]+)")
DEEPSPEED = re.compile(r"DeepSpeed info: version|\[deepspeed\]|\[logging\.py:\d+:log_dist\]")
STOPPED = re.compile(r"exiting program (?:at iteration \d+|after [\w. ]+)")
TORN = 12
"""Lines over which a torn step line is put together."""
MORE = re.compile(
    r"(?:elapsed time per iteration \(m?s\)|learning rate|global batch size|lm loss|loss scale"
    r"|grad norm|number of (?:skipped|nan) iterations|consumed (?:samples|tokens)|TFLOPs"
    r"|TFLOP/s/GPU\)|samples per second):\s*[-\dni]"
)
"""Fields that the rest of a torn step line may begin with."""

SPEED = (
    ("samples_per_s", "samples per second", "samples/sec"),
    ("tokens_per_s_per_gpu", "tokens per gpu per second (tgs)", "tokens per gpu (tokens/s/gpu)"),
    ("tflops", "throughput per gpu (tflop/s/gpu)", "tflops", "approx flops per gpu"),
    ("grad_norm", "grad norm"),
    ("lr", "learning rate"),
    ("batch", "global batch size"),
    ("samples", "consumed samples"),
    ("tokens", "consumed tokens"),
)
"""Field of `LoggedStep` -> what lines call it."""


@dataclass(kw_only=True)
class Megatron(LogReader):
    """Reads the step lines and the arguments."""

    name: ClassVar[str] = "megatron"
    looks_like: ClassVar[str] = "'iteration 10/ 1000 | elapsed time per iteration (ms): ...'"

    _in_arguments: bool = False
    _torn: str = ""
    _pieces: int = 0
    _utilization: float | None = None
    _deepspeed: bool = False
    _has_losses: bool = False
    """A line before had one: logs of other models have losses of other names."""

    @property
    def backend(self) -> str | None:
        """DeepSpeed's, where its engine prints or the arguments ask for it."""
        flag = self.arguments.get("deepspeed")
        uses = self._deepspeed if flag is None else flag == "True"
        return "megatron-deepspeed" if uses else "megatron-lm"

    def feed(self, line: str) -> bool:
        """Take a line. True where it is one of a step."""
        if self._torn and self._goes_on(line):
            return True
        if "iteration" in line and "/" in line and LOOKS.search(line):
            return self._step_line(line)
        if self._in_arguments or "arguments ---" in line:
            self._argument(line)
        else:
            self._remark(line)
        return False

    def _step_line(self, line: str) -> bool:
        starts = [match.start() for match in STEP.finditer(line)]
        if not starts:
            self.count_unread(line)
            return False
        prefix = line[: starts[0]]  # GPT-NeoX says samples/sec first
        if "memory (MB)" in line:
            self._memory(line)
        for begin, end in zip(starts, [*starts[1:], len(line)], strict=True):
            text = line[begin:end]
            self._keep(f"{text}|{prefix}" if begin == starts[0] and "|" in prefix else text)
        last = line[starts[-1] :].rstrip()
        complete = "elapsed time per iteration" in last and last.endswith("|")
        self._torn, self._pieces = "" if complete else MEMORY.sub("", last), 0
        return True

    def _goes_on(self, line: str) -> bool:
        """Return True for the rest of a step line that another rank's output has torn in two."""
        self._pieces += 1
        if LOOKS.search(line) or self._pieces > TORN:
            self._torn = ""
            return False
        if not MORE.search(line):
            return False
        new_field = self._torn[-1].isdigit() and re.match(r"\s*[A-Za-z]{2}", line)
        self._torn += f"|{line}" if new_field else line
        self._keep(self._torn, replaces=True)
        if "number of nan iterations" in line:
            self._torn = ""
        return True

    def _keep(self, text: str, replaces: bool = False) -> None:
        head = STEP.match(text)
        assert head, text
        self.total = int(head[2]) if head[2] else self.total  # None where it is cut off
        pieces = (piece.partition(":") for piece in text[head.end() :].split("|"))
        fields = {name.strip().lower(): value for name, _, value in pieces}
        numbers = {key: _first(fields, names) for key, *names in SPEED}
        numbers["tflops"] = _tflops(fields, numbers["tflops"], text, self._utilization)
        self._utilization = None
        if replaces:
            self.steps.pop(int(head[1]), None)
        step = LoggedStep(
            step=int(head[1]),
            loss=_loss(fields),
            step_ms=_milliseconds(fields),
            skipped=number(fields.get("number of skipped iterations")) or 0,
            nan_steps=number(fields.get("number of nan iterations")) or 0,
            **numbers,
        )
        self._has_losses = self._has_losses or step.loss is not None
        if self._is_without_its_loss(step, fields):
            step = replace(step, loss=math.nan)
        self.add(step)

    def _is_without_its_loss(self, step: LoggedStep, fields: dict[str, str]) -> bool:
        """Return True for a line that has no loss because it was not finite.

        Megatron writes a mean only where it is above 0, which nan is not. Without one are also
        lines whose updates were all skipped, in search of a loss scale: these say how many.
        """
        if step.loss is not None or "number of skipped iterations" not in fields:
            return False
        if step.nan_steps:
            return True
        norm = step.grad_norm
        nan_norm = norm is not None and not math.isfinite(norm)
        return not step.skipped and (nan_norm or self._has_losses)

    def _argument(self, line: str) -> None:
        if ARGUMENTS_END.search(line):
            self._in_arguments = False
        elif ARGUMENTS.search(line):
            self._in_arguments, self.recognized = True, True
            self.starts += 1
            self.arguments.clear()
        elif argument := ARGUMENT.search(line.rstrip()):
            self.arguments[argument[1]] = argument[2]

    def _remark(self, line: str) -> None:
        if "[config.py" in line and (engine := ENGINE_ARGUMENT.search(line)):
            self.arguments[f"engine.{engine[1]}"] = engine[2].strip()
        elif "memory (MB)" in line:
            self._memory(line)
        elif "padded vocab" in line and (vocabulary := VOCABULARY.search(line)):
            self.arguments["vocab_size"], self.arguments["padded_vocab_size"] = vocabulary.groups()
        elif "number of parameters on" in line:
            for rank, count in RANK_PARAMS.findall(line):
                self.arguments[f"params.{rank.replace(' ', '')}"] = count
        elif "GPU utilization" in line and (use := UTILIZATION.search(line)):
            self._utilization = number(use[1])
        elif "Effective Tera" in line and (effective := EFFECTIVE.search(line)):
            if self.last is not None:
                self.steps[self.last] = replace(self.steps[self.last], tflops=number(effective[1]))
        elif "after training is done" in line and self.last is not None:
            self.finished = line.strip()
        elif "exiting program" in line and (stopped := STOPPED.search(line)):
            self.stopped = stopped[0]
        elif not self._deepspeed and ("eep" in line or "log_dist" in line):
            self._deepspeed = bool(DEEPSPEED.search(line))

    def _memory(self, line: str) -> None:
        for rank, reserved in MEMORY.findall(line):
            if (mib := number(reserved)) is not None:  # Megatron divides by 2**20
                self.memory[rank or "0"] = max(mib / 1024, self.memory.get(rank or "0", 0.0))


def _first(fields: dict[str, str], names: list[str]) -> float | None:
    return next((value for name in names if (value := number(fields.get(name))) is not None), None)


def _tflops(
    fields: dict[str, str], in_field: float | None, text: str, utilization: float | None
) -> float | None:
    """TFLOP/s per card, wherever a version puts it: a field, its own piece, the line before."""
    if in_field is not None:
        # GPT-NeoX scales to a readable unit: 150.3TFLOPS, 980.1GFLOPS.
        return in_field / 1000 if "GFLOPS" in fields.get("approx flops per gpu", "") else in_field
    inside = TFLOPS.search(text) if "TFLOP/s/GPU" in text else None
    return number(inside[1]) if inside else utilization


def _milliseconds(fields: dict[str, str]) -> float | None:
    ms = number(fields.get("elapsed time per iteration (ms)"))
    seconds = number(fields.get("elapsed time per iteration (s)"))
    return ms if ms is not None else None if seconds is None else 1000 * seconds


def _loss(fields: dict[str, str]) -> float | None:
    """The language model's; other losses of a line are those of routers and of later tokens."""
    for name in ("lm loss", "lm_loss", "loss", "reduced_train_loss", "total loss"):
        if (value := number(fields.get(name))) is not None:
            return value
    return None
