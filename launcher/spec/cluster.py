"""The machines of a run: accelerators, their peaks, memory and links."""

from dataclasses import dataclass
from typing import Literal

from launcher.decode import Count, Positive, added
from launcher.spec import environment

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """One card (or one CPU rank). None is "not stated by the vendor, not measured"."""

    name: str
    memory_gib: Positive | None = None
    """Memory a process can allocate, GiB."""
    bf16_tflops: Positive | None = None
    """Dense bf16 peak, TFLOP/s."""
    fp32_tflops: Positive | None = None
    """fp32 peak without TF32, TFLOP/s."""
    fp8_tflops: Positive | None = None
    """Dense fp8 peak, TFLOP/s."""
    memory_gb_s: Positive | None = None
    """Memory bandwidth, GB/s."""
    link_gb_s: Positive | None = None
    """Bandwidth to the cards of the same node, per card and direction, GB/s."""

    def peak_tflops(self, precision: Precision) -> float | None:
        """Dense peak in TFLOP/s at the precision of the matrix products."""
        return {"bf16": self.bf16_tflops, "fp32": self.fp32_tflops}[precision]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """The machines of one run."""

    name: str
    nodes: Count
    """Nodes of one run."""
    gpus_per_node: Count
    """Accelerators (ranks) of one node."""
    accelerator: Accelerator
    network_gb_s: Positive | None = None
    """Bandwidth between nodes, per card and direction, GB/s."""
    environment: dict[str, str | int] = added({})
    """Variables of torch, CUDA and NCCL for every rank: NCCL_NVLS_ENABLE, PYTORCH_CUDA_ALLOC_CONF.
    They decide the speed, so runs with others are other runs, and a sweep may vary them."""

    def __post_init__(self) -> None:  # at once: a secret would be written before a run is checked
        environment.check(self.environment, "cluster.environment")

    def __hash__(self) -> int:
        return hash((self.name, self.nodes, self.gpus_per_node, self.accelerator))

    @property
    def gpus(self) -> int:
        """Accelerators, and so ranks, of one run."""
        return self.nodes * self.gpus_per_node
