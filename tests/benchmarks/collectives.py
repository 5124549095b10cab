"""Collectives of an optimizer step, counted on gloo, beside what each stage of ZeRO has to send.

    python -m tests.benchmarks.collectives [--dp N ...]

Both engines at each stage that they have, 2 micro batches a step, gradients reduced in fp32 and in
bf16. "sent" is what a rank sends by a ring; the ideal is `Ideal` of
tests/launcher/workers/engines/collectives.py. Target: no ratio above 1.01.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.launcher.workers.engines import collectives
from tests.launcher.workers.engines.collectives import Counted, Ideal

FORM = "{:9}  {:>4}  {:>2}  {:6}  {:9}  {:14}  {:5}  {:>5}  {:>9}  {:>8}  {:>8}  {:>5}"
HEADS = ("engine", "zero", "dp", "reduce", "what", "kind", "dtype", "calls", "kB", "kB sent",
         "ideal", "ratio")  # fmt: skip
LIMIT = 1.01


def main() -> int:
    """Count, print the table, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dp", type=int, nargs="+", default=[2, 4], help="data parallel sizes")
    options = parser.parse_args()
    print(FORM.format(*HEADS))
    highest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for dp in options.dp:
            for number, spec in enumerate(collectives.specs(dp)):
                target = Path(folder) / f"{dp}-{number}"
                counted = collectives.count(spec, target, Path(folder) / "cache")
                print("\n".join(lines(counted)), flush=True)
                ratios = (counted.ratio(part) for part in ("gradients", "weights"))
                highest = max(highest, *(ratio or 0.0 for ratio in ratios))
    print(f"highest ratio {highest:.3f}, to be at most {LIMIT}")
    return int(highest > LIMIT)


def lines(counted: Counted) -> Iterator[str]:
    """Rows of the table, one for each kind and precision."""
    spec = counted.spec
    where = (spec.backend, spec.layout.zero, spec.dp, spec.train.reduces_in)
    for part in ("gradients", "weights"):
        ideal, ratio = getattr(Ideal.of(spec), part), counted.ratio(part)
        for row in counted.of(part):
            figures = (row.bytes / 1e3, row.sent(spec.dp) / 1e3, ideal / 1e3)
            texts = (f"{figure:,.0f}" for figure in figures)
            ratio_text = "" if ratio is None else f"{ratio:.3f}"
            yield FORM.format(*where, part, row.kind, row.dtype, row.calls, *texts, ratio_text)


if __name__ == "__main__":
    sys.exit(main())
