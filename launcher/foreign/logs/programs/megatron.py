"""Megatron-LM, Megatron-DeepSpeed, GPT-NeoX and Megatron-Bridge: ``iteration 10/ 1000 | ...``.

Format strings: ``training_log`` and ``report_memory`` of Megatron-LM (megatron/training.py before
core 0.6, megatron/training/training.py since), of microsoft/Megatron-DeepSpeed and of
bigscience-workshop/Megatron-DeepSpeed; ``training_log`` and ``NeoXArgs.print`` of
EleutherAI/gpt-neox; ``train_utils.training_log`` of NVIDIA-NeMo/Megatron-Bridge.
"""

import math
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar, Self

from launcher.foreign.logs.lines import number
from launcher.foreign.logs.programs import neox
from launcher.foreign.logs.programs.program import ProgramReader
from launcher.foreign.logs.reader import LoggedStep

# A literal first, and what must not be before it after it: lines are searched faster so.
_ITERATION = r"iteration(?<!\witeration)(?<!, iteration)(?<!at iteration):?\s+"
STEP = re.compile(_ITERATION + r"(\d{1,12})\s*/\s*(?:(\d{1,12})\s*(?=\|)|\d*\s*$)")
LOOKS = re.compile(_ITERATION + r"\d+\s*/")
ARGUMENTS = re.compile(r"-{4,} arguments -{4,}")
ARGUMENTS_END = re.compile(r"-{4,} end of arguments -{4,}")
# Whatever stands before it: a host, a time. A name that is long has no dots behind it.
ARGUMENT = re.compile(r"(?:^|\s)(\w+) (?:\.+ ?| )(\S.*|)$")
# DeepSpeed prints its own configuration so, behind a time: it is what the engine goes by.
ENGINE_ARGUMENT = re.compile(r"\[config\.py:\d+:print\w*\]\s+(\w+) (?:\.{2,}|) ?(\S.*)$")
VOCABULARY = re.compile(r"padded vocab \(size: (\d+)\) with \d+ dummy tokens \(new size: (\d+)\)")
# On (tensor, pipeline), lately on (tensor, gtp_remat, pipeline); GPT-NeoX has one number.
RANK_PARAMS = re.compile(
    r"number of parameters on (?:\([a-z_, ]+\) )?model parallel rank"
    r" \(?(\d+(?:, ?\d+)*)\)?: (\d{1,15})\b"
)
# In the report on memory, and rounded.
BILLIONS = re.compile(r"Total number of parameters in billions: +(\d{1,9}\.\d+)")
# The first line of all: what the arguments, which come later, may never say.
USING = re.compile(r"\busing world size: (\d{1,9}),(.*)")
DEGREE = re.compile(r"\b(data|tensor-model|pipeline-model|context)-parallel[- ]size: (\d{1,9})")
DEGREES = {"data": "dp", "tensor-model": "tp", "pipeline-model": "pp", "context": "cp"}
TOTAL_PARAMS = re.compile(r"> total params: (\d[\d,]{0,20})")
MEMORY = re.compile(
    r"(?:\[Rank (\d+)\] )?\(?after \d+ iterations\)? memory \(MB\) \|"
    r"[^\[]*?max (?:reserved|cached):\s*([\d.]+)"
)
UTILIZATION = re.compile(
    r"(?:Step Time : ?([\d.]+)s )?GPU utilization: ?([\d.]+) ?(?:MODEL_)?TFLOP/s/GPU"
)
ROUNDING = 0.006
"""Seconds that Megatron-Bridge's step time and its step line may be apart."""
TFLOPS = re.compile(r"(?<![\d.])([\d.]+) ?(?:MODEL_)?TFLOP/s/GPU")
# DeepSpeedExamples' Megatron-LM-v1.1.5-ZeRO3 says it on the line after; recomputation counts.
EFFECTIVE = re.compile(r"Effective Tera Flops per GPU: ([\d.]+)")
DEEPSPEED = re.compile(r"DeepSpeed info: version|\[deepspeed\]|\[logging\.py:\d+:log_dist\]")
STOPPED = re.compile(r"exiting (?:the )?program (?:at iteration \d+|after [\w. ]+)")
# Since January 2026 the first step has a line of its own, which the line after it counts once more.
FIRST_LINE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\]\s+$")
STARTING = "before the start of training step"
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
    ("tokens_per_s_per_gpu",),
    ("tflops", "throughput per gpu (tflop/s/gpu)", "tflops", "approx flops per gpu"),
    ("grad_norm", "grad norm"),
    ("lr", "learning rate"),
    ("batch", "global batch size"),
    ("samples", "consumed samples"),
    ("tokens", "consumed tokens"),
)
"""Field of `LoggedStep` -> what lines call it."""

# Forks add it under many names: tokens/sec/gpu, tokens per gpu per second (tgs), ...
TOKEN_SPEED = re.compile(r"tok(?:en)?s?\b.*\b(?:gpu|device)|tgs$|tokens_per_sec_per_gpu$")
LOSSES = ("lm loss", "lm_loss", "loss", "reduced_train_loss", "total loss")
OTHERS = (
    "consumed samples", "skipped samples", "loss scale", "num zeros", "params norm", "mtp_1 loss",
    "energy per gpu (j/iter/gpu)", "power per gpu (w/gpu)", "actual seqlen", "mfu", "hfu",
    "number of skipped iterations", "number of nan iterations", "max attention logit",
    "elapsed time per iteration (ms)", "elapsed time per iteration (s)",
)  # fmt: skip
KNOWN = {*LOSSES, *OTHERS, *(name for _, *names in SPEED for name in names)}
"""Fields of the programs named above."""
# Until 2020, and in GLM since, there is no colon behind some names.
FIELD = re.compile(r"([^:]*?)(?::|(?<=[a-z)]) +(?=(?:[-+]?\d|nan|NAN|inf)\S* *$))(.*)")
NAMED = re.compile(r"\|([^|:]+):")
FEW = 1 / 4
"""Part of a line's fields that is known, below which it is another program's."""


@dataclass(kw_only=True)
class Megatron(ProgramReader):
    """Reads the step lines and the arguments."""

    name: ClassVar[str] = "megatron"
    looks_like: ClassVar[str] = "'iteration 10/ 1000 | elapsed time per iteration (ms): ...'"

    speeds: list[tuple[float | None, float | None]] = field(default_factory=list)
    """Seconds and TFLOP/s that rank 0 of Megatron-Bridge said, and of which the step is not known
    yet: the step lines are the last rank's."""
    neox: bool = False
    """GPT-NeoX printed it."""
    bridge: bool = False
    """Megatron-Bridge printed it."""

    _in_arguments: bool = False
    _torn: str = ""
    _pieces: int = 0
    _deepspeed: bool = False
    _has_losses: bool = False
    """A line before had one: logs of other models have losses of other names."""
    _starting: bool = False
    _first: LoggedStep | None = None
    """The first step of a start, where the next line counts it once more."""

    @property
    def backend(self) -> str | None:
        """DeepSpeed's, where its engine prints or the arguments ask for it."""
        if self.neox or self.bridge:
            return "gpt-neox" if self.neox else "megatron-bridge"
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
        if not starts or _of_others(line):
            self.count_unread(line)
            return False
        prefix = line[: starts[0]]  # GPT-NeoX says samples/sec first
        opens = bool(FIRST_LINE.search(prefix))
        if "memory (MB)" in line:
            self._memory(line)
        for begin, end in zip(starts, [*starts[1:], len(line)], strict=True):
            text = line[begin:end]
            self._keep(f"{text}|{prefix}" if begin == starts[0] and "|" in prefix else text)
        last = line[starts[-1] :].rstrip()
        complete = "elapsed time per iteration" in last and last.endswith("|")
        self._torn, self._pieces = "" if complete else MEMORY.sub("", last), 0
        if last.endswith("|") and not self._says_something(line):
            self._torn = ""
            return False
        if opens and self.last is not None and (self._starting or self.last == 1):
            self._first = self.steps[self.last]
        self._starting = False
        return True

    def _says_something(self, line: str) -> bool:
        """Return True for a step line that has some figure; else it is none, and unread."""
        step = None if self.last is None else self.steps.get(self.last)
        if step is None or self.has_figures(step) or step.skipped:
            return True
        del self.steps[step.step]
        self.last = max(self.steps, default=None)
        self.count_unread(line)
        return False

    def _goes_on(self, line: str) -> bool:
        """Return True for the rest of a step line that another rank's output has torn in two."""
        self._pieces += 1
        if LOOKS.search(line) or self._pieces > TORN:
            torn, self._torn = self._torn, ""
            self._says_something(torn)
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
        pieces = (FIELD.match(piece) for piece in text[head.end() :].split("|"))
        fields = {piece[1].strip().lower(): piece[2] for piece in pieces if piece}
        numbers = {key: _first(fields, names) for key, *names in SPEED}
        numbers["tokens_per_s_per_gpu"] = _token_speed(fields)
        numbers["tflops"] = _tflops(fields, numbers["tflops"], text)
        if numbers["tflops"] is None and self.speeds:
            numbers["tflops"] = self.speeds.pop()[1]
            self.speeds.clear()
        self.neox = self.neox or "approx flops per gpu" in fields
        if replaces and (torn := self.steps.pop(int(head[1]), None)):
            numbers["tflops"] = torn.tflops if numbers["tflops"] is None else numbers["tflops"]
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
        self.add(self._alone(step))

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

    def _alone(self, step: LoggedStep) -> LoggedStep:
        """A step with the mean time of its own interval: not with the first step in it once more,
        which compiles and allocates."""
        first = self._first
        if first is None or step.step == first.step:
            self._first = first and step  # it was torn, and is whole now
            return step
        self._first = None
        if step.step < first.step or not (first.step_ms and step.step_ms):
            return step
        interval = step.step - first.step
        ms = ((interval + 1) * step.step_ms - first.step_ms) / interval
        return replace(step, step_ms=ms) if ms > 0 else step

    def _argument(self, line: str) -> None:
        if ARGUMENTS_END.search(line):
            self._in_arguments = False
            self.neox = neox.is_dump(self.arguments)
            if self.neox:
                self.arguments = neox.in_megatrons_words(self.arguments)
        elif ARGUMENTS.search(line):
            self._in_arguments, self.recognized, self._starting = True, True, True
            self.starts += 1
            padded = self.arguments.get("padded_vocab_size")
            self.arguments.clear()
            if padded is not None:  # the tokenizer may be built before the dump
                self.arguments["padded_vocab_size"] = padded
        elif (argument := ARGUMENT.search(line.rstrip())) and not _comes_later(*argument.groups()):
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
            self._speed(number(use[1]), number(use[2]))
        elif "using world size" in line and (using := USING.search(line)):
            self.recognized = True
            sizes = {DEGREES[name]: size for name, size in DEGREE.findall(using[2])}
            self.arguments |= {"world_size": using[1], **sizes}
        elif "in billions" in line and (billions := BILLIONS.search(line)):
            self.arguments["params_in_billions"] = billions[1]
        elif "> total params" in line and (total := TOTAL_PARAMS.search(line)):
            self.arguments["params"] = total[1].replace(",", "")
        elif STARTING in line:
            self._starting = True
        elif "Effective Tera" in line and (effective := EFFECTIVE.search(line)):
            if self.last is not None:
                self.steps[self.last] = replace(self.steps[self.last], tflops=number(effective[1]))
        elif "after training is done" in line and self.last is not None:
            self.finished = line.strip()
        elif "exiting " in line and (stopped := STOPPED.search(line)):
            self.stopped = stopped[0]
        elif not self._deepspeed and ("eep" in line or "log_dist" in line):
            self._deepspeed = bool(DEEPSPEED.search(line))

    def _speed(self, seconds: float | None, tflops: float | None) -> None:
        """Take what rank 0 says: of the step line that comes next, or of that of the last rank
        which came just before, in the order in which their outputs reach the log."""
        self.recognized, self.bridge = True, self.bridge or seconds is not None
        step = None if self.last is None else self.steps[self.last]
        if step is not None and step.tflops is None and _same(step.step_ms, seconds):
            self.steps[step.step] = replace(step, tflops=tflops)
        else:
            self.speeds.append((seconds, tflops))

    def join(self, other: Self) -> None:
        """Take another rank's file. The steps of rank 0's speeds are known by their order."""
        super().join(other)
        steps = [self.steps[number] for number in sorted(self.steps)]
        pairs = list(zip(steps, self.speeds, strict=False))
        if pairs and all(_same(step.step_ms, seconds) for step, (seconds, _) in pairs):
            for step, (_, tflops) in pairs:
                if step.tflops is None:
                    self.steps[step.step] = replace(step, tflops=tflops)
            self.speeds.clear()

    def _memory(self, line: str) -> None:
        for rank, reserved in MEMORY.findall(line):
            if (mib := number(reserved)) is not None:  # Megatron divides by 2**20
                self.memory[rank or "0"] = max(mib / 1024, self.memory.get(rank or "0", 0.0))


def _first(fields: dict[str, str], names: list[str]) -> float | None:
    return next((value for name in names if (value := number(fields.get(name))) is not None), None)


def _tflops(fields: dict[str, str], in_field: float | None, text: str) -> float | None:
    """TFLOP/s per card, wherever a version puts it in its line: a field, or a piece of its own."""
    if in_field is not None:
        # GPT-NeoX scales to a readable unit: 150.3TFLOPS, 980.1GFLOPS.
        return in_field / 1000 if "GFLOPS" in fields.get("approx flops per gpu", "") else in_field
    inside = TFLOPS.search(text) if "TFLOP/s/GPU" in text else None
    return number(inside[1]) if inside else None


def _comes_later(name: str, value: str) -> bool:
    """Return True for a size that is not known yet when the arguments are printed."""
    return name == "padded_vocab_size" and value == "None"


def _of_others(line: str) -> bool:
    """Return True for a step line of which neither the time nor more than a few names are known."""
    if "elapsed time per iteration" in line or "memory (MB)" in line:
        return False
    names = [name.strip().lower() for name in NAMED.findall(line)]
    return len(names) > 3 and sum(map(_known, names)) < FEW * len(names)


def _token_speed(fields: dict[str, str]) -> float | None:
    """Tokens per second and card."""
    names = (name for name in fields if _is_token_speed(name))
    return next((value for name in names if (value := number(fields[name])) is not None), None)


@lru_cache(maxsize=256)
def _is_token_speed(name: str) -> bool:
    return bool(TOKEN_SPEED.search(name))


def _known(name: str) -> bool:
    return name in KNOWN or name.endswith("loss")


def _same(ms: float | None, seconds: float | None) -> bool:
    """Return True if a step line's time is the one that is rounded to seconds elsewhere."""
    return seconds is None or ms is None or abs(ms / 1000 - seconds) < ROUNDING


def _milliseconds(fields: dict[str, str]) -> float | None:
    ms = number(fields.get("elapsed time per iteration (ms)"))
    seconds = number(fields.get("elapsed time per iteration (s)"))
    return ms if ms is not None else None if seconds is None else 1000 * seconds


def _loss(fields: dict[str, str]) -> float | None:
    """The language model's; other losses of a line are those of routers and of later tokens."""
    for name in LOSSES:
        if (value := number(fields.get(name))) is not None:
            return value
    return None
