"""Metrics that a resumed run starts with: the lines of earlier attempts up to its checkpoint."""

import json
from pathlib import Path
from typing import Any

from launcher.errors import ReadError
from launcher.files import read_jsonl, write_text
from launcher.results.run_folder import RunFolder


def restart(folder: RunFolder, first: int, step: int, start: Path | None = None) -> None:
    """Make metrics.jsonl end with ``step``, so that each step is in it once.

    The lines are those of the newest attempt that has all of them, or else the most.

    Args:
        folder: the run's.
        first: number of optimizer steps before the run's own.
        step: last step done.
        start: folder of a run that this one goes on from.
    """
    paths = [attempt.metrics for attempt in reversed(folder.attempts())]
    if start:
        paths.insert(0, RunFolder(start).metrics)
    histories = [_between(first, step, path) for path in [*paths, folder.metrics]]
    lines = max(reversed(histories), key=len)  # the first of equal ones, so the newest
    if lines or folder.metrics.exists():
        write_text(folder.metrics, "".join(f"{json.dumps(entry)}\n" for entry in lines))
    if len(lines) < step - first:
        lost = step - first - len(lines)
        print(f"WARNING metrics of {lost} of the {step - first} steps so far are lost")


def give_up(folder: RunFolder, step: int) -> None:
    """Move the lines after ``step``, to which a rollback went back, to a file of their own."""
    lines = list(read_jsonl(folder.metrics))
    given_up = [line for line in lines if line["step"] > step]
    if given_up:
        folder.rolled_back.mkdir(exist_ok=True)
        path = folder.rolled_back / f"{given_up[0]['step']}-{given_up[-1]['step']}.jsonl"
        write_text(path, "".join(f"{json.dumps(line)}\n" for line in given_up))
        retained = lines[: -len(given_up)]
        write_text(folder.metrics, "".join(f"{json.dumps(line)}\n" for line in retained))


def _between(first: int, last: int, path: Path) -> list[dict[str, Any]]:
    """Lines of the steps after ``first`` up to ``last``."""
    try:
        return [line for line in read_jsonl(path) if first < line["step"] <= last]
    except ReadError:  # damaged from outside
        return []
