"""Faults of a cluster: every trial ends, none runs twice at once, nothing is lost.

Modules: slurm.node.supervisor, slurm.node.rank.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests import limits
from tests.conftest import command
from tests.slurm.conftest import DOUBLES, Cluster, Make, paced, ranks_of

TRIAL = (
    *("cluster.gpus_per_node=1", "hang_after=20", "train.steps=10", "layout.micro_batch=4"),
    *("train.global_batch=24", *paced(1)),
)
"""One rank, whose first attempt is in its steps for ten seconds."""
LONG = (*TRIAL, "train.steps=30", "checkpoint_every=5", *paced(0.5))
"""A longer trial, with checkpoints."""


def test_scancel_of_a_trial(sweep: Make, slurm: Cluster) -> None:
    running = sweep(*TRIAL)
    trial = running.at_step(1)
    status = trial.status()
    assert status and status.job_id
    slurm.run("scancel", status.job_id)
    code, output = running.end()
    assert code == 1, output
    assert [(row["outcome"], row["attempt"]) for row in running.rows()] == [("cancelled", 1)]
    running.check()


def test_a_trial_that_waits_is_cancelled(sweep: Make, slurm: Cluster) -> None:
    running = sweep(*TRIAL, "scheduler.sbatch.hold=true")
    limits.until(lambda: slurm.run("squeue", "--noheader"))
    slurm.run("scancel", "--user", str(os.getuid()))
    code, output = running.end()
    assert code == 1 and "cancelled" in output
    assert [(row["outcome"], row["attempt"]) for row in running.rows()] == [("cancelled", 1)]


def test_requeue(sweep: Make, slurm: Cluster) -> None:
    running = sweep(*TRIAL)
    trial = running.at_step(3)
    status = trial.status()
    assert status and status.job_id
    slurm.run("scontrol", "requeue", status.job_id)
    code, output = running.end()
    assert code == 0, output
    history = running.history(trial)
    assert [(s.attempt, s.stopped, s.job_id) for s in history] == [
        (1, "preempted", status.job_id),
        (2, None, status.job_id),
    ]
    assert running.rows()[0]["outcome"] == "ok"
    running.check()


def test_node_set_down(sweep: Make, slurm: Cluster) -> None:
    """SLURM requeues by itself; NODE_FAIL, which sacct shows meanwhile, is no failure."""
    running = sweep(*LONG, "cluster.nodes=2")
    trial = running.at_step(12)
    status = trial.status()
    assert status
    first_steps = trial.steps()
    slurm.run("scontrol", "update", f"nodename={status.nodes[1]}", "state=down", "reason=test")
    code, output = running.end()
    assert code == 0, output
    running.check()
    assert len(running.history(trial)) == 2
    assert trial.result()["resumed_from"] >= 5  # type: ignore[index]
    losses = {line["step"]: line["loss"] for line in trial.steps()}
    assert all(losses[line["step"]] == line["loss"] for line in first_steps)


def test_slurmd_killed(sweep: Make, slurm: Cluster) -> None:
    """SLURM loses sight of a node whose ranks live on: they make way for the next attempt."""
    running = sweep(*LONG, *paced(4))
    trial = running.at_step(3)
    status, first_pids = trial.status(), ranks_of(trial)
    assert status
    try:
        slurm.script("kill-daemon", f"slurmd.{status.nodes[0]}")

        def is_tried_again() -> bool:
            attempt = (trial.status() or status).attempt
            assert attempt > 1 or all(map(_alive, first_pids))
            return attempt > 1

        limits.until(is_tried_again)
        code, output = running.end()
    finally:
        slurm.script("start-node", status.nodes[0])
    assert code == 0, output
    running.check()
    assert len(running.history(trial)) == 2
    assert not any(_alive(pid) for pid in first_pids)


def test_rank_killed(sweep: Make) -> None:
    """Tried again on another node, which the table names."""
    running = sweep(*TRIAL)
    trial = running.at_step(2)
    status = trial.status()
    assert status
    os.kill(ranks_of(trial)[0], signal.SIGKILL)
    code, output = running.end()
    assert code == 0, output
    first, second = running.history(trial)
    assert first.exit_codes == (-9,) and second.nodes != first.nodes
    assert "(runs again)" in output and "node" in output
    running.check()


def test_rank_stopped(sweep: Make) -> None:
    """A hang: the stacks of the others are in their logs, all are ended, tried once more."""
    running = sweep(*TRIAL, "cluster.gpus_per_node=2", "hang_after=12")
    trial = running.at_step(3)
    pids = ranks_of(trial)
    os.kill(pids[1], signal.SIGSTOP)
    code, output = running.end()
    assert code == 0, output
    assert "hang" in output and "(runs again)" in output
    assert not any(_alive(pid) for pid in pids)
    logs = "".join(log.read_text() for log in trial.path.glob("attempts/1/log/rank*.txt"))
    assert "HangError" in logs and "most recent call first" in logs
    assert [(row["outcome"], row["attempt"]) for row in running.rows()] == [("ok", 2)]
    running.check()


def test_preemption(sweep: Make, slurm: Cluster) -> None:
    running = sweep(*LONG, "scheduler.partition=low", "scheduler.exclusive=true", "cluster.nodes=2")
    trial = running.at_step(7)
    slurm.run(
        "sbatch",
        "--partition=high",
        "--nodes=4",
        "--exclusive",
        "--output=/dev/null",
        "--wrap=sleep 5",
    )
    code, output = running.end()
    assert code == 0, output
    history = running.history(trial)
    assert [s.stopped for s in history] == ["preempted", None]
    assert trial.result()["resumed_from"] >= 7  # type: ignore[index]
    running.check()


def test_time_limit_of_a_probe(sweep: Make) -> None:
    running = sweep(*TRIAL, "train.steps=2000", "time_limit=15")
    code, _ = running.end()
    assert code == 1
    row = running.rows()[0]
    assert (row["outcome"], row["attempt"]) == ("timeout", 1)
    assert row["cause"] == "stopped at the time limit of 15 s"
    running.check()


def test_time_limit_of_a_long_run(sweep: Make) -> None:
    """A checkpoint before the limit, the same job again, and not a step lost.

    The limit is for the start: of the steps of the first attempt 80 s hold two in three at most.
    """
    running = sweep(
        *LONG,
        "train.steps=120",
        "checkpoint_every=1000",
        "time_limit=120",
        "scheduler.signal_before=40",
        *paced(1),
    )
    code, output = running.end()
    assert code == 0, output
    (trial,) = running.runs
    history = running.history(trial)
    assert len(history) >= 2
    assert {s.stopped for s in history[:-1]} == {"timeout"} and len(
        {s.job_id for s in history}
    ) == 1
    running.check()


def test_launcher_killed(sweep: Make) -> None:
    running = sweep("-m", *TRIAL, "train.seed=1,2,3", "parallel=2")
    trial = running.at_step(2)
    job = (trial.status() or _none()).job_id
    running.kill()
    code, output = running.start().end()
    assert code == 0, output
    assert [row["outcome"] for row in running.rows()] == ["ok"] * 3
    assert all(len(running.history(run)) == 1 for run in running.runs)
    assert (trial.status() or _none()).job_id == job
    assert len(list(running.folder.glob("submissions/*"))) == 1


def test_launcher_killed_before_it_wrote_the_job_down(sweep: Make, slurm: Cluster) -> None:
    """Between sbatch and its bookkeeping: the job is found again by its name, and only it runs."""
    running = sweep(*TRIAL)
    trial = running.wait(lambda run: list(run.path.parent.glob("submissions/*/job_id")))
    running.kill()
    (number,) = running.folder.glob("submissions/*/job_id")
    job = number.read_text().strip()
    number.unlink()
    code, output = running.start().end()
    assert code == 0, output
    assert [s.job_id for s in running.history(trial)] == [job]
    assert len(list(running.folder.glob("submissions/*"))) == 1


def test_launcher_killed_while_sbatch_is_under_way(
    sweep: Make, slurm: Cluster, tmp_path: Path
) -> None:
    """Calling launch again submits again, and the late job of the first call sees itself replaced."""
    late, go_on = tmp_path / "bin" / "sbatch", tmp_path / "go on"
    late.parent.mkdir()
    real = shutil.which("sbatch", path=slurm.environment["PATH"])
    late.write_text(f'#!/bin/sh\nuntil [ -e "{go_on}" ]; do sleep 0.1; done\nexec {real} "$@"\n')
    late.chmod(0o755)
    running = sweep(*TRIAL, PATH=f"{late.parent}:{slurm.environment['PATH']}")
    trial = running.wait(lambda run: list(run.path.parent.glob("submissions/*/job.sh")))
    (folder,) = running.folder.glob("submissions/*")
    running.kill()
    running.environment["PATH"] = slurm.environment["PATH"]
    running.start().at_step(1)
    go_on.touch()
    code, output = running.end()
    assert code == 0, output
    (second_folder,) = {path for path in running.folder.glob("submissions/*")} - {folder}
    status = trial.status()
    assert status and status.submission == second_folder.name
    limits.until(lambda: list(folder.glob("*.txt")))
    limits.until(lambda: not slurm.run("squeue", "--noheader"))
    printed = "".join(path.read_text() for path in folder.glob("*.txt"))
    assert printed == "this job is not the one that is to run this; nothing is started\n"
    assert trial.status() == status
    running.check()


def test_slurmctld_restarted(sweep: Make, slurm: Cluster) -> None:
    running = sweep(*TRIAL)
    trial = running.at_step(3)
    slurm.script("kill-daemon", "slurmctld")
    time.sleep(4)  # several questions that nobody answers
    slurm.script("start")
    code, output = running.end()
    assert code == 0, output
    assert len(running.history(trial)) == 1


def test_slurmdbd_down(sweep: Make, slurm: Cluster) -> None:
    slurm.script("kill-daemon", "slurmdbd")
    try:
        running = sweep("-m", *TRIAL, "train.seed=1,2")
        trial = running.at_step(1)
        slurm.run("scancel", (trial.status() or _none()).job_id or "")
        code, output = running.end()
    finally:
        slurm.script("start")
    assert code == 0, output
    assert sorted(row["outcome"] for row in running.rows()) == ["cancelled", "ok"]


def test_full_disk(sweep: Make, slurm: Cluster) -> None:
    """Nothing more is submitted, what waits is taken back, and with room the same command goes on."""
    if os.geteuid():
        pytest.skip("needs root, to mount a file system")
    ballast = slurm.small / "ballast"
    words = ("-m", *TRIAL, "train.seed=1,2", "parallel=1", "scheduler.checks.probe_mib=1")
    running = sweep(*words, output=slurm.small / "runs")
    running.at_step(5)
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    code, output = running.end()
    assert code == 1, output
    assert "No space left on device" in output and "Traceback" not in output
    ballast.unlink()
    limits.until(lambda: not slurm.run("squeue", "--noheader"))
    code, output = running.start().end()
    assert code == 0, output
    assert [row["outcome"] for row in running.rows()] == ["ok"] * 2, output
    running.check()


def test_a_node_whose_card_somebody_else_uses(sweep: Make, slurm: Cluster, tmp_path: Path) -> None:
    """Found by the check before the start, named in the table, and the trial goes elsewhere."""
    for node, free, processes in (("node1", 39, [[1, 40 << 30]]), ("node2", 80, [])):
        card = {"name": "NVIDIA H100", "memory": [80 << 30, free << 30], "processes": processes}
        (tmp_path / f"{node}.json").write_text(json.dumps({"cards": [card]}))
    running = sweep(
        *TRIAL,
        "scheduler.checks.cards=1",
        f"scheduler.environment.PYTHONPATH={DOUBLES}",
        f"scheduler.environment.FAKE_NVML='{tmp_path}/{{node}}.json'",
    )
    code, output = running.end()
    assert code == 0, output
    (trial,) = running.runs
    first, second = running.history(trial)
    assert first.nodes == first.bad_nodes == ("node1",) and second.nodes == ("node2",)
    assert first.reason and first.reason.startswith("node1: card 0: process 1 ")
    assert "runs again" in output


def test_cancel_from_another_shell(sweep: Make) -> None:
    running = sweep("-m", *TRIAL, "train.steps=2000", "train.seed=1,2,3", "parallel=1")
    running.at_step(1)
    running.kill()
    completed = subprocess.run(
        command(["cancel", str(running.folder)]),
        env=running.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0 and completed.stdout.startswith("ended 3 jobs: "), completed
    assert [row["outcome"] for row in running.rows()] == ["cancelled"] * 3


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def _none() -> "object":
    raise AssertionError("no status")
