"""Kill a staged run at random moments of each kind, continue it, and say what it came to.

python -m tests.kills [--kills 20] [--seed N]   # the long form of tests/test_curriculum_kill.py
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from launcher.files import read_json
from launcher.results.run_folder import RunFolder
from tests import limits
from tests.conftest import command, environment

STAGES = ("1-web", "2-english", "3-synthetic", "4-specialised")

SMALL = (
    "model.layers=2", "model.hidden=64", "model.ffn=128", "model.heads=4", "model.kv_heads=2",
)  # fmt: skip
"""Most of a run's time is then its start, of which a kill makes another one."""


def words(times: int = 1) -> tuple[str, ...]:
    """Twelve, ten, eight and ten steps, or so many times as many; a checkpoint every other one."""
    steps = zip(STAGES, (12, 10, 8, 10), strict=True)
    return (
        "curriculum=four_stage",
        "checkpoint_every=2",
        "max_attempts=100",
        "train.optimizer.warmup_steps=3",
        "train.optimizer.decay_steps=6",
        *SMALL,
        *(
            f"curriculum.stages.{name.split('-')[1]}.tokens={times * count * 1024}"
            for name, count in steps
        ),
    )


WORDS = words()

KINDS = ("step", "write", "boundary", "start", "rank")
"""In a step, while a checkpoint is written, between two stages, in set-up; one rank alone."""


def start(folder: Path, cache: Path, request: Sequence[str] = WORDS) -> "subprocess.Popen[bytes]":
    """The command, which runs or continues."""
    with (folder / "launch.txt").open("ab") as log:
        return subprocess.Popen(
            command([*request, f"output={folder}"]),
            env=environment(cache),
            cwd=folder,
            stdout=log,
            stderr=log,
        )


def finished(folder: Path, cache: Path, request: Sequence[str] = WORDS) -> int:
    """Run to the end; the exit code."""
    return start(folder, cache, request).wait(limits.COMMAND)


def killed(folder: Path, cache: Path, kind: str, request: Sequence[str] = WORDS) -> bool:
    """Start, and end everything by SIGKILL at a moment of a kind; False where that did not come."""
    launcher = start(folder, cache, request)
    deadline = time.monotonic() + limits.EVENT
    reached = _reached(kind, folder)
    came = False
    while launcher.poll() is None and not came and time.monotonic() < deadline:
        time.sleep(0.001 if kind == "write" else 0.02)
        came = reached()
    if kind not in ("write", "start"):
        time.sleep(random.uniform(0, 0.5))
    if launcher.poll() is not None:
        return False
    processes = psutil.Process(launcher.pid).children(recursive=True)
    ranks = [process for process in processes if is_rank(process)]
    if kind == "rank" and ranks:
        random.choice(ranks).kill()
        time.sleep(random.uniform(0, 2))
    launcher.kill()
    launcher.wait()
    alive = psutil.wait_procs(ranks, limits.EVENT)[1]
    assert not alive, "the ranks did not die with their launcher"
    return came


def is_rank(process: psutil.Process) -> bool:
    """Return True for a rank, started by itself or forked: its log is open."""
    try:
        return any(Path(file.path).match("log/rank*.txt") for file in process.open_files())
    except psutil.Error:
        return False


def _reached(kind: str, folder: Path) -> Callable[[], bool]:
    """Return True once a moment has come, of a run that goes on from where it is now."""
    run = folder / "four_stage"
    results, steps = len(_results(run)), _steps(run)
    more, wait = random.randint(1, 5), time.monotonic() + random.uniform(0.5, 6)

    def reached() -> bool:
        if kind == "write":
            return any(run.glob("*/checkpoints/.step-*.attempt*")) and _steps(run) > steps
        if kind == "boundary":
            return len(_results(run)) > results
        if kind == "start":
            return time.monotonic() > wait
        return _steps(run) >= steps + more

    return reached


def _results(run: Path) -> list[Path]:
    return list(run.glob("*/result.json"))


def _steps(run: Path) -> int:
    """Lines of metrics so far, of stages that run or ran."""
    return sum(len(path.read_bytes().splitlines()) for path in run.glob("*/metrics.jsonl"))


def outcome(run: Path, stages: Sequence[str] = STAGES) -> dict[str, Any]:
    """All that two runs of one curriculum must agree in, to the last bit."""
    steps = [line for name in stages for line in RunFolder(run / name).steps()]
    last = run / stages[-1] / "checkpoints"
    manifest = read_json(last / (last / "latest").read_text().strip() / "manifest.json")
    return {
        "steps": [line["step"] for line in steps],
        "losses": [line["loss"] for line in steps],
        "norms": [line["grad_norm"] for line in steps],
        "rates": [line["lr"] for line in steps],
        "samples": [line["samples"] for line in steps],
        "weights": {name: part["sha256"] for name, part in manifest["files"].items()},
        "taken": [read_json(run / name / "result.json")["samples"] for name in stages],
    }


def main() -> None:
    """Kill a run many times, compare it with one that was left alone, and say how that went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as place:
        left_alone, disturbed = Path(place) / "a", Path(place) / "b"
        for folder in (left_alone, disturbed):
            folder.mkdir()
        cache = Path(place) / "cache"
        request = words(1 + options.kills // 10)  # long enough for the last of them
        assert finished(left_alone, cache, request) == 0
        hits: Counter[str] = Counter()
        for number in range(options.kills):
            kind = KINDS[number % len(KINDS)]
            if kind == "boundary" and len(_results(disturbed / "four_stage")) >= len(STAGES) - 1:
                kind = "write"  # the next one would be the end
            began = time.monotonic()
            hits[kind] += killed(disturbed, cache, kind, request)
            print(
                f"kill {number + 1}: {kind}, {time.monotonic() - began:.1f} s after the start,"
                f" at {_steps(disturbed / 'four_stage')} steps",
                flush=True,
            )
        assert finished(disturbed, cache, request) == 0
        undisturbed, resumed = (outcome(path / "four_stage") for path in (left_alone, disturbed))
        equal = {key: undisturbed[key] == resumed[key] for key in undisturbed}
        print(
            json.dumps({"kills": dict(hits), "same": equal, "samples": undisturbed["samples"][-1]})
        )
        sys.exit(0 if all(equal.values()) else 1)


if __name__ == "__main__":
    main()
