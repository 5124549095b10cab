"""Both engines against a plain torch.compile'd loop over the same model, on one card.

    python -m tests.benchmarks.mfu [--tiny] [--rounds N]

A dense model of about 1B parameters, sequence 4096, bf16. The contenders take turns; the median
step of each decides. Target: no engine slower than plain (ratio >= 1). ``--tiny`` runs the same
code with a model that a CPU can train; its ratios mean nothing.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from launcher.spec.run import RunSpec
from tests.launcher.workers import ranks

UNTIMED = 3
BILLION: dict[str, Any] = {
    "model__layers": 16,
    "model__hidden": 2048,
    "model__ffn": 8192,
    "model__heads": 32,
    "model__kv_heads": 8,
    "model__vocab": 32000,
    "model__sequence": 4096,
    "train__global_batch": 16,
    "train__steps": 15,
}
TINY: dict[str, Any] = {"train__steps": 5}
H100_BF16_TFLOPS = 989.4
"""Dense peak of an H100 SXM (NVIDIA's data sheet)."""


def main() -> int:
    """Run, print the table, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if not (options.tiny or torch.cuda.is_available()):
        print("skipped: torch.cuda is not available on this machine (--tiny runs on the CPU)")
        return 0
    size = TINY if options.tiny else BILLION
    times: dict[str, list[float]] = {"plain": [], "megatron": [], "deepspeed": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for name, steps_ms in times.items():
                spec = contender(name, size)
                steps_ms += steps(
                    name, spec, Path(folder) / f"{name}{number}", Path(folder) / "cache"
                )
    ratios = report(contender("megatron", size), times)
    return int(not options.tiny and min(ratios) < 1)


def contender(name: str, size: dict[str, Any]) -> RunSpec:
    """The spec of one contender; plain reads the sizes only."""
    backend = "megatron" if name == "plain" else name
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    size = {**size, "cluster__accelerator__name": where, "layout__micro_batch": 2}
    return ranks.spec(1, backend=backend, train__precision="bf16", **size)


def steps(name: str, spec: RunSpec, folder: Path, cache: Path) -> list[float]:
    """Milliseconds of the timed steps of one run."""
    if name == "plain":
        ranks.RunFolder(folder).create(spec)
        command = [
            sys.executable,
            str(Path(__file__).with_name("plain.py")),
            str(folder / "spec.json"),
        ]
        process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return [float(line) for line in process.stdout.splitlines()][UNTIMED:]
    run = ranks.train(spec, folder, cache, limit=900, hang_after=300)
    assert run.codes == [0], run.log()
    return [line["step_ms"] for line in run.steps][UNTIMED:]


def report(spec: RunSpec, times: dict[str, list[float]]) -> list[float]:
    """Print each contender's median and ratio to plain; the engines' ratios."""
    median = {name: statistics.median(steps_ms) for name, steps_ms in times.items()}
    for name, milliseconds in median.items():
        tflops = spec.tokens_per_step * spec.model.flops_per_token / milliseconds / 1e9
        print(
            f"{name:10} {milliseconds:9.1f} ms  {tflops:7.2f} TFLOP/s"
            f"  {tflops / H100_BF16_TFLOPS:6.1%} of the peak of an H100"
            f"  {median['plain'] / milliseconds:.3f} x plain"
        )
    return [median["plain"] / median[name] for name in ("megatron", "deepspeed")]


if __name__ == "__main__":
    sys.exit(main())
