"""A run in stages on SLURM: a chain of jobs that comes to its end through whatever happens.

Modules: launcher.cli.verbs.running.resume.
"""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from launcher.results.run_folder import RunFolder, Status
from tests import kills, limits
from tests.conftest import command
from tests.slurm.conftest import Cluster, Make, Sweep, paced

STEPS = {"web": 40, "english": 40, "synthetic": 40, "specialised": 8}

WORDS = (
    "curriculum=four_stage",
    "layout.micro_batch=4",
    *kills.SMALL,
    "checkpoint_every=5",
    "hang_after=20",
    "train.optimizer.warmup_steps=6",
    "train.optimizer.decay_steps=10",
    *(f"curriculum.stages.{name}.tokens={steps * 16 * 64}" for name, steps in STEPS.items()),
)

ON_TWO = (
    *("cluster.nodes=2", "cluster.gpus_per_node=1", "scheduler.exclusive=true"),
    *paced(0.4),
)
"""Stages that take sixteen seconds at least, in which something can happen to them."""

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Undisturbed:
    """An undisturbed run of the same words, beside the others: one node, no SLURM."""

    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def run(self) -> Path:
        """Its folder, once it is over."""
        printed = self.folder / "launch.txt"
        assert self.process.wait(limits.COMMAND) == 0, printed.read_text()
        return self.folder / "four_stage"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Undisturbed]:
    folder = tmp_path_factory.mktemp("undisturbed")
    process = kills.start(folder, cache, WORDS)
    yield Undisturbed(folder, process)
    process.kill()
    process.wait()


def test_a_chain_of_jobs(sweep: Make, slurm: Cluster, undisturbed: Undisturbed) -> None:
    """Preempted, without a node, at a time limit, without its launcher: the same to the bit."""
    running = sweep(*WORDS, *ON_TWO, "scheduler.partition=low")
    first = _at_step(running, 3)
    preempt = ("--partition=high", "--nodes=4", "--exclusive", "--output=/dev/null")
    slurm.run("sbatch", *preempt, "--wrap=sleep 3")
    second = _at_step(running, first.spec().last + 7)
    node = _status(second).nodes[1]
    slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    third = _at_step(running, second.spec().last + 7)
    # What SLURM sends so long before the limit: a real one cuts wherever the machine is slow.
    slurm.run("scancel", "--batch", "--signal=USR1", _status(third).job_id or "")
    running.wait(lambda run: run == third and _status(run).stopped == "timeout")
    running.kill()
    code, output = running.start().end()
    assert code == 0, output
    running.check()
    assert [row["outcome"] for row in running.rows()] == ["ok"] * 4
    stops = {run.path.name: [s.stopped for s in running.history(run)] for run in running.runs}
    assert stops == {
        "1-web": ["preempted", None],
        "2-english": ["preempted", None],
        "3-synthetic": ["timeout", None],
        "4-specialised": [None],
    }
    assert len(list(running.folder.glob("submissions/*"))) == 4, "SLURM puts jobs back, not we"
    assert kills.outcome(running.folder) == kills.outcome(undisturbed.run)


def test_on_other_nodes_and_at_another_layout(sweep: Make, undisturbed: Undisturbed) -> None:
    """Two nodes, then one with tensor parallelism over two ranks, in the middle of a stage."""
    running = sweep(*WORDS, *ON_TWO)
    first = _at_step(running, 7)
    _cancel(running)
    one_node = ("cluster.nodes=1", "cluster.gpus_per_node=2", "layout.tp=2")
    running.words = ["resume", str(running.folder), *one_node]
    running.start()
    _at_step(running, first.spec().last + 2)
    _cancel(running)
    running.check()
    assert [len(s.nodes) for s in running.history(first)] == [2, 1]
    assert first.spec().layout.tp == 2
    losses = [[line["loss"] for line in _steps(run)] for run in (running.folder, undisturbed.run)]
    assert len(losses[0]) > STEPS["web"]
    worst = max(abs(a / b - 1) for a, b in zip(*losses, strict=False))
    print(f"largest relative difference of a loss: {worst:.1e}")
    assert worst < TOLERANCE


def test_submitted_stage_by_stage(sweep: Make, slurm: Cluster) -> None:
    words = [word for word in WORDS if not word.startswith("curriculum.stages")]
    small = (*words, "curriculum.stages.web.tokens=6000", "curriculum.stages.english.tokens=200000")
    # Long enough, and without a checkpoint, whatever the machine does besides.
    calm = ("cluster.gpus_per_node=1", "checkpoint_every=1000", *paced(1))
    running = sweep("detach=true", *small, *calm)
    code, output = running.end()
    assert code == 0 and "1-web is queued or runs, 3 stages to come:" in output, output
    states = _states(running)
    assert states.pop("1-web") in ("queued", "running")
    assert states == dict.fromkeys(kills.STAGES[1:], "not started")
    limits.until(lambda: not slurm.run("squeue", "--noheader"))
    assert _states(running)["1-web"] == "ok"
    code, output = running.start().end()
    assert code == 0 and "2-english is queued or runs, 2 stages to come:" in output, output
    output = _launch(running, "resume", "detach=true", "layout.micro_batch=2")
    assert "2-english is queued or runs" in output
    assert "2-english goes on as it was started: layout.micro_batch 4 -> 2 is for later; " in output
    output = _launch(
        running, "resume", "curriculum.stages.english.blend={bundled/code: 1.0}", code=2
    )
    assert "stages.english: is queued or runs and cannot change: data.blend.bundled/" in output
    assert len(list(running.folder.glob("submissions/*"))) == 2
    assert _launch(running, "cancel") == "ended 1 job: 2-english\n"
    assert _states(running)["2-english"] == "cancelled"


def _at_step(running: Sweep, step: int) -> RunFolder:
    """Wait for the stage that has done so many steps of the whole run, in whichever attempt."""

    def has_step(run: RunFolder) -> bool:
        status, lines = run.readable_status(), run.steps()
        is_active = status is not None and status.state == "running"
        return is_active and any(line["step"] >= step for line in lines)

    return running.wait(has_step)


def _status(run: RunFolder) -> Status:
    status = run.status()
    assert status
    return status


def _cancel(running: Sweep) -> None:
    """Cancel from another shell; the launcher sees it and ends."""
    assert _launch(running, "cancel").startswith("ended 1 job: ")
    code, output = running.end()
    assert code == 1 and "cancelled" in output, output


def _launch(running: Sweep, verb: str, *words: str, code: int = 0) -> str:
    """Call another verb on the run's folder, and return its output and its errors."""
    completed = subprocess.run(
        command([verb, str(running.folder), *words]),
        env=running.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == code, completed
    return completed.stdout + completed.stderr


def _steps(folder: Path) -> Sequence[dict[str, float]]:
    return [line for name in kills.STAGES for line in RunFolder(folder / name).steps()]


def _states(running: Sweep) -> dict[str, str]:
    lines = _launch(running, "status", "--format", "csv").splitlines()[1:]
    return {line.split(",")[0]: line.split(",")[1] for line in lines}
