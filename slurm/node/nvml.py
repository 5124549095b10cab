"""Cards of this machine as the NVIDIA driver reports them; None for figures that it does not."""

from dataclasses import dataclass
from typing import Any

from launcher.nvml import library


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One card that this process may use. Memory is in bytes."""

    index: int
    """Its number as CUDA_VISIBLE_DEVICES counts."""
    uuid: str | None
    name: str | None
    total: int | None
    free: int | None
    processes: tuple[tuple[int, int | None], ...] | None
    """(pid, bytes held) of each that computes on it."""
    uncorrected: int | None
    """Uncorrectable ECC errors since the driver was loaded."""


def cards() -> list[Card] | None:
    """Return the cards that answer; None where there is no NVML."""
    nvml = library()
    if nvml is None:
        return None
    answering: list[Card] = []
    index = 0
    for number in range(_query(nvml, "nvmlDeviceGetCount") or 0):
        try:
            answering.append(_card(nvml, nvml.nvmlDeviceGetHandleByIndex(number), index))
        except nvml.NVMLError as error:
            # The count takes in the cards of others that a cgroup hides (NVML reference,
            # nvmlDeviceGetCount_v2); CUDA does not number those, but does number a lost one.
            if error.value == nvml.NVML_ERROR_NO_PERMISSION:
                continue
        index += 1
    return answering


def driver() -> str | None:
    """Version of the driver."""
    nvml = library()
    return None if nvml is None else _query(nvml, "nvmlSystemGetDriverVersion")


def _card(nvml: Any, handle: Any, index: int) -> Card:
    memory = _query(nvml, "nvmlDeviceGetMemoryInfo", handle)
    processes = _query(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
    kinds = (nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC)
    return Card(
        index=index,
        uuid=_query(nvml, "nvmlDeviceGetUUID", handle),
        name=_query(nvml, "nvmlDeviceGetName", handle),
        total=None if memory is None else memory.total,
        free=None if memory is None else memory.free,
        processes=None if processes is None else tuple((p.pid, p.usedGpuMemory) for p in processes),
        uncorrected=_query(nvml, "nvmlDeviceGetTotalEccErrors", handle, *kinds),
    )


def _query(nvml: Any, function: str, *arguments: Any) -> Any:
    try:
        return getattr(nvml, function)(*arguments)
    except nvml.NVMLError:
        return None
