"""Checks the node it runs on before training starts there, and writes a `NodeReport`.

``python -P -m slurm.node.node_check --request FILE --out DIR``, once per node, at a moment when no
process of the job runs there. It must have all the cards of the node that the job was given.
"""

import argparse
import json
import os
import platform
import pwd
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from launcher.decode import NotNegative, Whole, decode, encode
from launcher.errors import LaunchError, WorkError
from launcher.files import format_bytes, read_json, write_json
from launcher.results.endings.patterns import HARDWARE_XID
from slurm.node import libraries, nvml
from slurm.node.compiler_check import compiler_fault
from slurm.node.disk_check import probe, reserve

SHM = "/dev/shm"
SHM_BYTES = 64 << 20
"""Bytes that NCCL needs there, for its buffers between the ranks of a node."""
PATIENCE = 5.0
"""Seconds for processes that have just been killed to give their cards' memory back."""
RECENT = 3600.0
"""Seconds for which a hardware error in the kernel's log counts against the node."""
ENGINES = ("torch", "megatron-core", "deepspeed")
VERSIONS = ("python", *ENGINES, *libraries.NAMES, "driver")
"""Things that have a version; from the libraries on where there are cards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckRequest:
    """Checks to make, equal for all nodes of a job."""

    folders: tuple[str, ...]
    """Folders to write to and read back from. They have to exist."""
    probe_bytes: Whole
    reserve_bytes: Whole = 0
    """Bytes that must fit into the first folder; only the job's first node checks, as it is one
    disk."""
    cards: Whole = 0
    """Cards that the job was given on each node; 0 checks none."""
    free_memory_pct: NotNegative = 95.0
    """Percentage of each card's memory that must be free."""


Kind = Literal["cards", "memory", "ecc", "xid", "shm", "compiler", "disk", "space"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing that is wrong with a node; ``space`` is wrong with a disk, whatever the node."""

    kind: Kind
    text: str
    """One line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeReport:
    """Findings of one node about itself."""

    node: str
    time: float
    """Its clock when the check began, seconds since the epoch."""
    versions: dict[str, str | None]
    """Versions that have to agree on all nodes; None where it is not installed."""
    cards: tuple[str, ...] = ()
    """Names of the cards."""
    faults: tuple[Fault, ...] = ()
    seconds: float
    """Duration of the check, seconds."""


def check_node(request: CheckRequest, node: str, first: bool = True) -> NodeReport:
    """Make the checks of a request on this machine."""
    began, start_time = time.monotonic(), time.time()
    cards, faults = _cards(request) if request.cards else ([], [])
    faults += _disks(request, first)
    return NodeReport(
        node=node,
        time=start_time,
        versions=_versions(request),
        cards=tuple(card.name or "?" for card in cards),
        faults=tuple(faults),
        seconds=round(time.monotonic() - began, 3),
    )


def visible_cards(cards: list[nvml.Card], visible: str | None) -> list[nvml.Card]:
    """Return the cards that a CUDA_VISIBLE_DEVICES names. NVML also lists those of other jobs,
    unless SLURM constrains devices."""
    if visible is None:
        return cards
    names = [name.strip() for name in visible.split(",")]
    uuids = tuple(name for name in names if name.startswith("GPU-"))  # CUDA takes a prefix, too
    return [
        card for card in cards if str(card.index) in names or (card.uuid or "").startswith(uuids)
    ]


def _cards(request: CheckRequest) -> tuple[list[nvml.Card], list[Fault]]:
    deadline = time.monotonic() + PATIENCE
    while True:
        answering = nvml.cards()
        cards = visible_cards(answering or [], os.environ.get("CUDA_VISIBLE_DEVICES"))
        # More than requested: nothing narrows them down, and the ranks take the first.
        cards = cards[: request.cards]
        memory_faults = [
            fault for card in cards for fault in _memory(card, request.free_memory_pct)
        ]
        if not memory_faults or time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    faults = []
    if answering is None:
        faults = [_fault("cards", f"NVML does not answer, {request.cards} cards were asked for")]
    elif len(cards) < request.cards:
        faults = [_fault("cards", f"{len(cards)} of {request.cards} cards answer")]
    ecc = [fault for card in cards for fault in _ecc(card)]
    others = [*_xids(time.time() - RECENT), *_shm(), *_compiler()]
    return cards, faults + memory_faults + ecc + others


def _memory(card: nvml.Card, free_pct: float) -> Iterator[Fault]:
    """Yield a fault for each process that holds memory, or for memory that none is seen to hold."""
    for pid, held_bytes in card.processes or ():
        amount = "memory" if held_bytes is None else format_bytes(held_bytes)
        yield _fault("memory", f"card {card.index}: process {pid} {_owner(pid)} holds {amount}")
    if card.processes or card.total is None or card.free is None:
        return
    if card.free < card.total * free_pct / 100:
        bound = f"less than {free_pct:g}%"
        free = f"{format_bytes(card.free)} of {format_bytes(card.total)}"
        yield _fault("memory", f"card {card.index}: only {free} are free, {bound}")


def _owner(pid: int) -> str:
    """Return ``of USER (COMMAND)``; ``of another user`` where /proc does not show the process."""
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return "of another user"
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return f"of {user} ({command.replace(chr(0), ' ').strip()[:80]})"


def _ecc(card: nvml.Card) -> Iterator[Fault]:
    if card.uncorrected:
        text = f"{card.uncorrected} uncorrectable ECC errors since the driver was loaded"
        yield _fault("ecc", f"card {card.index}: {text}")


def _xids(since: float) -> Iterator[Fault]:
    """Yield the last hardware error in the kernel's log, where one may read that."""
    try:
        completed = subprocess.run(
            ["dmesg", "--time-format", "iso"], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    lines = completed.stdout.decode(errors="replace").splitlines()
    errors = [line for line in lines if re.search(HARDWARE_XID, line)]
    recent = [line for line in errors if _log_time(line) >= since]
    if recent:
        yield _fault("xid", f"{recent[-1]} ({len(recent)} in the last hour)")


def _log_time(line: str) -> float:
    """Time of a line of the kernel's log, seconds since the epoch; 0 where it has none."""
    try:
        return datetime.fromisoformat(line.split(" ", 1)[0]).timestamp()
    except ValueError:
        return 0.0


def _shm() -> Iterator[Fault]:
    try:
        disk = os.statvfs(SHM)
    except OSError as error:
        yield _fault("shm", f"{SHM}: {error.strerror}")
        return
    free = disk.f_bavail * disk.f_frsize
    if free < SHM_BYTES:
        needed = format_bytes(SHM_BYTES)
        yield _fault("shm", f"{SHM}: {format_bytes(free)} are free, NCCL needs {needed}")


def _compiler() -> Iterator[Fault]:
    if fault_text := compiler_fault():
        yield _fault("compiler", fault_text)


def _disks(request: CheckRequest, first: bool) -> list[Fault]:
    faults = []
    for number, name in enumerate(request.folders):
        folder = Path(name)
        fault_text = probe(folder, request.probe_bytes)
        if fault_text is not None:
            faults.append(_fault("disk", fault_text))
        elif number == 0 and first and request.reserve_bytes:
            fault_text = reserve(folder, request.reserve_bytes)
            faults += [] if fault_text is None else [_fault("space", fault_text)]
    return faults


def _versions(request: CheckRequest) -> dict[str, str | None]:
    engines = {name: libraries.installed(name) for name in ENGINES}
    versions = {"python": platform.python_version(), **engines}
    return versions | ({**libraries.versions(), "driver": nvml.driver()} if request.cards else {})


def _fault(kind: Kind, text: str) -> Fault:
    printable = (char if char.isprintable() else repr(char)[1:-1] for char in text)
    return Fault(kind=kind, text="".join(printable))  # one line, no terminal escapes


def _answer(request: Path, node: str) -> NodeReport:
    try:
        check_request = decode(CheckRequest, read_json(request))
    except LaunchError as error:  # above all: the shared file system is not there
        fault = _fault("disk", str(error))
        return NodeReport(node=node, time=time.time(), versions={}, faults=(fault,), seconds=0.0)
    return check_node(check_request, node, first=os.environ.get("SLURM_NODEID", "0") == "0")


def main() -> int:
    """Check this node; return 0 also where there are faults, which the report has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--request", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    report = encode(_answer(arguments.request, node))
    try:
        write_json(arguments.out / f"{node}.json", report)
    except WorkError:  # the disk may be what is full: the inspection reads standard output too
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
