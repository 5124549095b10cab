"""The card of this machine, and what conf/cluster knows of its kind.

python -m tests.gpu.card        prints it as JSON; it has a process of its own, for whoever asks
                                CUDA keeps some of the card's memory
"""

import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from launcher.sheets import aliases, predictions
from launcher.spec.cluster import Cluster

CONTEXT_GIB = 0.5
"""GiB of a card's memory that CUDA takes before anything is allocated; see conf/cluster/h100.yaml."""

PACKAGES = ("megatron-core", "deepspeed", "transformer-engine", "flash-attn")
"""What trains, besides torch; asked of their metadata, for an import takes seconds."""


def cluster_of(name: str) -> Cluster | None:
    """Cluster of conf/ with such cards, ``NVIDIA H100 80GB HBM3``; None of a kind that has none."""
    machine = aliases.machine(name, predictions.clusters())
    return None if machine.assumed else machine.cluster


def facts() -> dict[str, Any]:
    """Name and memory of the first card (None where there is none), and all versions."""
    import torch  # whoever only asks for a cluster need not wait for it

    from launcher.workers.process import versions

    card: dict[str, Any] = {"name": None, "memory_gib": None, "capability": None, "cards": 0}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        card = {
            "name": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 2),
            "capability": f"{properties.major}.{properties.minor}",
            "cards": torch.cuda.device_count(),
        }
    installed = {name.replace("-", "_"): _installed(name) for name in PACKAGES}
    return card | {"versions": {**versions.of_rank(), **installed}}


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    print(json.dumps(facts()))
