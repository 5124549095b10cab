"""Names, paths and values of any text never reach a shell; a dry run shows what is submitted.

Modules: slurm.script, slurm.code.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from launcher.results.run_folder import RunFolder
from tests import limits
from tests.conftest import ROOT, command
from tests.slurm.conftest import Cluster, Make, Sweep, ranks_of

ODD = ("a b", 'it\'s "x"', "$(touch HACKED)", "new\nline", "ü漢", "; touch HACKED #", "-n")
SMALL = ("cluster.gpus_per_node=1", "data.tokenizer=bytes", "train.steps=10")
ON_HOLD = "scheduler.sbatch.hold=true"


def test_any_text_is_data(sweep: Make, slurm: Cluster, tmp_path: Path) -> None:
    """All of them at once: two trials in an array, one after the other."""
    text = " ".join(ODD)
    line = text.replace("\n", " ")  # where SLURM has lines
    loaded = tmp_path / "bin" / "module"
    loaded.parent.mkdir()
    loaded.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" >> {tmp_path}/loaded\n')
    loaded.chmod(0o755)
    running = sweep(
        *("-m", *SMALL, "train.seed=1,2", "parallel=1", f"name={text}"),
        f"scheduler.environment={written({'A': text, 'B': '%j'})}",
        f"scheduler.sbatch={written({'comment': f'{line} %j'})}",
        f"scheduler.modules={written([text])}",
        f"tracking.group={written(text)}",
        f"tracking.tags={written([text, '%j'])}",
        output=tmp_path / text,
        PATH=f"{loaded.parent}:{slurm.environment['PATH']}",
    )
    trial = running.wait(ranks_of)
    environ = Path(f"/proc/{ranks_of(trial)[0]}/environ").read_bytes().decode().split("\0")
    assert f"A={text}" in environ and "B=%j" in environ
    code, output = running.end()
    assert code == 0, output
    assert [row["outcome"] for row in running.rows()] == ["ok", "ok"]
    assert running.folder.name == text
    assert (tmp_path / "loaded").read_text() == f"load\0{text}\0" * 2
    status = trial.status()
    assert status and status.job_id
    comment = slurm.run("sacct", "-X", "-n", "-P", "-o", "Comment", "-j", status.job_id)
    letters, tail = comment.split("ü")  # slurmdbd's tables need not know more letters than these
    assert letters == line.partition("ü")[0] and tail.endswith(" ; touch HACKED # -n %j\n")
    tracking = json.loads((trial.path / "tracking.json").read_text())
    assert tracking["group"] == text and {text, "%j"} <= set(tracking["tags"])
    running.check()
    assert not hacked(tmp_path, slurm)


def test_a_folder_that_slurm_would_expand(sweep: Make, slurm: Cluster, tmp_path: Path) -> None:
    running = sweep(*SMALL, output=tmp_path / "100%j %A 50%")
    code, output = running.end()
    assert code == 0, output


def written(value: object) -> str:
    """A value for the command line: a mapping is YAML, in Hydra's texts a line ends where it does."""
    text = json.dumps(value, ensure_ascii=False)
    return text if isinstance(value, dict) else text.replace("\\n", "\n")


def hacked(folder: Path, slurm: Cluster) -> list[Path]:
    """Files that a shell would have made from the names, wherever it ran."""
    parents = (folder, slurm.folder, ROOT, Path.cwd(), Path.home())
    files = [path for parent in parents for path in (parent / "HACKED", *parent.glob("*/HACKED"))]
    return [path for path in files if path.exists()] + list(folder.rglob("HACKED"))


def launch(running: Sweep, *words: str, root: Path = ROOT, **variables: str | None) -> str:
    """Run ``launch WORDS...`` in the environment of a sweep, and return its output."""
    changed = {**running.environment, "PYTHONPATH": str(root), **variables}
    environment = {name: value for name, value in changed.items() if value is not None}
    completed = subprocess.run(
        command(words),
        env=environment,
        cwd=running.output.parent,
        timeout=limits.COMMAND,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@pytest.fixture
def idle(sweep: Make, slurm: Cluster, tmp_path: Path) -> Sweep:
    """A sweep that has not been started: its words and its environment."""
    waiting = sweep("model=none")
    waiting.end()
    waiting.words = ["cluster=local_slurm", f"output={waiting.output}", ON_HOLD, *SMALL]
    return waiting


def test_a_dry_run_shows_what_is_submitted_then(idle: Sweep) -> None:
    words = ["-m", *idle.words, "train.seed=1,2", "scheduler.setup=[ulimit -n 4096]"]
    words += ["scheduler.sbatch.comment=it's"]
    printed = launch(idle, "submit", "--dry-run", *words, MEGALAUNCH_CACHE=None)
    assert not idle.output.exists(), "a dry run creates nothing"
    assert launch(idle, "submit", *words).splitlines()[0] == (
        "2 of 2 points are queued or running; then:"
    )
    (script,) = idle.folder.glob("submissions/*/job.sh")
    token = re.compile(r"[0-9a-f]{12}(?=/|\n|$)")
    assert token.sub("TOKEN", script.read_text()) in token.sub("TOKEN", printed)
    assert printed.splitlines()[0] == "# 2 jobs, each in its own folder:"
    assert {f"#   {json.dumps(str(run.path))}" for run in idle.runs} <= set(printed.splitlines())
    assert "ended 2 jobs: " in launch(idle, "cancel", str(idle.output))


def test_editing_the_checkout_changes_nothing_for_what_is_queued(
    idle: Sweep, slurm: Cluster, tmp_path: Path
) -> None:
    checkout = tmp_path / "a checkout"
    for package in ("launcher", "slurm", "sweeps", "analysis", "conf"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, checkout / package, ignore=ignore)
    launch(idle, "submit", *idle.words, root=checkout)
    (trial,) = idle.runs
    (copy,) = (idle.output / ".code").iterdir()
    worker = checkout / "launcher" / "workers" / "train.py"
    worker.write_text("raise SystemExit('edited')\n")
    (checkout / "slurm" / "node" / "rank.py").unlink()
    slurm.run("scontrol", "release", job_of(trial))
    launch(idle, *idle.words, root=checkout)  # the same command takes it over
    (row,) = idle.rows()
    assert (row["outcome"], row["attempt"]) == ("ok", 1)
    status = trial.status()
    assert status and status.code == copy.name
    assert list((idle.output / ".code").iterdir()) == [copy]


def job_of(trial: RunFolder) -> str:
    """SLURM's job id of a run that waits."""
    status = trial.status()
    assert status and status.submission
    path = trial.path.parent / "submissions" / status.submission / "job_id"
    return path.read_text().strip()
