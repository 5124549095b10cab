"""Collectives that a rank came to, written when it hangs: torch's flight recorder.

On a card Python is ahead of the kernels: the stacks of all ranks show some read of a result,
whichever collective is stuck. torch notes each one as it is asked for and as it ends, and dumps its
notes when NCCL's own timeout ends a rank; here the watchdog is first, so it writes them.
"""

import contextlib
import json
import os
import sys
from typing import Any

from launcher.files import write_json, write_text
from launcher.results.run_folder import RunFolder

ENTRIES = "500"
"""Latest collectives that torch remembers, each about 500 bytes of its dump."""


def enable() -> None:
    """Let torch remember collectives; to be called before the first process group is made."""
    os.environ.setdefault("TORCH_FR_BUFFER_SIZE", ENTRIES)


def write(folder: RunFolder, rank: int) -> None:
    """Write torch's dump, and what `launcher.results.endings.collectives` reads of it.

    It writes nothing where this rank has met no other, or where torch has no such notes.
    """
    if "torch.distributed" not in sys.modules:
        return
    dump = _dump()
    if dump is None:
        return
    with contextlib.suppress(OSError):  # this rank ends all the same
        write_text(folder.trace(rank), dump)
        write_json(folder.collectives(rank), _groups(json.loads(dump)))


def _dump() -> str | None:
    """Torch's notes as JSON; None where it has none."""
    import torch
    from torch._C import _distributed_c10d

    name = "_dump_nccl_trace_json" if torch.cuda.is_available() else "_dump_fr_trace_json"
    dump = getattr(_distributed_c10d, name, None)
    text: bytes | str | None = dump() if dump else None
    return text.decode() if isinstance(text, bytes) else text


def _groups(dump: dict[str, Any]) -> list[dict[str, Any]]:
    """Process groups of the dump, each with its last collective and those that have not ended."""
    ranks = _ranks_by_name()
    groups: dict[str, dict[str, Any]] = {}
    for entry in dump.get("entries", ()):
        name, description = entry["process_group"]
        group = groups.setdefault(
            name,
            {"name": name, "description": description, "ranks": ranks.get(name), "last": None,
             "pending": []},
        )  # fmt: skip
        operation = {
            "number": entry["collective_seq_id"],
            "operation": entry["profiling_name"].removeprefix("nccl:").removeprefix("gloo:"),
            "point_to_point": entry["is_p2p"],
        }
        if not entry["is_p2p"]:
            group["last"] = operation
        if not entry["retired"]:
            group["pending"].append(operation)
    return list(groups.values())


def _ranks_by_name() -> dict[str, list[int]]:
    """Global ranks of each process group of this rank, by its name in the dump."""
    import torch.distributed as dist
    from torch.distributed import distributed_c10d

    if not dist.is_initialized():
        return {}
    names = distributed_c10d._world.pg_names
    return {name: dist.get_process_group_ranks(group) for group, name in names.items()}
