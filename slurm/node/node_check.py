"""Looks at the node it runs on before training starts there, and writes a `NodeReport`.

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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from launcher.decode import NotNegative, Whole, decode, encode
from launcher.errors import LaunchError, WorkError
from launcher.files import read_json, write_json
from launcher.results.patterns import HARDWARE_XID
from slurm.node import nvml
from slurm.node.disk_check import probe, reserve, size

SHM = "/dev/shm"
SHM_BYTES = 64 << 20
"""NCCL keeps the buffers between the ranks of a node there."""
PATIENCE = 5.0
"""Seconds that processes which have just been killed get to give their cards' memory back."""
RECENT = 3600.0
"""Seconds for which a hardware error in the kernel's log counts against the node."""
ENGINES = ("torch", "megatron-core", "deepspeed")


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckRequest:
    """What to look at; the same for all nodes of a job."""

    folders: tuple[str, ...]
    """Each is written to and read back. They have to exist."""
    probe_bytes: Whole
    reserve_bytes: Whole = 0
    """What must fit into the first folder; only the job's first node looks, as it is one disk."""
    cards: Whole = 0
    """How many the job was given on each node; 0 does not look at cards."""
    free_memory_pct: NotNegative = 95.0
    """Percentage of each card's memory that must be free."""


Kind = Literal["cards", "memory", "ecc", "xid", "shm", "disk", "space"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing that is wrong with a node; ``space`` is wrong with a disk, whatever the node."""

    kind: Kind
    text: str
    """One line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeReport:
    """What one node says of itself."""

    node: str
    time: float
    """Its clock when the check began, seconds since the epoch."""
    versions: dict[str, str | None]
    """Of what has to be the same on all nodes; None where it is not installed."""
    cards: tuple[str, ...] = ()
    """Their names."""
    faults: tuple[Fault, ...] = ()
    seconds: float
    """How long the check took."""


def look(request: CheckRequest, node: str, first: bool = True) -> NodeReport:
    """Do what the request asks for, on this machine."""
    began, now = time.monotonic(), time.time()
    cards, faults = _cards(request) if request.cards else ([], [])
    faults += _disks(request, first)
    return NodeReport(
        node=node,
        time=now,
        versions=_versions(request),
        cards=tuple(card.name or "?" for card in cards),
        faults=tuple(faults),
        seconds=round(time.monotonic() - began, 3),
    )


def given(cards: list[nvml.Card], visible: str | None) -> list[nvml.Card]:
    """Those cards that a CUDA_VISIBLE_DEVICES names. NVML also lists those of other jobs, unless
    SLURM constrains devices."""
    if visible is None:
        return cards
    names = [name.strip() for name in visible.split(",")]
    uuids = tuple(name for name in names if name.startswith("GPU-"))  # CUDA takes a prefix, too
    return [c for c in cards if str(c.index) in names or (c.uuid or "").startswith(uuids)]


def _cards(request: CheckRequest) -> tuple[list[nvml.Card], list[Fault]]:
    until = time.monotonic() + PATIENCE
    while True:
        found = nvml.cards()
        # More than were asked for: nothing narrows them down, and the ranks take the first.
        cards = given(found or [], os.environ.get("CUDA_VISIBLE_DEVICES"))[: request.cards]
        taken = [fault for card in cards for fault in _memory(card, request.free_memory_pct)]
        if not taken or time.monotonic() >= until:
            break
        time.sleep(0.5)
    faults = []
    if found is None:
        faults = [_fault("cards", f"NVML does not answer, {request.cards} cards were asked for")]
    elif len(cards) < request.cards:
        faults = [_fault("cards", f"{len(cards)} of {request.cards} cards answer")]
    ecc = [fault for card in cards for fault in _ecc(card)]
    return cards, faults + taken + ecc + [*_xids(time.time() - RECENT), *_shm()]


def _memory(card: nvml.Card, free_pct: float) -> Iterator[Fault]:
    """Of a process that holds memory, or else of memory that nobody is seen to hold."""
    for pid, used in card.processes or ():
        amount = "memory" if used is None else size(used)
        yield _fault("memory", f"card {card.index}: process {pid} {_who(pid)} holds {amount}")
    if card.processes or card.total is None or card.free is None:
        return
    if card.free < card.total * free_pct / 100:
        least = f"less than {free_pct:g}%"
        free = f"{size(card.free)} of {size(card.total)}"
        yield _fault("memory", f"card {card.index}: only {free} are free, {least}")


def _who(pid: int) -> str:
    """``of USER (COMMAND)`` as far as /proc says; nothing for a process of another namespace."""
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
    """The last hardware error the driver wrote to the kernel's log, where one may read that."""
    try:
        ran = subprocess.run(
            ["dmesg", "--time-format", "iso"], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    lines = ran.stdout.decode(errors="replace").splitlines()
    found = [line for line in lines if re.search(HARDWARE_XID, line)]
    recent = [line for line in found if _at(line) >= since]
    if recent:
        yield _fault("xid", f"{recent[-1]} ({len(recent)} in the last hour)")


def _at(line: str) -> float:
    """Seconds since the epoch; of a line without a time, 0."""
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
        yield _fault("shm", f"{SHM}: {size(free)} are free, NCCL needs {size(SHM_BYTES)}")


def _disks(request: CheckRequest, first: bool) -> list[Fault]:
    faults = []
    for number, name in enumerate(request.folders):
        folder = Path(name)
        wrong = probe(folder, request.probe_bytes)
        if wrong is not None:
            faults.append(_fault("disk", wrong))
        elif number == 0 and first and request.reserve_bytes:
            wrong = reserve(folder, request.reserve_bytes)
            faults += [] if wrong is None else [_fault("space", wrong)]
    return faults


def _versions(request: CheckRequest) -> dict[str, str | None]:
    versions = {"python": platform.python_version(), **{name: _installed(name) for name in ENGINES}}
    return versions | ({"driver": nvml.driver()} if request.cards else {})


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _fault(kind: Kind, text: str) -> Fault:
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)  # one line, no escapes
    return Fault(kind=kind, text=shown)


def _answer(request: Path, node: str) -> NodeReport:
    try:
        asked = decode(CheckRequest, read_json(request))
    except LaunchError as error:  # above all: the shared file system is not there
        fault = _fault("disk", str(error))
        return NodeReport(node=node, time=time.time(), versions={}, faults=(fault,), seconds=0.0)
    return look(asked, node, first=os.environ.get("SLURM_NODEID", "0") == "0")


def main() -> int:
    """Check this node; 0 also where there are faults, for the report says so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--request", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    report = encode(_answer(words.request, node))
    try:
        write_json(words.out / f"{node}.json", report)
    except WorkError:  # the disk it goes to may be what is full: it goes to who started this
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
