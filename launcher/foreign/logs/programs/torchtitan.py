"""torchtitan: ``step:  1  loss:  8.0277  grad_norm:  1.4604  memory:  1.21GiB(0.86%)  tps: ...``.

Format strings: ``MetricsProcessor.log`` (torchtitan/components/metrics.py) and the ``logger.info``
calls of train.py, trainer.py and distributed/ in torchtitan/ of pytorch/torchtitan.
"""

import math
import re
from dataclasses import dataclass
from typing import ClassVar

from launcher.foreign.logs.lines import number
from launcher.foreign.logs.programs.program import ProgramReader
from launcher.foreign.logs.reader import LoggedStep

STEP = re.compile(
    r"(?<!validate )\bstep:\s*(\d{1,12})(?:/(\d{1,12}))?(?: = [\d.]+%)?\s+(?=[a-z_]*loss:)"
)
FIELD = re.compile(r"(?<![A-Za-z_])([A-Za-z_]+):\s*([-+\d.,]+(?:[eE][-+]?\d+)?(?:GiB)?|nan|inf)")
SIGNS = re.compile(r"\btorchtitan\b|\[titan\]")
TRAINER = re.compile(
    r"(?:Trainer is initialized with|Training starts at step \d+, with)"
    r" local batch size (\d{1,12}), global batch size (\d{1,12}),"
    r".*?sequence length (\d{1,12}), total steps (\d{1,12})"
)
# Since 2026 it counts tokens.
TOKENS = re.compile(
    r"Trainer is initialized with (\d{1,12}) tokens per DP rank, (\d{1,12}) tokens per train step,"
    r" gradient accumulation steps (\d{1,12}), maximum context length (\d{1,12}),"
    r" total steps (\d{1,12})"
)
LOOKS = re.compile(r"(?<!validate )\bstep:\s*\d+\b.*\b(?:loss|tps|grad_norm):")
MESH = re.compile(
    r"Building (?:\d+-D )?device mesh with (?:\[(.*?)\], \[(.*?)\]|parallelism: (.*))"
)
SIZE = re.compile(r"Model (.*?) size: ([\d,]+) total parameters")
BUILDING = re.compile(r"Building ([\w.-]+ [\w.-]+)$")
SHAPE = re.compile(r"Building (\S+ \S+) with (?:\w+Args|\w+)\((.*)\)")
AC = re.compile(r"Applied (\w+) activation checkpointing")
DEGREES = ("pp", "dp_replicate", "dp_shard", "cp", "tp", "ep")


@dataclass(kw_only=True)
class Torchtitan(ProgramReader):
    """Reads the step lines, and what is printed before the first one."""

    name: ClassVar[str] = "torchtitan"
    looks_like: ClassVar[str] = "'step:  1  loss:  8.0277 ... tps: 5,756'"

    def feed(self, line: str) -> bool:
        """Take a line. True where it is one of a step."""
        match = STEP.search(line) if "step:" in line else None
        if match is None:
            if "step:" in line and self.recognized and LOOKS.search(line):
                self.count_unread(line)
            self._remark(line)
            return False
        values = {name: number(text) for name, text in FIELD.findall(line[match.end() :])}
        self.total = int(match[2]) if match[2] else self.total
        loss = next((values[name] for name in ("loss", "global_avg_loss") if name in values), None)
        step = LoggedStep(
            step=int(match[1]),
            loss=loss,
            grad_norm=values.get("grad_norm"),
            lr=values.get("lr"),
            tokens_per_s_per_gpu=values.get("tps", values.get("wps")),
            tflops=values.get("tflops"),
            memory_gib=values.get("memory"),
        )
        if not self.has_figures(step):
            self.count_unread(line)
            return False
        self.add(step)
        return True

    def _remark(self, line: str) -> None:
        if trainer := TRAINER.search(line):
            names = ("micro_batch_size", "global_batch_size", "seq_length", "train_iters")
            self.arguments |= dict(zip(names, trainer.groups(), strict=True))
            self.total = int(trainer[4])
            self.starts += 1
        elif "tokens per train step" in line and (tokens := TOKENS.search(line)):
            self._trainer(*(int(count) for count in tokens.groups()))
        elif mesh := MESH.search(line):
            self._mesh(mesh)
        elif size := SIZE.search(line):
            self.arguments |= {"model": size[1], "params": size[2].replace(",", "")}
        elif checkpointing := AC.search(line):
            # Since 2026 its class: FullAC, SelectiveAC.
            self.arguments["recompute_granularity"] = checkpointing[1].removesuffix("AC").lower()
        elif "Training completed" in line and self.last is not None:
            self.finished = "Training completed"
        self._shape(line)
        self.recognized = self.recognized or bool(SIGNS.search(line))

    def _trainer(self, of_rank: int, of_step: int, micros: int, context: int, total: int) -> None:
        """Take the sizes of a step in tokens: sequences, where they are of the context's length."""
        self.arguments |= {"seq_length": str(context), "train_iters": str(total)}
        sizes = {"micro_batch_size": of_rank, "global_batch_size": of_step}
        for name, tokens in sizes.items():
            if context and tokens % context == 0:
                self.arguments[name] = str(tokens // context)
        self.total = total
        self.starts += 1

    def _mesh(self, mesh: re.Match[str]) -> None:
        if mesh[3]:
            sizes = dict(re.findall(r"(\w+)=(\d{1,12})", mesh[3]))
        else:
            names = re.findall(r"\w+", mesh[1])
            sizes = dict(zip(names, re.findall(r"\d{1,12}", mesh[2]), strict=False))
        degrees = {name: int(sizes.get(name, 1)) for name in DEGREES}
        world = math.prod(degrees[name] for name in DEGREES[:-1])
        self.arguments |= {name: str(value) for name, value in degrees.items()}
        self.arguments["world_size"] = str(world)
        self.arguments["dp"] = str(degrees["dp_replicate"] * degrees["dp_shard"])

    def _shape(self, line: str) -> None:
        if "Building " in line and (shape := SHAPE.search(line)):
            self.arguments["model"] = shape[1]
            for name, value in re.findall(r"(\w+)=([\w.']+)", shape[2]):
                self.arguments[f"args.{name}"] = value
        elif "Building " in line and (built := BUILDING.search(line)):
            self.arguments["model"] = built[1]
