"""Gathering of files that are one run: those of a folder, and those that say so."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from launcher.foreign.logs import text
from launcher.foreign.logs.parts import Kinds, LogPart, belong_together, is_one_run, read_part
from launcher.foreign.source import log_files


@dataclass(frozen=True, slots=True)
class Gathered:
    """The files of one run."""

    path: Path
    """A folder of which all logs are this run's, or its first file."""
    parts: tuple[LogPart, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, in order."""
        return tuple(part.path for part in self.parts)


def in_folder(folder: Path, kinds: Kinds) -> list[Gathered]:
    """The runs of the logs in and below a folder.

    All of them are one run, where they can be one (`is_one_run`). Else each folder in it is
    looked at so, and of its own files those that differ in their suffix only are one run, as
    ``7.out`` and ``7.err`` are. Files that no reader knows are left out if they are none of a run.

    Raises:
        ReadError: a file cannot be read.
    """
    return _gathered(folder, [read_part(file, kinds) for file in log_files(folder)])


def _gathered(folder: Path, parts: Sequence[LogPart]) -> list[Gathered]:
    if not any(part.kind for part in parts):
        return []
    if is_one_run(parts):
        return [Gathered(folder, tuple(parts))]
    runs: list[Gathered] = []
    by_child: dict[str, list[LogPart]] = {}
    for part in parts:
        child, *below = part.path.relative_to(folder).parts
        if below:
            by_child.setdefault(child, []).append(part)
    for child, of_child in by_child.items():
        runs += _gathered(folder / child, of_child)
    direct_parts = sorted((part for part in parts if part.path.parent == folder), key=_stem)
    for _, of_stem in groupby(direct_parts, key=_stem):
        runs += _one_or_each(list(of_stem))
    return runs


def _stem(part: LogPart) -> str:
    return text.stem(part.path)


def _one_or_each(parts: Sequence[LogPart]) -> list[Gathered]:
    logs = sorted((part for part in parts if part.kind), key=lambda part: part.is_head)
    if logs and is_one_run(parts):
        without_kind = [part for part in parts if part.kind is None]
        return [Gathered(logs[0].path, (*logs, *without_kind))]
    return [Gathered(part.path, (part,)) for part in logs]


def complementary(parts: Sequence[LogPart]) -> list[Gathered]:
    """The runs of files that were named one by one, each of which lacks something: two are one
    where one says what the run is, the other has its steps, and nothing else fits as well."""
    heads = [part for part in parts if part.is_head]
    runs, taken = [], set[Path]()
    for head in heads:
        tails = [tail for tail in parts if _fits(head, tail)]
        rivals = [other for other in heads if other is not head and _fits(other, *tails)]
        if tails and not rivals and is_one_run([head, *tails]):
            runs.append(Gathered(head.path, (head, *tails)))
            taken |= {part.path for part in (head, *tails)}
    runs += [Gathered(part.path, (part,)) for part in parts if part.path not in taken]
    return runs


def _fits(head: LogPart, *tails: LogPart) -> bool:
    return any(
        tail.is_tail and tail.path.parent == head.path.parent and belong_together(head, tail)
        for tail in tails
    )
