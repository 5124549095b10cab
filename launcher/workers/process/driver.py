"""Answers of NVIDIA's driver, by NVML: asking neither imports torch nor starts CUDA."""

from launcher.nvml import library


def compute_capability() -> tuple[int, int] | None:
    """Return that of this machine's first card; None where the driver does not tell."""
    nvml = library()
    if nvml is None:
        return None
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        return None
    return int(major), int(minor)


def version() -> str | None:
    """Return the driver's version; None where it does not tell."""
    nvml = library()
    if nvml is None:
        return None
    try:
        return str(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError:
        return None
