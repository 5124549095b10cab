"""Versions of what trained: of libraries that were imported, and of what torch was built with."""

import importlib.metadata
import platform
import sys

import torch
import torch.distributed as dist

from launcher.workers.process import driver

LIBRARIES = {
    "torch": "torch",
    "megatron_core": "megatron.core",
    "deepspeed": "deepspeed",
    "transformer_engine": "transformer_engine",
    "apex": "apex",
    "flash_attn": "flash_attn",
    "triton": "triton",
}
"""Name in the record of each library, and its module."""


def of_rank() -> dict[str, str | None]:
    """Versions in this process: None of a library that it did not import, and of what it lacks."""
    imported = {name: _imported(module) for name, module in LIBRARIES.items()}
    return imported | _of_cards() | {"python": platform.python_version()}


def _imported(module: str) -> str | None:
    if module not in sys.modules:
        return None
    try:
        return str(sys.modules[module].__version__)
    except AttributeError:  # apex says it to pip alone
        pass
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _of_cards() -> dict[str, str | None]:
    cudnn = torch.backends.cudnn.version()
    nccl = torch.cuda.nccl.version() if dist.is_nccl_available() else None
    return {
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
        "nccl": None if nccl is None else ".".join(map(str, nccl)),
        "driver": driver.version() if torch.cuda.is_available() else None,
    }
