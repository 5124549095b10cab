"""What the NVIDIA driver says about this machine's cards; None for what it does not say."""

from dataclasses import dataclass
from typing import Any


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
    """The cards that answer; None where there is no NVML."""
    nvml = _started()
    if nvml is None:
        return None
    found: list[Card] = []
    index = 0
    for number in range(_asked(nvml, "nvmlDeviceGetCount") or 0):
        try:
            found.append(_card(nvml, nvml.nvmlDeviceGetHandleByIndex(number), index))
        except nvml.NVMLError as error:
            # The count takes in the cards of others that a cgroup hides (NVML reference,
            # nvmlDeviceGetCount_v2); CUDA does not number those, but does number a lost one.
            if error.value == nvml.NVML_ERROR_NO_PERMISSION:
                continue
        index += 1
    return found


def driver() -> str | None:
    """Version of the driver."""
    nvml = _started()
    return None if nvml is None else _asked(nvml, "nvmlSystemGetDriverVersion")


def _card(nvml: Any, handle: Any, index: int) -> Card:
    memory = _asked(nvml, "nvmlDeviceGetMemoryInfo", handle)
    held = _asked(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
    kinds = (nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC)
    return Card(
        index=index,
        uuid=_asked(nvml, "nvmlDeviceGetUUID", handle),
        name=_asked(nvml, "nvmlDeviceGetName", handle),
        total=None if memory is None else memory.total,
        free=None if memory is None else memory.free,
        processes=None if held is None else tuple((p.pid, p.usedGpuMemory) for p in held),
        uncorrected=_asked(nvml, "nvmlDeviceGetTotalEccErrors", handle, *kinds),
    )


def _started() -> Any:
    """The module, ready for questions. It is never shut down: without persistence mode the driver
    would set each card up again at the next question, which takes seconds."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _asked(nvml: Any, function: str, *arguments: Any) -> Any:
    try:
        return getattr(nvml, function)(*arguments)
    except nvml.NVMLError:
        return None
