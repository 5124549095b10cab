"""A third engine and a third scheduler, one class and one line each: planned, run, tabled, reported.

Modules: launcher.request.schedulers, launcher.backends, launcher.schedulers.
"""

import json
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Self

import pytest

from launcher.backends import BACKENDS
from launcher.backends.worker_command import Execution
from launcher.cli import main
from launcher.errors import LayoutError
from launcher.planner.engines import Engine
from launcher.request.schedulers import SCHEDULERS
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job, Setting
from launcher.spec.cluster import Cluster
from launcher.spec.run import RunSpec

TRAINS = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
steps = json.loads((folder / "spec.json").read_text())["train"]["steps"]
lines = [json.dumps({"step": i, "loss": 5 / i, "step_ms": 50.0}) for i in range(1, steps + 1)]
(folder / "metrics.jsonl").write_text("".join(f"{line}\\n" for line in lines))
(folder / "result.json").write_text('{"memory_kind": "rss"}')
"""


class Pencil:
    """An engine that does every step in 50 ms."""

    packages: Sequence[str] = ("json",)
    planner_engine: Engine = "fsdp"

    def gradient_bytes(self, spec: RunSpec) -> float:
        return 2.0

    def check(self, spec: RunSpec) -> None:
        if spec.layout.pp > 1:
            raise LayoutError(f"pp {spec.layout.pp}: a pencil has no pipeline")

    def command(self, folder: Path, execution: Execution) -> tuple[str, ...]:
        return (execution.python, "-c", TRAINS, str(folder))

    def checkpoint_bytes(self, spec: RunSpec) -> int:
        return 2 * spec.model.params


class Inline:
    """A scheduler that runs one job after the other while it is submitted."""

    queues: ClassVar[bool] = False
    several_nodes: ClassVar[bool] = True

    def __init__(self) -> None:
        self.ended: list[Job] = []

    @classmethod
    def opened(cls, setting: Setting, clusters: Sequence[Cluster]) -> Self:
        return cls()

    def submit(self, jobs: Iterable[Job]) -> list[str]:
        submitted = []
        for job in jobs:
            folder, began = RunFolder(job.folder), time.time()
            attempt = folder.next_attempt()
            codes = tuple(subprocess.run(job.command).returncode for _ in range(job.ranks))
            folder.write_status(Status(
                state="ended", attempt=attempt, started=began, ended=time.time(), exit_codes=codes,
                nodes=tuple(f"desk{number}" for number in range(job.nodes)),
            ))  # fmt: skip
            self.ended.append(job)
            submitted.append(job.name)
        return submitted

    def adopt(self, job: Job) -> bool:
        return False

    def poll(self) -> list[Job]:
        ended, self.ended = self.ended, []
        return ended

    def cancel(self, names: Sequence[str]) -> None:
        """Nothing waits here."""

    def avoid(self, nodes: Sequence[str]) -> None:
        """There is nowhere else to go."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing runs any more."""


def test_one_class_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(BACKENDS, "pencil", Pencil())
    monkeypatch.setitem(SCHEDULERS, "inline", Inline)
    monkeypatch.chdir(tmp_path)
    words = ["-m", "backend=pencil,megatron", "layout.tp=1", "layout.pp=1,2", "cluster.nodes=2",
             "cluster.gpus_per_node=1", "scheduler.name=inline", "train.steps=6", "name=desk",
             "sweep.strategy=grid"]  # fmt: skip

    assert main(["plan", *words, "--format", "json"]) == 0
    plan = {(row["backend"], row["pp"]): row for row in json.loads(capsys.readouterr().out)}
    assert plan["pencil", 2]["reason"] == "pp 2: a pencil has no pipeline"
    assert plan["pencil", 1]["plan"] == "run" and plan["pencil", 1]["pred_mem_gib"] > 0

    run = [word.replace("pencil,megatron", "pencil") for word in words]
    assert main([*run, "--format", "json", "--sort", "row"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["outcome"] for row in rows] == ["ok", "rejected"]
    assert (rows[0]["steps"], rows[0]["step_ms_p50"], rows[0]["nodes"]) == (6, 50.0, 2)
    desk = tmp_path / "runs" / "desk"
    assert [row["sweep"] for row in rows] == [str(desk)] * 2
    assert [row["folder"] for row in rows] == [str(desk / rows[0]["spec_id"]), None]

    assert main(["table", "runs/desk", "--format", "json"]) == 0
    (row, _) = json.loads(capsys.readouterr().out)
    assert (row["backend"], row["hosts"]) == ("pencil", "desk0 desk1")
    assert main(["report", "runs/desk", "-o", "desk.html"]) == 0
    assert "pencil" in Path("desk.html").read_text()

    # It cannot do what it says it cannot.
    assert main([*run, "detach=true"]) == 2
    message = "detach: true, but scheduler.name inline ends its trials when it ends"
    assert message in capsys.readouterr().err
