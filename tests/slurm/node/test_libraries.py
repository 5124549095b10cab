"""Versions of libraries on a node with cards: of a wheel, else of the file that would be loaded.

Modules: slurm.node.libraries.
"""

import ctypes
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

from slurm.node import libraries


class Written:
    """A library with functions that write a version."""

    def __init__(self, **numbers: int) -> None:
        self._numbers = numbers

    def __getattr__(self, function: str) -> Callable[[Any], int]:
        if function not in self._numbers:
            raise AttributeError(function)
        if function == "cudnnGetVersion":
            return Returned(self._numbers[function])

        def write(target: Any) -> int:
            target._obj.value = self._numbers[function]
            return 0

        return write


class Returned:
    """A function of a library that returns a version."""

    def __init__(self, number: int) -> None:
        self.number, self.restype = number, None

    def __call__(self) -> int:
        return self.number


@pytest.mark.parametrize(
    ("wheels", "files", "versions"),
    [
        ({}, {}, {}),
        ({"nvidia-nccl-cu12": "2.27.5", "triton": "3.4.0", "transformer-engine": "2.8.0"},
         {"libnccl.so.2": Written(ncclGetVersion=22304)},
         {"nccl": "2.27.5", "triton": "3.4.0", "transformer-engine": "2.8.0"}),
        ({"apex": "0.1"},
         {"libnccl.so.2": Written(ncclGetVersion=22304),
          "libcudart.so.13": Written(cudaRuntimeGetVersion=13000),
          "libcudnn.so.9": Written(cudnnGetVersion=91400)},
         {"apex": "0.1", "nccl": "22304", "cuda": "13000", "cudnn": "91400"}),
        ({}, {"libnccl.so.2": Written()}, {}),
    ],
    ids=["nothing", "wheels", "an image", "another library of that name"],
)  # fmt: skip
def test_versions(
    wheels: dict[str, str],
    files: dict[str, Written],
    versions: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(package: str) -> str:
        if package not in wheels:
            raise PackageNotFoundError(package)
        return wheels[package]

    def load(name: str) -> Written:
        if name not in files:
            raise OSError(name)
        return files[name]

    monkeypatch.setattr(libraries, "version", version)
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert libraries.versions() == {name: versions.get(name) for name in libraries.NAMES}
