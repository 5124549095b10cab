"""Variables of a rank's environment, which torch, CUDA and NCCL read once: set before their import.

The run's own come first, then what is set where launch is called, then these defaults.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from launcher.spec.environment import DETERMINISTIC, SECRET
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from launcher.workers.process import driver

ON_CARDS = {
    # A layout near the limit would be out of memory by fragments of segments of fixed size.
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    # Reductions in the switch take buffers of every communicator, for what overlap hides anyhow.
    "NCCL_NVLS_ENABLE": "0",
}
"""Defaults of every run on cards, which NVIDIA names against peaks of memory (Megatron-Bridge,
docs/performance-guide.md)."""

ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
"""Two names of one variable, the later one since torch 2.9."""

RECORDED = re.compile(
    r"(?:NCCL|TORCH_NCCL|NVTE|CUBLAS|CUDA_DEVICE|PYTORCH|TORCHINDUCTOR|TRITON)_\w+"
)
"""Names of variables that decide the speed or the numbers of a run on cards."""

CACHES = {"TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor"}
"""Variables with the folder of kernels that were built, and its name."""

BLACKWELL = 10
"""Major compute capability from which communication is first in line by itself."""


def set_for_import(accelerator: str) -> None:
    """Set what holds for every run on cards of that name, or on ``cpu``."""
    os.environ.update(for_import(accelerator, os.environ))


def set_for(spec: RunSpec) -> None:
    """Set all that holds for a run: to be called before torch is imported."""
    capability = None
    if spec.cluster.accelerator.name != "cpu":
        capability = driver.compute_capability()
    os.environ.update(of_rank(spec, os.environ, capability))


def for_import(accelerator: str, given: Mapping[str, str]) -> dict[str, str]:
    """Variables of every run, by the name of the card and by what is set already."""
    if accelerator == "cpu":
        always = {"CUDA_VISIBLE_DEVICES": ""}  # also where there are cards
        defaults = {"DS_ACCELERATOR": "cpu"}  # DeepSpeed warns when it has to find out
    else:
        always, defaults = {}, {"DS_ACCELERATOR": "cuda", **ON_CARDS}
        if any(name in given for name in ALLOCATOR):
            del defaults[ALLOCATOR[0]]
    defaults["OMP_NUM_THREADS"] = "1"
    return always | _missing(defaults, given)


def of_rank(
    spec: RunSpec, given: Mapping[str, str], capability: tuple[int, int] | None
) -> dict[str, str]:
    """Variables of a run, as far as they are not set already.

    Args:
        spec: the run.
        given: variables that are set.
        capability: compute capability of the card; None where the driver does not tell.
    """
    accelerator = spec.cluster.accelerator.name
    defaults: dict[str, str] = {}
    if accelerator != "cpu":
        defaults = _kernel_caches(given)
        if _one_queue(spec.layout, capability):
            defaults["CUDA_DEVICE_MAX_CONNECTIONS"] = "1"
    chosen = {name: str(value) for name, value in spec.cluster.environment.items()}
    needed = DETERMINISTIC if spec.train.deterministic else {}
    given = {**given, **chosen}
    return for_import(accelerator, given) | _missing(defaults, given) | chosen | needed


def recorded(spec: RunSpec, given: Mapping[str, str]) -> dict[str, str]:
    """Variables that are set and that a record of the run has to name; never a secret."""
    return {
        name: value
        for name, value in sorted(given.items())
        if (RECORDED.fullmatch(name) and not SECRET.search(name))
        or name in spec.cluster.environment
    }


def _kernel_caches(given: Mapping[str, str]) -> dict[str, str]:
    """Folders of this rank's own on its node: in a home on a network file system, ranks that build
    the same kernel at once fail now and then (pytorch/pytorch#173679).
    """
    node_folder = given.get("SLURM_TMPDIR") or tempfile.gettempdir()
    rank = f"rank{given.get('LOCAL_RANK', '0')}"
    own = Path(node_folder, f"megalaunch-kernels-{os.getuid()}", rank)
    return {name: str(own / folder) for name, folder in CACHES.items()}


def _one_queue(layout: ParallelLayout, capability: tuple[int, int] | None) -> bool:
    """Return True where kernels have to start in the order of their launch, so that communication
    comes before the matrix product that hides it: megatron-core's tensor parallelism counts on it.

    ZeRO 3 gathers parameters on a stream of its own, which one queue would put behind compute.
    """
    splits = layout.tp > 1 or layout.cp > 1
    return splits and layout.zero < 3 and (capability is None or capability[0] < BLACKWELL)


def _missing(defaults: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in defaults.items() if name not in given}
