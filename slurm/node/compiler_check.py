"""The compiler that torch.compile needs on a node: Triton builds a start of each kernel with it."""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

SECONDS = 30.0
"""Longest compilation of an empty module."""

DISABLED = ("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE")
"""Variables by which a user does without torch.compile."""

SOURCE = "#include <Python.h>\nint module(void) { return 0; }\n"


def compiler_fault() -> str | None:
    """Return the reason for which no kernel could be built here, one line; None where one can."""
    if any(os.environ.get(name, "0") != "0" for name in DISABLED):
        return None
    # In Triton's order.
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return "no C compiler: torch.compile needs gcc, clang or CC"
    include = sysconfig.get_paths()["include"]
    try:
        completed = _build(compiler, include)
    except subprocess.TimeoutExpired:
        return f"C compiler {compiler}: builds nothing within {SECONDS:g} s"
    except OSError as error:
        return f"C compiler {compiler}: {error.strerror}"
    if completed.returncode == 0:
        return None
    if "Python.h" in completed.stderr:
        return f"no Python.h in {include}: torch.compile needs Python's headers (python3-devel)"
    lines = [line for line in completed.stderr.splitlines() if "error" in line.lower()]
    return f"C compiler {compiler}: {lines[0] if lines else f'exit code {completed.returncode}'}"


def _build(compiler: str, include: str) -> "subprocess.CompletedProcess[str]":
    """Build a module of Python's in a folder of its own. Raises OSError, TimeoutExpired."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "module.c")
        source.write_text(SOURCE)
        words = [compiler, str(source), "-shared", "-fPIC", f"-I{include}", "-o", f"{source}.so"]
        return subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
