"""Composer and llm-foundry: ``[batch=10/1000]:``, and below it one line for each figure.

Format strings: ``ConsoleLogger`` (composer/loggers/console_logger.py), ``SpeedMonitor`` and
``MemoryMonitor`` (composer/callbacks/) of mosaicml/composer; ``train``
(llmfoundry/command_utils/train.py) of mosaicml/llm-foundry, and its configuration in YAML.
"""

import re
from dataclasses import dataclass, field
from typing import ClassVar

from launcher.foreign.logs.lines import number
from launcher.foreign.logs.programs.program import ProgramReader
from launcher.foreign.logs.reader import LoggedStep

HEAD = re.compile(
    r"^\s*(?:\[epoch=(\d{1,12})(?:/(\d{1,12}))?\])?"
    r"\[(batch|token|sample|epoch|iteration|second)=(\d{1,18})(?:/(\d{1,18}))?\]"
    r"(?::?\s*$|:\s*(?=Train ))"
)
FIELD = re.compile(r"^\s*Train ([^:]+): (.*)$")
ARGUMENT = re.compile(
    r"^\s*(global_train_batch_size|device_train_microbatch_size|max_seq_len|max_duration|precision"
    r"|sharding_strategy|activation_checkpointing|d_model|n_layers|n_heads|vocab_size|n_gpus"
    r"|n_params|expansion_ratio): ['\"]?([\w.]+)"
)
NAMES = {
    "max_seq_len": "seq_length", "d_model": "hidden_size", "n_layers": "num_layers",
    "n_heads": "num_attention_heads", "n_gpus": "world_size", "n_params": "params",
    "global_train_batch_size": "global_batch_size",
    "device_train_microbatch_size": "micro_batch_size",
}  # fmt: skip
"""Its names -> those of `launcher.foreign.logs.arguments`."""
SIGNS = re.compile(r"\bcomposer\.trainer\b|\bllmfoundry\b|^Config:$")
DONE = re.compile(r"\bllmfoundry\S*: Done\.$")
LOSSES = (
    "loss/train/total", "loss/train/ce_loss", "metrics/train/LanguageCrossEntropy",
    "LanguageCrossEntropy",
)  # fmt: skip
MEMORY = ("memory/peak_reserved_mem", "memory/current_reserved_mem", "memory/reserved_mem")
GB_IN_GIB = 1e9 / 2**30


@dataclass(kw_only=True)
class Composer(ProgramReader):
    """Reads the blocks of the console logger; those of evaluation are none of a step."""

    name: ClassVar[str] = "composer"
    looks_like: ClassVar[str] = "'[batch=10/1000]:' above 'Train loss/train/total: 2.5'"

    _head: re.Match[str] | None = None
    _values: dict[str, float | None] = field(default_factory=dict)

    def feed(self, line: str) -> bool:
        """Take a line. True where it is one of a step."""
        if self._head is not None and "Train " in line and (figure := FIELD.match(line)):
            self._values[figure[1]] = number(figure[2])
            return True
        self._end_block()
        if "=" in line and line.lstrip().startswith("[") and (head := HEAD.match(line)):
            self._head = head
            return head.end() < len(line) and self.feed(line[head.end() :])  # put on one line
        self._remark(line)
        return False

    def close(self) -> None:
        """There are no more lines."""
        self._end_block()

    def _remark(self, line: str) -> None:
        if not self.recognized and any(word in line for word in ("composer", "llmf", "Config:")):
            self.recognized = bool(SIGNS.search(line))
        if self.last is not None:
            if "Done" in line and DONE.search(line):
                self.finished = line.strip()
        elif ": " in line and (argument := ARGUMENT.match(line)):
            self._argument(argument[1], argument[2])

    def _argument(self, name: str, value: str) -> None:
        if name == "precision":
            value = value.removeprefix("amp_")
        elif name == "activation_checkpointing":
            name, value = "recompute_granularity", "full" if value == "true" else "none"
        elif name == "expansion_ratio":
            name, value = "ffn_hidden_size", str(self._inner(number(value)))
        self.arguments[NAMES.get(name, name)] = value

    def _inner(self, ratio: float | None) -> int | None:
        hidden = number(self.arguments.get("hidden_size"))
        return int(ratio * hidden) if ratio and hidden else None

    def _end_block(self) -> None:
        """Make a step of the lines since the head; one without a figure is not read."""
        head, values = self._head, self._values
        self._head, self._values = None, {}
        if head is None or not values:
            return
        step = self._step(head, values)
        if step is None or not self.has_figures(step):
            self.count_unread(head[0])
            return
        self._count_cards(values)
        self.add(step)
        if head[5] and head[3] in ("token", "sample") and int(head[4]) >= int(head[5]):
            self.finished = head[0].strip()

    def _step(self, head: re.Match[str], values: dict[str, float | None]) -> LoggedStep | None:
        number_of = self._number(head, values)
        if number_of is None:
            return None
        per_s = values.get("throughput/batches_per_sec")
        flops = values.get("throughput/device/flops_per_sec")
        reserved = _first(values, MEMORY)
        return LoggedStep(
            step=number_of,
            loss=_first(values, LOSSES),
            grad_norm=values.get("l2_norm/grad/global"),
            lr=next((value for name, value in values.items() if name.startswith("lr-")), None),
            step_ms=1000 / per_s if per_s else None,
            samples_per_s=values.get("throughput/samples_per_sec"),
            tokens_per_s_per_gpu=values.get("throughput/device/tokens_per_sec"),
            tflops=None if flops is None else flops / 1e12,
            memory_gib=None if reserved is None else reserved * GB_IN_GIB,
        )

    def _number(self, head: re.Match[str], values: dict[str, float | None]) -> int | None:
        """Number of a step: the head's, or one more than the batches done before it."""
        done = values.get("time/batch")
        if head[3] == "batch" and not head[1]:
            self.total = int(head[5]) if head[5] else self.total
            return int(head[4])
        if head[1] and head[5] and head[3] == "batch":
            length, epochs = int(head[5]), self.arguments.get("max_duration", "")
            if epochs.endswith("ep") and epochs[:-2].isdigit():
                self.total = int(epochs[:-2][:12]) * length
            return (int(head[1]) - 1) * length + int(head[4])
        return None if done is None else int(done) + 1

    def _count_cards(self, values: dict[str, float | None]) -> None:
        """Take the number of cards from the speeds of all and of one, which have four decimals."""
        speeds = (
            [values.get(f"throughput/{of}{unit}_per_sec") for of in ("", "device/")]
            for unit in ("tokens", "samples")
        )
        ratio = next((every / one for every, one in speeds if every and one), None)
        if ratio is not None and 0.9 < ratio < 1e6:
            self.arguments.setdefault("world_size", str(round(ratio)))


def _first(values: dict[str, float | None], names: tuple[str, ...]) -> float | None:
    return next((value for name in names if (value := values.get(name)) is not None), None)
