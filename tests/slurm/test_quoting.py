"""Names, paths and values of any text never reach a shell; what is submitted is what was shown."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from launcher.results.run_folder import RunFolder
from tests.conftest import ROOT, command
from tests.slurm.conftest import Cluster, Make, Sweep, ranks_of

ODD = ("a b", 'it\'s "x"', "$(touch HACKED)", "new\nline", "ü漢", "; touch HACKED #", "-n")
SMALL = ("cluster.gpus_per_node=1", "data.tokenizer=bytes", "train.steps=10")
HELD = "scheduler.sbatch.hold=true"


def test_any_text_is_data(sweep: Make, slurm: Cluster, tmp_path: Path) -> None:
    """All of them at once: two trials in an array, one after the other."""
    text = " ".join(ODD)
    line = text.replace("\n", " ")  # where SLURM has lines
    loaded = tmp_path / "bin" / "module"
    loaded.parent.mkdir()
    loaded.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" >> {tmp_path}/loaded\n')
    loaded.chmod(0o755)
    running = sweep(
        "-m", *SMALL, "train.seed=1,2", "parallel=1", f"name={text}",
        f"scheduler.environment={written({'A': text, 'B': '%j'})}",
        f"scheduler.sbatch={written({'comment': f'{line} %j'})}",
        f"scheduler.modules={written([text])}", f"tracking.group={written(text)}",
        f"tracking.tags={written([text, '%j'])}",
        output=tmp_path / text, PATH=f"{loaded.parent}:{slurm.environment['PATH']}",
    )  # fmt: skip
    trial = running.wait(ranks_of, timeout=200)
    environ = Path(f"/proc/{ranks_of(trial)[0]}/environ").read_bytes().decode().split("\0")
    assert f"A={text}" in environ and "B=%j" in environ
    code, out = running.end()
    assert code == 0, out
    assert [row["outcome"] for row in running.rows()] == ["ok", "ok"]
    assert running.folder.name == text
    assert (tmp_path / "loaded").read_text() == f"load\0{text}\0" * 2
    status = trial.status()
    assert status and status.job_id
    comment = slurm.run("sacct", "-X", "-n", "-P", "-o", "Comment", "-j", status.job_id)
    kept, rest = comment.split("ü")  # slurmdbd's tables need not know more letters than these
    assert kept == line.partition("ü")[0] and rest.endswith(" ; touch HACKED # -n %j\n")
    kept = json.loads((trial.path / "tracking.json").read_text())
    assert kept["group"] == text and {text, "%j"} <= set(kept["tags"])
    running.check()
    assert not hacked(tmp_path, slurm)


def test_a_folder_that_slurm_would_expand(sweep: Make, slurm: Cluster, tmp_path: Path) -> None:
    running = sweep(*SMALL, output=tmp_path / "100%j %A 50%")
    code, out = running.end()
    assert code == 0, out


def written(value: object) -> str:
    """A value for the command line: a mapping is YAML, in Hydra's texts a line ends where it does."""
    text = json.dumps(value, ensure_ascii=False)
    return text if isinstance(value, dict) else text.replace("\\n", "\n")


def hacked(folder: Path, slurm: Cluster) -> list[Path]:
    """What a shell would have made, wherever it was at work."""
    places = (folder, slurm.folder, ROOT, Path.cwd(), Path.home())
    return [path for place in places for path in (place / "HACKED", *place.glob("*/HACKED"))
            if path.exists()] + list(folder.rglob("HACKED"))  # fmt: skip


def launch(running: Sweep, *words: str, root: Path = ROOT, **variables: str | None) -> str:
    """``launch WORDS...`` in the environment of a sweep; what it prints."""
    changed = {**running.environment, "PYTHONPATH": str(root), **variables}
    environment = {name: value for name, value in changed.items() if value is not None}
    done = subprocess.run(command(words), env=environment, cwd=running.output.parent, timeout=120,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def idle(sweep: Make, slurm: Cluster, tmp_path: Path) -> Sweep:
    """A sweep that has not been started: its words and its environment."""
    made = sweep("model=none")
    made.end()
    made.words = ["cluster=local_slurm", f"output={made.output}", HELD, *SMALL]
    return made


def test_a_dry_run_shows_what_is_submitted_then(idle: Sweep) -> None:
    words = ["-m", *idle.words, "train.seed=1,2", "scheduler.setup=[ulimit -n 4096]",
             "scheduler.sbatch.comment=it's"]  # fmt: skip
    shown = launch(idle, "submit", "--dry-run", *words, MEGALAUNCH_CACHE=None)
    assert not idle.output.exists(), "a dry run creates nothing"
    assert launch(idle, "submit", *words).splitlines()[0] == (
        "2 of 2 points are queued or running; then:"
    )
    (script,) = idle.folder.glob("submissions/*/job.sh")
    token = re.compile(r"[0-9a-f]{12}(?=/|\n|$)")
    assert token.sub("TOKEN", script.read_text()) in token.sub("TOKEN", shown)
    assert shown.splitlines()[0] == "# 2 jobs, each in its own folder:"
    assert {f"#   {json.dumps(str(run.path))}" for run in idle.runs} <= set(shown.splitlines())
    assert "ended 2 jobs: " in launch(idle, "cancel", str(idle.output))


def test_editing_the_checkout_changes_nothing_for_what_is_queued(
    idle: Sweep, slurm: Cluster, tmp_path: Path
) -> None:
    checkout = tmp_path / "a checkout"
    for package in ("launcher", "slurm", "sweeps", "analysis", "conf"):
        shutil.copytree(ROOT / package, checkout / package,
                        ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
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
    """SLURM's number for a job that waits."""
    status = trial.status()
    assert status and status.submission
    path = trial.path.parent / "submissions" / status.submission / "job_id"
    return path.read_text().strip()
