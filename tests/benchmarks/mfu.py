"""Both engines against a plain torch.compile'd loop over the same model, on one card.

    python -m tests.benchmarks.mfu [--tiny] [--rounds N] [--steps N] [--json FILE]

A dense model of about 1B parameters, sequence 4096, bf16. The contenders take turns; the median
step of each decides. Target: no engine slower than plain (ratio >= 1). ``--tiny`` runs the same
code with a model that a CPU can train; its ratios mean nothing. FILE has the figures so far after
each run.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from launcher.files import write_json
from launcher.spec.cluster import Accelerator
from launcher.spec.run import RunSpec
from tests.gpu.card import cluster_of
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


def main() -> int:
    """Run, print the table, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, help=f"of a run, {UNTIMED} untimed ones included")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if not (options.tiny or torch.cuda.is_available()):
        print("skipped: torch.cuda is not available on this machine (--tiny runs on the CPU)")
        return 0
    size = TINY if options.tiny else BILLION
    if options.steps:
        size = {**size, "train__steps": options.steps}
    times: dict[str, list[float]] = {"plain": [], "megatron": [], "deepspeed": []}
    spec, card = contender("megatron", size), accelerator()
    results = figures(spec, times, card)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for name, steps_ms in times.items():
                steps_ms += steps(
                    name,
                    contender(name, size),
                    Path(folder) / f"{name}{number}",
                    Path(folder) / "cache",
                )
                results = figures(spec, times, card)
                if options.json:
                    write_json(options.json, results)
    print("\n".join(lines(results)))
    ratios = [row["times_plain"] for row in results["contenders"].values()]
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
        # One thread, as a rank has: more would wait for each other where cores have other work.
        variables = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=variables
        )
        return [float(line) for line in process.stdout.splitlines()][UNTIMED:]
    run = ranks.train(spec, folder, cache, limit=900, hang_after=300)
    assert run.codes == [0], run.log()
    return [line["step_ms"] for line in run.steps][UNTIMED:]


def accelerator() -> Accelerator | None:
    """The card of this machine, by conf/cluster; None of a kind that is not there, and of a CPU."""
    if not torch.cuda.is_available():
        return None
    cluster = cluster_of(torch.cuda.get_device_name())
    return cluster.accelerator if cluster else None


def figures(
    spec: RunSpec, times: Mapping[str, Sequence[float]], card: Accelerator | None
) -> dict[str, Any]:
    """Median step of each contender, its speed, the share of the card's peak, and speed / plain's.

    Args:
        spec: that of any contender, for its sizes.
        times: milliseconds of the steps so far.
        card: the card, where its peak is known.
    """
    peak = card.bf16_tflops if card else None
    median = {name: statistics.median(ms) if ms else None for name, ms in times.items()}
    contenders = {}
    for name, ms in median.items():
        tflops = ms and spec.tokens_per_step * spec.model.flops_per_token / ms / 1e9
        contenders[name] = {
            "step_ms": ms,
            "tflops": tflops,
            "peak_pct": 100 * tflops / peak if tflops and peak else None,
            "times_plain": median["plain"] / ms if ms and median["plain"] else None,
        }
    return {
        "card": card.name if card else None,
        "peak_tflops": peak,
        "contenders": contenders,
    }


def lines(results: Mapping[str, Any]) -> list[str]:
    """The figures as a person reads them; a card whose peak is not known has no share of it."""
    shown = []
    for name, row in results["contenders"].items():
        share = f"  {row['peak_pct']:5.1f} % of the peak" if row["peak_pct"] is not None else ""
        shown.append(
            f"{name:10} {row['step_ms']:9.1f} ms  {row['tflops']:7.2f} TFLOP/s{share}"
            f"  {row['times_plain']:.3f} x plain"
        )
    if results["peak_tflops"] is not None:
        shown.append(f"the peak of {results['card']} is {results['peak_tflops']:g} TFLOP/s in bf16")
    return shown


if __name__ == "__main__":
    sys.exit(main())
