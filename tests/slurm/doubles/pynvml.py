"""Stands in for pynvml: cards as the JSON file says that FAKE_NVML names; no driver without it.

{"driver": "570.1", "cards": [{"name": ..., "uuid": ..., "memory": [total, free],
 "processes": [[pid, bytes]], "ecc": 0}, {"error": 15}]}; what is not named is not supported.
``{node}`` in the file's name is the node's.
"""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
NVML_VOLATILE_ECC = 0
NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NO_PERMISSION = 4
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_GPU_IS_LOST = 15


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        self.value = value


def nvmlInit() -> None:
    if "FAKE_NVML" not in os.environ:
        raise NVMLError(NVML_ERROR_LIBRARY_NOT_FOUND)


def nvmlSystemGetDriverVersion() -> str:
    return _of(_machine(), "driver")


def nvmlDeviceGetCount() -> int:
    return len(_machine()["cards"])


def nvmlDeviceGetHandleByIndex(index: int) -> dict[str, Any]:
    card = _machine()["cards"][index]
    if "error" in card:
        raise NVMLError(card["error"])
    return card


def nvmlDeviceGetName(card: dict[str, Any]) -> str:
    return _of(card, "name")


def nvmlDeviceGetUUID(card: dict[str, Any]) -> str:
    return _of(card, "uuid")


def nvmlDeviceGetMemoryInfo(card: dict[str, Any]) -> SimpleNamespace:
    total, free = _of(card, "memory")
    return SimpleNamespace(total=total, free=free, used=total - free)


def nvmlDeviceGetComputeRunningProcesses(card: dict[str, Any]) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(pid=pid, usedGpuMemory=held_bytes)
        for pid, held_bytes in _of(card, "processes")
    ]


def nvmlDeviceGetTotalEccErrors(card: dict[str, Any], kind: int, counter: int) -> int:
    assert (kind, counter) == (NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC)
    return _of(card, "ecc")


def _machine() -> Any:
    return json.loads(
        Path(os.environ["FAKE_NVML"].format(node=os.environ.get("SLURMD_NODENAME"))).read_text()
    )


def _of(card: dict[str, Any], key: str) -> Any:
    if key not in card:
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return card[key]
