"""NVIDIA's driver, as both the workers and the check of a node ask it."""

from typing import Any


def library() -> Any:
    """Return pynvml, initialised; None where there is none. It is never shut down: without
    persistence mode the driver would set each card up again at the next query, which takes seconds.
    """
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
