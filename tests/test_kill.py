"""A sweep whose launcher and ranks are killed at random moments ends like an undisturbed one.

Modules: launcher.campaign.interrupt.
"""

import csv
import json
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from launcher.results.run_folder import RunFolder
from tests import limits
from tests.conftest import command, environment
from tests.kills import SMALL, is_rank

SEED = 20261121

WORDS = [
    "sweep=parallelism_grid",
    "sweep.strategy=grid",
    "sweep.axes.layout.tp=[1,2]",
    "sweep.axes.layout.pp=[1,3]",
    "layout.vpp=1",
    "layout.cp=1",
    "layout.ep=1",
    "layout.micro_batch=2",
    "layout.recompute=none",
    "sweep.where=layout.zero in [1, 3] and (layout.tp == 1 or layout.zero == 1)",
    "train.steps=4",
    *SMALL,
]
"""Five trials that train and some that are rejected."""

COMPARED = ("row", "spec_id", "outcome", "cause", "backend", "tp", "pp", "zero", "steps",
        "loss_first", "loss_last", "grad_norm_max")  # fmt: skip
"""Columns in which two runs of one sweep must agree to the last digit."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> list[tuple[str, ...]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    start(folder, cache).wait(limits.COMMAND)
    best = folder / "parallelism_grid" / "best.yaml"
    (offered,) = [
        line for line in (folder / "stderr.txt").read_text().splitlines() if "(*)" in line
    ]
    file = best.relative_to(folder)  # where the launcher runs
    real = f"launch --config {file} train.steps=N checkpoint_every=N output={folder}"
    assert offered == f"the real run, at the fastest layout (*): {real}"
    words = ["plan", "--config", str(best), "--format", "json"]
    planned = subprocess.run(command(words), env=environment(cache), capture_output=True, text=True)
    assert [row["plan"] for row in json.loads(planned.stdout)] == ["run"], planned.stderr
    return table(folder, cache)


KILLS = (
    ("start", "launcher"), ("train", "rank"), ("train", "launcher"), ("train", "rank"),
    ("train", "launcher"),
)  # fmt: skip
"""Five kills: in seconds after the start, or after the first rank; and of whom."""


def test_killed_at_five_random_moments(
    undisturbed: list[tuple[str, ...]], tmp_path: Path, cache: Path
) -> None:
    random.seed(SEED)
    finished: dict[str, float] = {}
    hits = 0
    for moment, target in KILLS:
        launcher = start(tmp_path, cache)
        if moment == "train":
            limits.until(
                lambda sweep=launcher: ranks_of(sweep) or sweep.poll() is not None, every=0.2
            )
        with suppress(subprocess.TimeoutExpired):
            launcher.wait(random.uniform(0, 3))
        assert finished.items() <= ended(tmp_path).items(), "a finished trial was run again"
        finished = ended(tmp_path)
        ranks = ranks_of(launcher)
        hits += len(ranks)
        if target == "rank" and ranks:
            random.choice(ranks).kill()
            time.sleep(random.uniform(0, 3))
        launcher.kill()
        launcher.wait(limits.COMMAND)
        assert not psutil.wait_procs(ranks, timeout=limits.EVENT)[1], "a rank outlives its launcher"
    assert hits, "no kill hit a launcher with ranks"
    last = start(tmp_path, cache)
    last.wait(limits.COMMAND)
    assert last.returncode == 0
    assert finished.items() <= ended(tmp_path).items(), "a finished trial was run again"
    assert table(tmp_path, cache) == undisturbed
    assert list(tmp_path.glob("parallelism_grid/*/attempts/1")), "no kill hit a running trial"


def start(folder: Path, cache: Path) -> "subprocess.Popen[bytes]":
    with (folder / "stderr.txt").open("ab") as errors:
        return subprocess.Popen(
            command([*WORDS, f"output={folder}"]),
            env=environment(cache),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )


def table(folder: Path, cache: Path) -> list[tuple[str, ...]]:
    words = ["table", str(folder), "--format", "csv", "--sort", "row"]
    process = subprocess.run(
        command(words), env=environment(cache), capture_output=True, text=True, check=True
    )
    rows = [
        tuple(row[name] for name in COMPARED) for row in csv.DictReader(process.stdout.splitlines())
    ]
    assert sum(row[2] == "ok" for row in rows) == 5
    assert sum(row[2] == "rejected" for row in rows) >= 3
    return rows


def ended(folder: Path) -> dict[str, float]:
    """Spec id -> when it ended, of the trials that ended well; every file must be whole."""
    times = {}
    for path in (folder / "parallelism_grid").glob("*/status.json"):
        json.loads(path.read_text())
        trial = RunFolder(path.parent)
        trial.spec(), trial.steps()
        status = trial.status()
        if status and status.state == "ended" and trial.result():
            assert status.ended is not None
            times[path.parent.name] = status.ended
    return times


def ranks_of(launcher: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    try:
        children = psutil.Process(launcher.pid).children(recursive=True)
        return [child for child in children if is_rank(child)]
    except psutil.Error:
        return []


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path, cache: Path) -> None:
    words = ["-m", "layout.tp=1,2", f"output={tmp_path}", "name=my runs"]
    launcher = subprocess.Popen(
        command(words),
        env=environment(cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ranks = limits.until(lambda: ranks_of(launcher), every=0.2)
    launcher.send_signal(signal.SIGINT)
    stdout, stderr = launcher.communicate(timeout=limits.COMMAND)
    assert launcher.returncode == 1 and stdout == ""
    assert stderr.splitlines()[-2:] == [
        "launch: stopped with 0 of 2 points done; to go on:",
        f"  launch -m layout.tp=1,2 output={tmp_path} 'name=my runs'",
    ]
    assert "Traceback" not in stderr
    assert not psutil.wait_procs(ranks, timeout=limits.EVENT)[1]
    (status,) = [json.loads(p.read_text()) for p in tmp_path.glob("my runs/*/status.json")]
    assert (status["state"], status["stopped"]) == ("ended", "cancelled")
