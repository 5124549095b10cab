"""torchtitan: ``step:  1  loss:  8.0277  grad_norm:  1.4604  memory:  1.21GiB(0.86%)  tps: ...``.

Format strings: ``MetricsProcessor.log`` (torchtitan/components/metrics.py) and the ``logger.info``
calls of train.py, trainer.py and distributed/ in torchtitan/ of pytorch/torchtitan.
"""

import math
import re
from dataclasses import dataclass
from typing import ClassVar

from launcher.foreign.logs.lines import number
from launcher.foreign.logs.reader import LogReader, Step

STEP = re.compile(
    r"(?<!validate )\bstep:\s*(\d{1,12})(?:/(\d{1,12}))?(?: = [\d.]+%)?\s+(?=[a-z_]*loss:)"
)
FIELD = re.compile(r"([A-Za-z_]+):\s*([-+\d.,]+(?:[eE][-+]?\d+)?(?:GiB)?|nan|inf)")
KNOWN = re.compile(r"\btorchtitan\b|\[titan\]")
TRAINER = re.compile(
    r"(?:Trainer is initialized with|Training starts at step \d+, with)"
    r" local batch size (\d{1,12}), global batch size (\d{1,12}),"
    r".*?sequence length (\d{1,12}), total steps (\d{1,12})"
)
MESH = re.compile(
    r"Building (?:\d+-D )?device mesh with (?:\[(.*?)\], \[(.*?)\]|parallelism: (.*))"
)
SIZE = re.compile(r"Model (.*?) size: ([\d,]+) total parameters")
SHAPE = re.compile(r"Building (\S+ \S+) with (?:\w+Args|\w+)\((.*)\)")
AC = re.compile(r"Applied (\w+) activation checkpointing")
DEGREES = ("pp", "dp_replicate", "dp_shard", "cp", "tp", "ep")


@dataclass(kw_only=True)
class Torchtitan(LogReader):
    """Reads the step lines, and what is printed before the first one."""

    name: ClassVar[str] = "torchtitan"
    looks_like: ClassVar[str] = "'step:  1  loss:  8.0277 ... tps: 5,756'"

    def feed(self, line: str) -> bool:
        """Take a line. True where it is one of a step."""
        found = STEP.search(line) if "step:" in line else None
        if found is None:
            self._remark(line)
            return False
        said = {name: number(value) for name, value in FIELD.findall(line[found.end() :])}
        self.total = int(found[2]) if found[2] else self.total
        loss = next((said[name] for name in ("loss", "global_avg_loss") if name in said), None)
        self.add(
            Step(
                step=int(found[1]),
                loss=loss,
                grad_norm=said.get("grad_norm"),
                lr=said.get("lr"),
                tokens_per_s_per_gpu=said.get("tps", said.get("wps")),
                tflops=said.get("tflops"),
                memory_gib=said.get("memory"),
            )
        )
        return True

    def _remark(self, line: str) -> None:
        if found := TRAINER.search(line):
            names = ("micro_batch_size", "global_batch_size", "seq_length", "train_iters")
            self.facts |= dict(zip(names, found.groups(), strict=True))
            self.total = int(found[4])
            self.starts += 1
        elif found := MESH.search(line):
            self._mesh(found)
        elif found := SIZE.search(line):
            self.facts["model"], self.facts["params"] = found[1], found[2].replace(",", "")
        elif found := AC.search(line):
            self.facts["recompute_granularity"] = found[1]
        elif "Training completed" in line and self.last is not None:
            self.finished = "Training completed"
        self._shape(line)
        self.known = self.known or bool(KNOWN.search(line))

    def _mesh(self, found: re.Match[str]) -> None:
        if found[3]:
            sizes = dict(re.findall(r"(\w+)=(\d{1,12})", found[3]))
        else:
            names = re.findall(r"\w+", found[1])
            sizes = dict(zip(names, re.findall(r"\d{1,12}", found[2]), strict=False))
        degrees = {name: int(sizes.get(name, 1)) for name in DEGREES}
        world = math.prod(degrees[name] for name in DEGREES[:-1])
        self.facts |= {name: str(value) for name, value in degrees.items()}
        self.facts["world_size"] = str(world)
        self.facts["dp"] = str(degrees["dp_replicate"] * degrees["dp_shard"])

    def _shape(self, line: str) -> None:
        if "Building " in line and (found := SHAPE.search(line)):
            self.facts["model"] = found[1]
            for name, value in re.findall(r"(\w+)=([\w.']+)", found[2]):
                self.facts[f"args.{name}"] = value
