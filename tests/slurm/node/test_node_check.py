"""The check of one node, on a machine whose cards and kernel's log are made up.

Modules: slurm.node.node_check, slurm.node.nvml.
"""

import errno
import getpass
import importlib.util
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.decode import decode, encode
from launcher.schedulers.options import Checks
from slurm.node import disk_check, node_check, nvml
from slurm.node.check_verdict import NodeVerdict, judge_nodes, read_reports
from slurm.node.node_check import CheckRequest, Fault, NodeReport, check_node
from tests.conftest import ROOT

DOUBLES = ROOT / "tests" / "slurm" / "doubles"
GIB = 2**30
ODD = ["a b", 'it\'s "so"', "$(touch x)", "two\nlines", "für-日本", os.fsdecode(b"not-utf8-\xff")]

Machine = Callable[..., None]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Set up cards and the kernel's log; without a call, two good cards and an empty log."""
    spec = importlib.util.spec_from_file_location("pynvml", DOUBLES / "pynvml.py")
    assert spec and spec.loader
    double = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(double)
    monkeypatch.setitem(sys.modules, "pynvml", double)
    monkeypatch.setattr(node_check, "PATIENCE", 0.0)
    monkeypatch.setattr(node_check, "compiler_fault", lambda: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_NODEID", raising=False)
    tools = tmp_path / "tools"
    tools.mkdir()

    def make(*cards: dict[str, Any], log: str = "", log_status: int = 0) -> None:
        data = {"driver": "570.1", "cards": cards or (card(), card())}
        (tmp_path / "nvml.json").write_text(json.dumps(data))
        monkeypatch.setenv("FAKE_NVML", str(tmp_path / "nvml.json"))
        (tools / "log").write_text(log)
        script = f'#!/bin/sh\n[ "$*" = "--time-format iso" ] && /bin/cat {tools}/log\nexit {log_status}\n'
        (tools / "dmesg").write_text(script)
        (tools / "dmesg").chmod(0o755)
        monkeypatch.setenv("PATH", str(tools))

    make()
    return make


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of one MiB."""
    disk = tmp_path / "tiny"
    disk.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small disk is mounted, which only root may")
    yield disk
    subprocess.run(["/bin/umount", "-l", str(disk)], check=True)


def card(**changes: Any) -> dict[str, Any]:
    """A good card."""
    good = {
        "name": "H100",
        "uuid": "GPU-0",
        "memory": [80 * GIB, 79 * GIB],
        "processes": [],
        "ecc": 0,
    }
    return {**good, **changes}


def request(folder: Path, **changes: Any) -> CheckRequest:
    return CheckRequest(**{"folders": (str(folder),), "probe_bytes": 1000, "cards": 2, **changes})


def faults_of(check_request: CheckRequest) -> list[tuple[str, str]]:
    return [(fault.kind, fault.text) for fault in check_node(check_request, "node1").faults]


def xid(number: int, minutes_ago: float) -> str:
    when = (datetime.now(UTC) - timedelta(minutes=minutes_ago)).isoformat().replace(".", ",")
    return f"{when} NVRM: Xid (PCI:0000:3b:00): {number}, pid=12, x\n"


def test_clean(machine: Machine, tmp_path: Path) -> None:
    report = check_node(request(tmp_path, reserve_bytes=10**6, probe_bytes=3 * 2**20 + 7), "node1")
    assert report.faults == ()
    assert report.cards == ("H100", "H100")
    assert tuple(report.versions) == node_check.VERSIONS
    without = check_node(request(tmp_path, cards=0), "node1")
    assert set(without.versions) == {"python", "torch", "megatron-core", "deepspeed"}
    assert report.versions["driver"] == "570.1"
    assert decode(NodeReport, json.loads(json.dumps(encode(report)))) == report
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nvml.json", "tools"]


def test_a_compiler_is_for_nodes_with_cards(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_check, "compiler_fault", lambda: "no C compiler")
    assert faults_of(request(tmp_path)) == [("compiler", "no C compiler")]
    assert faults_of(request(tmp_path, cards=0)) == []


PROCESS = [[2**22 + 1, 12 * GIB]]  # above pid_max: of another pid namespace, as in a container
LITTLE = [80 * GIB, 60 * GIB]


@pytest.mark.parametrize(
    ("cards", "changes", "faults"),
    [
        ([card(), card(processes=PROCESS, memory=LITTLE)], {}, [("memory", "card 1: process 4194305 of another user holds 12.0 GiB")]),
        ([card(processes=[[2**22 + 1, None]]), card()], {}, [("memory", "card 0: process 4194305 of another user holds memory")]),
        ([card(memory=LITTLE), card()], {}, [("memory", "card 0: only 60.0 GiB of 80.0 GiB are free, less than 95%")]),
        ([card(memory=LITTLE), card()], {"free_memory_pct": 75.0}, []),
        ([card(), card(ecc=3)], {}, [("ecc", "card 1: 3 uncorrectable ECC errors since the driver was loaded")]),
        ([card()], {}, [("cards", "1 of 2 cards answer")]),
        ([card(), {"error": 15}], {}, [("cards", "1 of 2 cards answer")]),
        ([card(), card(), card(processes=PROCESS)], {}, []),
        ([{}, {}], {}, []),
        ([card(processes=PROCESS, ecc=1)], {"cards": 0}, []),
    ],
    ids=["process", "process of unknown size", "memory", "memory allowed", "ecc", "count", "lost", "more than asked", "a driver that says nothing", "not looked at"],
)  # fmt: skip
def test_cards(
    machine: Machine, tmp_path: Path, cards: list[Any], changes: dict[str, Any], faults: list[Any]
) -> None:
    machine(*cards)
    assert faults_of(request(tmp_path, **changes)) == faults


def test_the_process_is_named(machine: Machine, tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import time; time.sleep(60)", "für\nx" + "y" * 100]
    with subprocess.Popen(words) as process:
        machine(card(processes=[[process.pid, GIB]]))
        while not psutil.Process(process.pid).cmdline():
            pass  # it is forked, and about to be what it will be
        command = f"{sys.executable} -c import time; time.sleep(60) für\nx{'y' * 100}"[:80]
        text = command.replace("\n", "\\n")
        holder = f"process {process.pid} of {getpass.getuser()} ({text})"
        assert faults_of(request(tmp_path, cards=1)) == [
            ("memory", f"card 0: {holder} holds 1.0 GiB")
        ]
        process.kill()


def test_memory_that_is_just_being_given_back(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(card(memory=LITTLE))
    with_little = nvml.cards()
    machine(card())
    looks = iter([with_little, nvml.cards()])
    monkeypatch.setattr(node_check, "PATIENCE", 5.0)
    monkeypatch.setattr(nvml, "cards", lambda: next(looks))
    assert faults_of(request(tmp_path, cards=1)) == []


@pytest.mark.parametrize(
    ("visible", "cards"),
    [
        (None, ["a", "b", "c"]),
        ("0,2", ["a", "c"]),
        ("GPU-b", ["b"]),
        (" 1 , 0", ["a", "b"]),
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_visible_cards(machine: Machine, visible: str | None, cards: list[str]) -> None:
    machine(*(card(name=name, uuid=f"GPU-{name}00") for name in "abc"))
    assert [c.name for c in node_check.visible_cards(nvml.cards() or [], visible)] == cards


def test_numbers_of_cards(machine: Machine) -> None:
    """CUDA numbers a card that is lost, and none that is another job's."""
    machine({"error": 4}, card(name="a"), {"error": 15}, card(name="b"))
    assert [(c.index, c.name) for c in nvml.cards() or []] == [(0, "a"), (2, "b")]


def test_no_nvml(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = ("cards", "NVML does not answer, 2 cards were asked for")
    monkeypatch.delenv("FAKE_NVML")
    assert faults_of(request(tmp_path)) == [fault]
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert faults_of(request(tmp_path)) == [fault]
    assert nvml.driver() is None


@pytest.mark.parametrize(
    ("log", "status", "fault"),
    [
        (xid(79, 10), 0, "(1 in the last hour)"),
        ("no time\n" + xid(48, 10) + "\n" + xid(79, 5), 0, "(2 in the last hour)"),
        (xid(79, 61), 0, None),
        (xid(31, 1), 0, None),
        ("NVRM: Xid (PCI:0000:3b:00): 79, of no time\n", 0, None),
        ("", 1, None),
    ],
    ids=["recent", "two", "old", "the program's", "no time", "not allowed"],
)
def test_xid(machine: Machine, tmp_path: Path, log: str, status: int, fault: str | None) -> None:
    machine(log=log, log_status=status)
    last = log.splitlines()[-1] if log else ""
    assert faults_of(request(tmp_path)) == ([("xid", f"{last} {fault}")] if fault else [])


def test_no_dmesg(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert faults_of(request(tmp_path)) == []


def test_shm(machine: Machine, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_check, "SHM", str(tiny))
    text = f"{tiny}: 1.0 MiB are free, NCCL needs 64.0 MiB"
    assert faults_of(request(tmp_path)) == [("shm", text)]
    assert faults_of(request(tmp_path, cards=0)) == []
    monkeypatch.setattr(node_check, "SHM", "/no/shm")
    assert faults_of(request(tmp_path)) == [("shm", "/no/shm: No such file or directory")]


def test_folders_that_cannot_be_written(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file\n").touch()
    folders = [str(tmp_path / name) for name in ("missing", ".", "file", "file\n")]
    faults = [
        ("disk", f"{tmp_path}/missing: No such file or directory"),
        ("disk", f"{tmp_path}/file: Not a directory"),
        ("disk", f"{tmp_path}/file\\n: Not a directory"),
    ]
    assert faults_of(request(tmp_path, folders=tuple(folders), reserve_bytes=1)) == faults


def test_full_disk(machine: Machine, tiny: Path) -> None:
    check_request = request(tiny, cards=0, probe_bytes=2**21)
    assert faults_of(check_request) == [("disk", f"{tiny}: No space left on device")]
    assert list(tiny.iterdir()) == []


def test_read_back(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter("abcd")
    monkeypatch.setattr(disk_check, "_chunks", lambda *_: iter([next(numbers).encode()]))
    text = f"{tmp_path}: what is read back is not what was written"
    assert faults_of(request(tmp_path)) == [("disk", text)]


def test_reserve(machine: Machine, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_request = request(tiny, reserve_bytes=3 * 2**19)
    text = f"{tiny}: no room for 1.5 MiB of checkpoints: "
    assert faults_of(check_request) == [("space", f"{text}1.0 MiB are free")]
    assert check_node(check_request, "node2", first=False).faults == ()
    monkeypatch.setattr(disk_check, "_room", lambda *_: None)
    assert faults_of(check_request) == [("space", f"{text}No space left on device")]
    assert list(tiny.iterdir()) == []
    monkeypatch.setattr(disk_check, "allocate", unsupported)
    assert faults_of(check_request) == []


def unsupported(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("name", ODD)
def test_command(tmp_path: Path, name: str) -> None:
    """The whole thing as srun starts it, in folders with names of all kinds."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "r.json").write_text(json.dumps({"folders": [str(folder)], "probe_bytes": 10}))
    completed = check(folder, folder / "r.json", SLURMD_NODENAME="gpu-7")
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "", "")
    assert sorted(path.name for path in folder.iterdir()) == ["gpu-7.json", "r.json"]
    assert stat.S_IMODE((folder / "gpu-7.json").stat().st_mode) & 0o400
    [report] = read_reports(folder, ["gpu-7", "gpu-8"])
    assert (report.node, report.faults) == ("gpu-7", ())


def test_no_request(tmp_path: Path) -> None:
    """As where the shared file system is not there: neither request nor place for a report."""
    completed = check(tmp_path / "out", tmp_path / "r.json", SLURMD_NODENAME="node1")
    [report] = read_reports(
        tmp_path / "out", ["node1"], f"srun: hello\n{{no\n[1]\n{completed.stdout}"
    )
    missing = f"{tmp_path}/r.json: [Errno 2] No such file or directory: '{tmp_path}/r.json'"
    assert report.faults == (Fault(kind="disk", text=missing),)


def test_full_disk_for_the_report(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"folders": [str(tiny)], "probe_bytes": 10}))
    with pytest.raises(OSError), (tiny / "all").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    completed = check(tiny, tmp_path / "r.json", SLURMD_NODENAME="node1")
    reports = read_reports(tiny, ["node1"], completed.stdout)
    full = f"{tiny}: No space left on device"
    assert judge_nodes(reports, ["node1"], 0, 9e9, Checks()) == NodeVerdict(disk_full=full)


def check(
    report_folder: Path, request_file: Path, **variables: str
) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-P", "-m", "slurm.node.node_check", "--request", str(request_file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [*words, "--out", str(report_folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
