"""The metrics that a resumed run starts with: what earlier attempts wrote before its checkpoint."""

import json
from typing import Any

from launcher.errors import ReadError
from launcher.folder import RunFolder, read_jsonl, write_text


def restart(folder: RunFolder, step: int) -> None:
    """Have metrics.jsonl end with ``step`` (0: be empty), so that what follows is appended once.

    The lines are those of the newest attempt that has them all, or else the most.
    """
    paths = [path / "metrics.jsonl" for path in folder.path.glob("attempts/*")]
    paths.sort(key=lambda path: int(path.parent.name))
    found = [_until(step, path) for path in [*paths, folder.metrics]]
    best = max(reversed(found), key=len)
    if best or folder.metrics.exists():
        write_text(folder.metrics, "".join(f"{json.dumps(line)}\n" for line in best))
    if len(best) < step:
        print(f"WARNING metrics of {step - len(best)} of the first {step} steps are lost")


def _until(step: int, path: Any) -> list[dict[str, Any]]:
    try:
        return [line for line in read_jsonl(path) if line["step"] <= step]
    except ReadError:  # damaged from outside
        return []
