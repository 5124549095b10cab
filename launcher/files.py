"""Files that appear whole or not at all, their readers, and room on the disk for them."""

import ctypes
import errno
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from launcher.errors import ReadError, WorkError

PROC_STATUS = Path("/proc/self/status")
"""Linux's description of this process; its line ``Umask:`` is there since Linux 4.7."""

UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""Errors of a file system that reserves nothing: NFS 3, Lustre on ZFS, FUSE."""

BLOCK = 4096
"""Bytes that are read at once from the end of a file."""


def umask() -> int:
    """Permission bits that the user takes from new files."""
    with suppress(OSError):
        status = PROC_STATUS.read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"^Umask:\s*([0-7]+)$", status, re.MULTILINE):
            return int(match[1], 8)
    # Elsewhere it can only be read by setting it: files that another thread makes in between get
    # the mask that is set here.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


UMASK = umask()
"""`umask` at the start of this process."""


def write_json(path: Path, data: Any, durable: bool = True) -> None:
    """Write a file that any reader sees whole, old or new: temporary file, fsync, rename.

    A file that is not ``durable`` is not fsynced: it may be lost, or be empty, when the machine
    goes down.
    """
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n", durable)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """`write_json` for text. Raises WorkError where the file cannot be written."""
    if path.exists() and not path.is_file():  # root would put a file in place of a device
        raise WorkError(f"{path}: is no file")
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~UMASK)  # mkstemp's are for their owner alone
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WorkError(f"{path}: {error.strerror}") from error


def append(path: Path, text: str) -> None:
    """Add whole lines to a file, or nothing: half a line is damage once another follows.

    One that a machine left when it went down is cut off.

    Raises:
        OSError: they cannot be written.
    """
    data = text.encode()
    with path.open("ab+", buffering=0) as file:
        end = _end_of_lines(file)
        file.truncate(end)
        if file.write(data) < len(data):
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _end_of_lines(file: IO[bytes]) -> int:
    """Return the offset after the last newline of a file; what follows is half a line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        begin = max(end - BLOCK, 0)
        file.seek(begin)
        newline = file.read(end - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0


def json_text(data: Any) -> str:
    """Return plain data as JSON that any program reads: what is not finite is null."""
    return json.dumps(_strict(data), indent=1, allow_nan=False)


def _strict(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _strict(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_strict(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def read_json(path: Path) -> Any:
    """Read a file `write_json` wrote. Raises ReadError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(f"{path}: {error}") from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a JSON-lines file; none where there is no file. Raises ReadError."""
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


def allocate(descriptor: int, count: int) -> None:
    """Give an open file ``count`` bytes. Raises OSError, one of `UNSUPPORTED` where it cannot.

    Linux's own fallocate(2): where the file system has none, glibc's posix_fallocate, which
    Python has, writes to every block instead (its manual page, NOTES).
    """
    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(descriptor, 0, 0, count) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def format_bytes(count: float) -> str:
    """Write bytes in the largest unit that is not above them: ``1.5 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
