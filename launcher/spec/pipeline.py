"""Model chunks of a pipeline, in Megatron-LM's notation (``--pipeline-model-parallel-layout``).

``Et*3|(tt|)*6t*3L``: E is the embedding, t a layer, L the final norm and the LM head, ``|`` is
between chunks in the order of the forward pass, ``*n`` repeats what is before it; commas mean
nothing. Source: megatron-core, transformer/pipeline_parallel_layer_layout.py.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from launcher.errors import LayoutError

_GROUP, _ONE = re.compile(r"\(([^()]+)\)\*(\d{1,4})"), re.compile(r"([^()*\d])\*(\d{1,4})")


@lru_cache(maxsize=1024)
def chunks(text: str) -> tuple[str, ...]:
    """Items of each model chunk: ``("Ettt", "tt", "tL")``."""
    text = re.sub(r"[,\s]", "", text)
    for pattern in (_GROUP, _ONE):
        text = pattern.sub(lambda match: match[1] * int(match[2]), text)
    return tuple(text.split("|"))


def layers_of_chunks(text: str) -> list[int]:
    """Layers of each model chunk."""
    return [chunk.count("t") for chunk in chunks(text)]


def check(text: str, pp: int, vpp: int, layers: int) -> None:
    """Raise LayoutError where a text is no split of ``layers`` into pp x vpp model chunks."""
    name = f"pipeline {text!r}"
    if pp == 1:
        raise LayoutError(f"{name} needs pp > 1, pp is 1")
    parts = chunks(text)
    items = "".join(parts)
    if unknown := re.search(r"[^EtL]", items):
        raise LayoutError(f"{name}: {unknown[0]!r} is none of E, t, L, |, *n and ()*n")
    if not re.fullmatch(r"Et*L", items):
        raise LayoutError(f"{name}: needs one E, before all else, and one L, after all else")
    if len(parts) != pp * vpp:
        interleaved = f" x vpp {vpp} ({pp * vpp})" if vpp > 1 else ""
        raise LayoutError(f"{name} has {len(parts)} model chunks, pp {pp}{interleaved}")
    if "" in parts:
        raise LayoutError(f"{name}: chunk {parts.index('')} of 0 to {len(parts) - 1} is empty")
    if (count := items.count("t")) != layers:
        raise LayoutError(f"{name} has {count} layers, the model {layers}")


def even(layers: int, count: int) -> list[int]:
    """Layers of each of ``count`` model chunks in the order of the forward pass.

    What does not divide evenly goes to the middle, and rather to the front: the first chunk
    also holds the embedding, the last one the LM head, which takes longer.
    """
    base, extra = divmod(layers, count)
    start = (count - extra) // 2
    return [base + (start <= i < start + extra) for i in range(count)]


def layers_of_stages(chunk_layers: Sequence[int], pp: int) -> list[int]:
    """Layers of each stage, which has every ``pp``-th model chunk."""
    return [sum(chunk_layers[stage::pp]) for stage in range(pp)]
