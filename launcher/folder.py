"""A run's folder: the one place where its truth is kept. Files appear whole or not at all.

spec.json      the RunSpec; written before anything starts
status.json    Status; written by the scheduler
metrics.jsonl  one line per optimizer step; written by rank 0
result.json    written by rank 0 when the last step is done; its presence means success
log/rank*.txt  what each rank printed
attempts/N/    the files of attempt N, once there is a later one
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError, WorkError
from launcher.spec import RunSpec

T = TypeVar("T")

UMASK = os.umask(0o022)
"""What the user takes from the permissions of new files; to be read it has to be set."""
os.umask(UMASK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Where a run stands, as its scheduler knows it. Times are seconds since the epoch."""

    state: Literal["queued", "running", "ended"]
    attempt: int = 1
    """1 for the first start of this spec."""
    job_id: str | None = None
    """The scheduler's own name for it; None on this machine."""
    host: str | None = None
    pids: tuple[int, ...] = ()
    """One process per rank, on ``host``; the local scheduler only."""
    started: float | None = None
    ended: float | None = None
    exit_codes: tuple[int | None, ...] = ()
    """One per rank, negative for a signal; None where the scheduler itself ended the rank."""
    time_limit: float | None = None
    """Seconds it was allowed."""
    stopped: Literal["timeout", "cancelled"] | None = None
    """Why the scheduler ended it, where it did."""
    kernel_oom: bool = False
    """The kernel's memory killer was at work on the host while this ran."""
    commit: str | None = None
    """Commit of this project that ran it."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths below one run's folder, and the only code that reads and writes them."""

    path: Path

    @property
    def metrics(self) -> Path:
        """One JSON line per optimizer step."""
        return self.path / "metrics.jsonl"

    @property
    def logs(self) -> Path:
        """The folder of what each rank printed."""
        return self.path / "log"

    def log(self, rank: int) -> Path:
        """What one rank printed."""
        return self.logs / f"rank{rank}.txt"

    def create(self, spec: RunSpec) -> None:
        """Make the folder and write what it is for. Raises WorkError where that cannot be."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkError(f"{self.logs}: {error.strerror}") from error
        if not (self.path / "spec.json").exists():
            write_json(self.path / "spec.json", encode(spec))

    def spec(self) -> RunSpec:
        """The spec this folder is for. Raises ReadError."""
        return _decoded(RunSpec, self.path / "spec.json")

    def status(self) -> Status | None:
        """What the scheduler last wrote; None before it did. Raises ReadError."""
        path = self.path / "status.json"
        return _decoded(Status, path) if path.exists() else None

    def write_status(self, status: Status) -> None:
        """Replace the status."""
        write_json(self.path / "status.json", encode(status))

    def result(self) -> dict[str, Any] | None:
        """What rank 0 wrote at the end; None unless every step was done. Raises ReadError."""
        path = self.path / "result.json"
        return read_json(path) if path.exists() else None

    def write_result(self, result: dict[str, Any]) -> None:
        """Mark the run as done."""
        write_json(self.path / "result.json", result)

    def steps(self) -> list[dict[str, Any]]:
        """The metrics, one dict per whole line; a line cut short by a kill is left out."""
        return list(read_jsonl(self.metrics))

    def next_attempt(self) -> int:
        """Set the files of the attempt before aside, and return the number of the next one.

        The status goes first: a kill in between leaves files that the next call moves after it.
        """
        try:
            status = self.status()
        except ReadError:  # damaged from outside: it goes aside like the rest
            status = None
        last = status.attempt if status else self._last_attempt()
        aside = self.path / "attempts" / str(last)
        for name in ("status.json", "result.json", "metrics.jsonl", "log"):
            if (self.path / name).exists() and not _is_empty(self.path / name):
                aside.mkdir(parents=True, exist_ok=True)
                os.replace(self.path / name, aside / name)
        self.logs.mkdir(exist_ok=True)
        return 1 + self._last_attempt()

    def failures(self) -> int:
        """Attempts set aside that failed by themselves; those lost with a launcher do not count."""
        paths = [path for path in self._attempts() if not (path / "result.json").exists()]
        files = [path / "status.json" for path in paths if (path / "status.json").exists()]
        ended = []
        for path in files:
            with suppress(ReadError):
                ended.append(_decoded(Status, path))
        return sum(status.state == "ended" and status.stopped is None for status in ended)

    def _last_attempt(self) -> int:
        return max((int(path.name) for path in self._attempts()), default=0)

    def _attempts(self) -> list[Path]:
        return list(self.path.glob("attempts/*"))


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def write_json(path: Path, data: Any) -> None:
    """Write a file that any reader sees whole, old or new: temporary file, fsync, rename."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """`write_json` for text. Raises WorkError where the file cannot be written."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~UMASK)  # mkstemp's are for their owner alone
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WorkError(f"{path}: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """Read a file `write_json` wrote. Raises ReadError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(f"{path}: {error}") from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a JSON-lines file; nothing where there is no file. Raises ReadError."""
    if not path.exists():
        return
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise ReadError(f"{path}: {error}") from error
    for number, line in enumerate(lines[:-1], 1):  # what follows the last newline is half a line
        try:
            yield json.loads(line)
        except ValueError as error:
            raise ReadError(f"{path}:{number}: {error}") from error


def _decoded(kind: type[T], path: Path) -> T:
    try:
        return decode(kind, read_json(path))
    except ConfigError as error:
        raise ReadError(f"{path}: {error}") from error
