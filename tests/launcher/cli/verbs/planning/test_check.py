"""`launch check` on this machine: one row, with the speed of the all-reduce."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema

from launcher.cli.schemas import schema_of

Launch = Callable[..., "subprocess.CompletedProcess[str]"]


def test_this_machine(launch: Launch, tmp_path: Path) -> None:
    words = [f"output={tmp_path}", "scheduler.checks.allreduce_mib=1", "--format", "json"]
    process = launch("check", *words)
    assert process.returncode == 0, process.stderr
    (row,) = json.loads(process.stdout)
    jsonschema.validate([row], schema_of("check"))
    assert (row["ok"], row["faults"], row["cards"]) == (True, None, None)
    assert row["allreduce_gb_s"] > 0 and row["torch"]
