"""nanotron: ``iteration: 10 / 1000 | consumed_tokens: 1.31M | time_per_iteration_ms: 11.5K | ...``.

Format strings: ``train_step_logs``, ``init_model`` and ``train`` (src/nanotron/trainer.py),
``human_format`` and ``LoggerWriter.add_scalars_from_list`` (src/nanotron/logging/base.py),
``Config.print_config_details`` (src/nanotron/config/config.py) of huggingface/nanotron.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from launcher.foreign.logs.lines import number
from launcher.foreign.logs.programs.program import ProgramReader
from launcher.foreign.logs.reader import LoggedStep

STEP = re.compile(r"\biteration: (\d{1,12}) / (\d{1,12}) \| (?=\w+: )(.*)")
LOOKS = re.compile(r"\biteration: \d+ / \d+ \|.*\w_per_iteration_ms|tokens_per_sec_per_gpu: ")
SIGNS = re.compile(r"\bnanotron\b|\[(?:INFO|WARNING|ERROR)(?:\|[A-Z]+=\d+)+")
FIELD = re.compile(r"\b(\w+): ([^|]+)")
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
"""Suffixes of `human_format`, which leaves three digits; "G" was the "B" of earlier versions."""
STARTED = re.compile(
    r"\bmbs: (\d{1,12}) \| grad_accum: \d+ \|(?: cp: (\d{1,9}) \|)?"
    r"(?: sequence_length: (\d{1,12}) \|)? global_batch_size: (\d{1,12}) \| train_steps: (\d{1,12})"
)
PARAMS = re.compile(r"Total number of parameters: ([\d.]+[KMBGTPE]?)\b")
# The configuration, as `pformat` and `print_config_details` print it.
ARGUMENT = re.compile(
    r"\b(dp|pp|tp|context_parallel_size|expert_parallel_size|cp|ep|hidden_size|num_hidden_layers"
    r"|num_layers|intermediate_size|num_attention_heads|num_key_value_heads|vocab_size|zero_stage"
    r"|tie_word_embeddings|recompute_layer|full_checkpointing|sequence_length"
    r"|micro_batch_size|train_steps|dtype)(?:=|: )(?:torch\.)?(\w+)"
)
NAMES = {
    "num_hidden_layers": "num_layers", "intermediate_size": "ffn_hidden_size",
    "num_key_value_heads": "num_query_groups", "sequence_length": "seq_length",
    "expert_parallel_size": "ep", "dtype": "precision", "train_steps": "train_iters",
    "zero_stage": "optimizer.zero_stage",
}  # fmt: skip
"""Its names -> those of `launcher.foreign.logs.arguments`."""
GATED = re.compile(r"\b(?:Llama|Qwen2)Config\(")
OF_LLAMA = {
    "swiglu": "True", "normalization": "RMSNorm", "position_embedding_type": "rope",
    "add_bias_linear": "False",
}  # fmt: skip
"""Its models of the LLaMA kind, in the words of Megatron-LM."""
MOST = 50
"""Cards up to which two figures of three digits each tell how many there are."""
GIB = 2.0**30


@dataclass(kw_only=True)
class Nanotron(ProgramReader):
    """Reads the step lines, and the configuration before them."""

    name: ClassVar[str] = "nanotron"
    looks_like: ClassVar[str] = "'iteration: 10 / 1000 | consumed_tokens: 1.31M | ...'"

    _ranks: int | None = None
    """Cards, by the speed of all and of one."""

    def feed(self, line: str) -> bool:
        """Take a line. True where it is one of a step."""
        if "iteration: " in line and (match := STEP.search(line)):
            texts = {name: text.strip() for name, text in FIELD.findall(match[3])}
            if "tokens_per_sec_per_gpu" in texts or any("per_iteration_ms" in t for t in texts):
                return self._step(match, {name: human(text) for name, text in texts.items()})
        if "iteration: " in line and LOOKS.search(line):
            self.count_unread(line)
        elif self.last is None:
            self._preamble(line)
        return False

    def close(self) -> None:
        """There are no more lines: what the configuration does not say, speeds may."""
        if "swiglu" not in self.arguments:  # a model of another kind, or of none that was said
            self.arguments.pop("hidden_size", None)
        sizes = [self.arguments.get(name) for name in ("dp", "pp", "tp")]
        if all(size is not None and size.isdigit() for size in sizes):
            dp, pp, tp = (int(size or 1) for size in sizes)
            cp = number(self.arguments.get("context_parallel_size", self.arguments.get("cp"))) or 1
            self.arguments.setdefault("world_size", str(int(dp * pp * tp * cp)))
        elif self._ranks is not None:
            self.arguments.setdefault("world_size", str(self._ranks))

    def _step(self, match: re.Match[str], values: dict[str, float | None]) -> bool:
        self.total = int(match[2])
        ms = values.get("elapsed_time_per_iteration_ms", values.get("time_per_iteration_ms"))
        per_gpu = values.get("tokens_per_sec_per_gpu")
        reserved = values.get("cuda_max_memory_reserved")
        step = LoggedStep(
            step=int(match[1]),
            loss=values.get("lm_loss"),
            grad_norm=values.get("grad_norm"),
            lr=values.get("lr"),
            step_ms=ms,
            batch=self._batch(values),
            tokens=values.get("consumed_tokens"),
            tokens_per_s_per_gpu=per_gpu,
            tflops=values.get("model_tflops_per_gpu"),
            memory_gib=None if reserved is None else reserved / GIB,
        )
        if not self.has_figures(step):
            self.count_unread(match[0])
            return False
        ratio = (values.get("tokens_per_sec") or 0) / per_gpu if per_gpu else 0
        if self._ranks is None and 0.9 < ratio < MOST:
            self._ranks = round(ratio)
        self.add(step)
        return True

    def _batch(self, values: dict[str, float | None]) -> float | None:
        """Sequences of a step: since "time_per_iteration_ms" the line counts tokens."""
        batch = values.get("global_batch_size")
        if "time_per_iteration_ms" not in values or batch is None:
            return batch
        exact = number(self.arguments.get("global_batch_size"))
        sequence = number(self.arguments.get("seq_length"))
        return exact or (round(batch / sequence) if sequence else None)

    def _preamble(self, line: str) -> None:
        """Take a line from before the first step."""
        if not self.recognized and ("nanotron" in line or "|" in line):
            self.recognized = bool(SIGNS.search(line))
        if "mbs: " in line and (started := STARTED.search(line)):
            names = ("micro_batch_size", "cp", "seq_length", "global_batch_size", "train_iters")
            stated = zip(names, started.groups(), strict=True)
            self.arguments |= {name: value for name, value in stated if value is not None}
            self.total, self.recognized = int(started[5]), True
            self.starts += 1
        elif "Total number of parameters" in line and (params := PARAMS.search(line)):
            self.arguments["params"] = f"{human(params[1]) or 0:.0f}"
        elif self.recognized:
            if GATED.search(line):
                self.arguments |= OF_LLAMA
            for name, value in ARGUMENT.findall(line):
                self._argument(name, value)

    def _argument(self, name: str, value: str) -> None:
        if name == "tie_word_embeddings":
            self.arguments["untie_embeddings_and_output_weights"] = str(value == "False")
        elif name in ("recompute_layer", "full_checkpointing"):
            self.arguments["recompute_granularity"] = "full" if value == "True" else "none"
        else:
            self.arguments.setdefault(NAMES.get(name, name), value)


def human(text: str) -> float | None:
    """The number of a text like "11.5K"; None where it has none."""
    value = number(text[:-1] if text[-1:] in UNITS else text)
    return value if value is None else value * UNITS.get(text[-1:], 1)
