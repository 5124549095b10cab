"""Collectives that the ranks of a run really call in one optimizer step, beside the ideal ones.

Counted where every library passes: at torch's process groups, whatever function of torch or of
DeepSpeed was called, and whatever name it was bound to before.
"""

import functools
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.spec.cluster import Precision
from launcher.spec.run import RunSpec
from tests.launcher.workers import ranks

COUNTED_STEP = 3
SMALL = 256
"""Bytes up to which a collective is of figures: norms, losses, memory."""
ELEMENT_BYTES: dict[str, int] = {"fp32": 4, "bf16": 2}
KEPT = 10**9
"""Gathered weights that DeepSpeed's ZeRO 3 keeps at most (``stage3_max_live_parameters``)."""
FILE = "COLLECTIVES_FILE"
"""Variable that names the file in which rank 0 leaves what it counted."""

KINDS = {
    "allreduce": "all-reduce",
    "allreduce_coalesced": "all-reduce",
    "reduce": "reduce",
    "reduce_scatter": "reduce-scatter",
    "allgather": "all-gather",
    # of torch 2.13
    "reduce_scatter_single": "reduce-scatter",
    "reduce_scatter_single_coalesced": "reduce-scatter",
    "all_gather_single": "all-gather",
    "all_gather_single_coalesced": "all-gather",
    # of torch before
    "_reduce_scatter_base": "reduce-scatter",
    "reduce_scatter_tensor_coalesced": "reduce-scatter",
    "_allgather_base": "all-gather",
    "allgather_into_tensor_coalesced": "all-gather",
}
"""Method of a process group -> what it does."""

WHOLE = {"all-reduce": 0, "reduce": 0, "reduce-scatter": 1, "all-gather": 0}
"""Argument that holds the whole of what is reduced or gathered, not one rank's part."""

ROUNDS = {"all-reduce": 2.0, "reduce": 1.0, "reduce-scatter": 1.0, "all-gather": 1.0}
"""Times that each byte travels, but for the part of (n - 1) / n: an all-reduce is a reduce-scatter
and an all-gather; reducing each part to its owner sends what a reduce-scatter does."""

PATCH = "from tests.launcher.workers.engines import collectives\ncollectives.install()"
"""Patch of a rank (`tests.launcher.workers.ranks.train`) that counts."""


@dataclass(frozen=True, slots=True)
class Collective:
    """Calls of one kind in one precision, in one step of rank 0."""

    kind: str
    dtype: str
    calls: int
    bytes: int
    """Bytes of the whole tensors, over all calls."""

    def sent(self, members: int) -> float:
        """Bytes that a rank sends, by a ring."""
        return ROUNDS[self.kind] * (members - 1) / members * self.bytes


def install() -> None:
    """Count, in this rank, the collectives of one step of the engine."""
    from torch.distributed import ProcessGroup

    from launcher.workers.engines import engine

    counts: dict[tuple[str, str], list[int]] = {}
    counting = [False]

    def note(kind: str, arguments: tuple[Any, ...]) -> None:
        whole = list(_tensors(arguments[WHOLE[kind]]))
        size = sum(tensor.nbytes for tensor in whole)
        if counting[0] and size > SMALL:
            dtype = str(whole[0].dtype).removeprefix("torch.")
            name = {"float32": "fp32", "bfloat16": "bf16"}.get(dtype, dtype)
            sizes = counts.setdefault((kind, name), [])
            sizes.append(size)

    for method, kind in KINDS.items():
        if hasattr(ProcessGroup, method):
            setattr(ProcessGroup, method, _noted(getattr(ProcessGroup, method), kind, note))
    build = engine.build

    def counted(*parts: Any) -> Any:
        built = build(*parts)
        step = built.step

        def counted_step(number: int, *rest: Any) -> None:
            counting[0] = number == COUNTED_STEP
            step(number, *rest)
            if counting[0] and os.environ["RANK"] == "0":
                rows = [[*key, len(sizes), sum(sizes)] for key, sizes in counts.items()]
                Path(os.environ[FILE]).write_text(json.dumps(rows))

        built.step = counted_step
        return built

    engine.build = counted


def _noted(method: Callable[..., Any], kind: str, note: Callable[..., None]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapper(group: Any, *arguments: Any, **options: Any) -> Any:
        note(kind, arguments)
        return method(group, *arguments, **options)

    return wrapper


def _tensors(value: Any) -> Iterable[Any]:
    """Tensors in an argument: one, or a list, of lists too."""
    if isinstance(value, list | tuple):
        for member in value:
            yield from _tensors(member)
    else:
        yield value


@dataclass(frozen=True, slots=True)
class Ideal:
    """Bytes that a rank sends in one step, by ZeRO's paper (arXiv:1910.02054, section 7)."""

    gradients: float
    weights: float

    @classmethod
    def of(cls, spec: RunSpec) -> "Ideal":
        """Of a dense run that is data parallel alone."""
        zero, micro_batches = spec.layout.zero, spec.accumulation
        share = (spec.dp - 1) / spec.dp * spec.model.params
        reduced = share * ELEMENT_BYTES[spec.train.reduces_in]
        gathered = share * ELEMENT_BYTES[spec.train.precision]
        # For each forward and each backward pass, unless they are few enough to keep in between.
        gathers = (1 if spec.model.params < KEPT else 2) * micro_batches
        return cls(
            # From ZeRO 2 on no rank keeps all gradients from one micro batch to the next.
            gradients=reduced * {0: 2, 1: 1}.get(zero, micro_batches),
            weights=gathered * {0: 0, 3: gathers}.get(zero, 1),
        )


@dataclass(frozen=True, slots=True)
class Counted:
    """Collectives of one spec, of which those of gradients and of weights are compared apart."""

    spec: RunSpec
    collectives: list[Collective]

    def of(self, part: str) -> list[Collective]:
        """Collectives of ``gradients`` or of ``weights``."""
        return [
            row for row in self.collectives if (row.kind == "all-gather") == (part == "weights")
        ]

    def ratio(self, part: str) -> float | None:
        """Bytes that a rank sends for a part / the ideal; None where that is no byte."""
        ideal = getattr(Ideal.of(self.spec), part)
        return sum(row.sent(self.spec.dp) for row in self.of(part)) / ideal if ideal else None


def count(spec: RunSpec, folder: Path, cache: Path) -> Counted:
    """Train, and count what rank 0 calls in one step."""
    file = folder / "collectives.json"
    folder.mkdir(parents=True, exist_ok=True)
    run = ranks.train(spec, folder / "run", cache, patch=PATCH, env={FILE: str(file)})
    assert run.codes == [0] * spec.cluster.gpus, run.log()
    return Counted(spec, [Collective(*row) for row in json.loads(file.read_text())])


def specs(dp: int) -> list[RunSpec]:
    """Both engines at each stage of ZeRO, gradients reduced in each precision; 2 micro batches."""
    changes: dict[str, Any] = {"train__steps": COUNTED_STEP, "train__global_batch": 4 * dp}
    cases: list[tuple[str, int, Precision]] = [
        *(("megatron", zero, "bf16") for zero in (0, 1)),
        ("deepspeed", 0, "fp32"),  # in bf16 it needs a pipeline
        *(("deepspeed", zero, "bf16") for zero in (1, 2, 3)),
    ]
    return [
        ranks.spec(
            dp,
            **changes,
            backend=backend,
            layout__zero=zero,
            train__precision=precision,
            train__reduce_precision=reduced,
        )
        for backend, zero, precision in cases
        for reduced in (("fp32", "bf16") if precision == "bf16" else ("fp32",))
    ]
