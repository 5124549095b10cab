"""Versions of the libraries of a node with cards, without importing what trains."""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True, kw_only=True, slots=True)
class Library:
    """A library of NVIDIA's: a wheel beside torch's, or a file of the system or of an image."""

    wheels: tuple[str, ...]
    files: tuple[str, ...]
    """Names that the dynamic linker knows it by."""
    ask: Callable[[ctypes.CDLL], int]
    """Version of a loaded file, as its own number."""


def _written(function: str) -> Callable[[ctypes.CDLL], int]:
    """Return a query by a function that writes the version to where it is told."""

    def ask(library: ctypes.CDLL) -> int:
        number = ctypes.c_int()
        getattr(library, function)(ctypes.byref(number))
        return number.value

    return ask


def _ask_cudnn(library: ctypes.CDLL) -> int:
    library.cudnnGetVersion.restype = ctypes.c_size_t
    return int(library.cudnnGetVersion())


NVIDIA = {
    "cuda": Library(
        wheels=("nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime"),
        files=("libcudart.so.12", "libcudart.so.13", "libcudart.so"),
        ask=_written("cudaRuntimeGetVersion"),
    ),
    "cudnn": Library(
        wheels=("nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
        files=("libcudnn.so.9", "libcudnn.so"),
        ask=_ask_cudnn,
    ),
    "nccl": Library(
        wheels=("nvidia-nccl-cu12", "nvidia-nccl-cu13"),
        files=("libnccl.so.2", "libnccl.so"),
        ask=_written("ncclGetVersion"),
    ),
}

KERNELS = ("transformer-engine", "apex", "flash-attn", "triton")
"""Packages that change what trains by being there."""

NAMES = (*KERNELS, *NVIDIA)


def versions() -> dict[str, str | None]:
    """Versions by name; None of what is not there."""
    return {
        **{name: installed(name) for name in KERNELS},
        **{name: _first(library) for name, library in NVIDIA.items()},
    }


def installed(*packages: str) -> str | None:
    """Version of the first of these packages that is installed; None where none is."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def _first(library: Library) -> str | None:
    return installed(*library.wheels) or _loaded(library.files, library.ask)


def _loaded(files: Sequence[str], ask: Callable[[ctypes.CDLL], int]) -> str | None:
    for name in files:
        try:
            return str(ask(ctypes.CDLL(name)))
        except (OSError, AttributeError):  # it is not there, or is another one
            continue
    return None
