"""The compiler of a node: tried by building a module of Python's.

Modules: slurm.node.compiler_check.
"""

import shutil
import sysconfig
from pathlib import Path

import pytest

from slurm.node import compiler_check
from slurm.node.compiler_check import compiler_fault

INCLUDE = sysconfig.get_paths()["include"]
NONE = "no C compiler: torch.compile needs gcc, clang or CC"


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of PATH, empty."""
    for name in ("CC", *compiler_check.DISABLED):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def make_compiler(path: Path, error: str, code: int) -> None:
    path.write_text(f"#!/bin/sh\necho '{error}' >&2\nexit {code}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "error", "code", "fault"),
    [
        ("gcc", "", 0, None),
        ("clang", "", 0, None),
        ("cc", "", 0, NONE),
        ("gcc", "m.c:1:10: fatal error: Python.h: No such file or directory", 1,
         f"no Python.h in {INCLUDE}: torch.compile needs Python's headers (python3-devel)"),
        ("gcc", "gcc: warning: a\nld: error: cannot find -lgcc", 1,
         "C compiler {tools}/gcc: ld: error: cannot find -lgcc"),
        ("gcc", "", 3, "C compiler {tools}/gcc: exit code 3"),
    ],
)  # fmt: skip
def test_compilers(tools: Path, name: str, error: str, code: int, fault: str | None) -> None:
    make_compiler(tools / name, error, code)
    assert compiler_fault() == (fault and fault.format(tools=tools))


def test_one_that_is_named(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "mine"))
    assert compiler_fault() == f"C compiler {tmp_path}/mine: No such file or directory"
    make_compiler(tmp_path / "mine", "", 0)
    assert compiler_fault() is None


def test_one_that_hangs(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_check, "SECONDS", 0.2)
    (tools / "gcc").write_text("#!/bin/sh\nexec /bin/sleep 3600\n")
    (tools / "gcc").chmod(0o755)
    assert compiler_fault() == f"C compiler {tools}/gcc: builds nothing within 0.2 s"


def test_without_torch_compile_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiler_fault() == NONE
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    assert compiler_fault() is None


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
def test_a_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin:/usr/local/bin")
    fault = compiler_fault()
    assert fault is None or "Python.h" in fault
