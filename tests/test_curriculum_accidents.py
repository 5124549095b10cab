"""A staged run meets a full disk and data that vanishes: nothing is lost, and it ends the same.

Modules: launcher.campaign.stage_plan.
"""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from launcher.results.run_folder import RunFolder
from tests import kills, limits
from tests.conftest import ROOT, command, environment

SMALL = (
    "model.layers=2", "model.hidden=64", "model.ffn=128", "model.heads=4", "model.kv_heads=2",
    "model.vocab=512", "data.tokenizer=bytes", "cluster.gpus_per_node=1", "checkpoint_every=5",
    "train.global_batch=8", "layout.micro_batch=4", "tracking.tensorboard=false",
)  # fmt: skip
STAGES = ("1-first", "2-second")
MIB = 2**20


def words(name: str, text: Path, tokens: int = 20480) -> tuple[str, ...]:
    """Two stages of 40 steps over a user's own text."""
    stage = f"{{tokens: {tokens}, blend: {{{text}: 1.0, bundled/prose: 1.0}}}}"
    stages = f"curriculum={{name: {name}, stages: {{first: {stage}, second: {stage}}}}}"
    return (stages, *SMALL)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "mine.txt"
    path.write_text((ROOT / "README.md").read_text() * 20)
    return path


@pytest.fixture(scope="module")
def calm(text: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("calm")
    assert kills.finished(folder, cache, words("run", text)) == 0
    return kills.outcome(folder / "run", STAGES)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_disk_that_is_full_for_a_while(
    small_disk: Path, text: Path, cache: Path, calm: dict[str, object]
) -> None:
    """Training goes on while saves fail, from the first one on, which has no older one to make room."""
    log, launcher, first = begun(small_disk, text, cache, steps=1)
    second = RunFolder(small_disk / "run" / STAGES[1])
    with full(small_disk):
        limits.until(lambda: bool(failures(first) or failures(second)))
    assert launcher.wait(limits.COMMAND) == 0, log.read_text()
    assert kills.outcome(small_disk / "run", STAGES) == calm
    run = first if failures(first) else second
    failed = failures(run)[0]
    assert failed["reason"] == "No space left on device"
    line = f"WARNING checkpoint at step {failed['step']} failed: rank 0: No space left on device\n"
    assert line in run.log(0).read_text()


def test_a_disk_that_stays_full(
    small_disk: Path, text: Path, cache: Path, calm: dict[str, object]
) -> None:
    """The last checkpoint of a stage has to be there; the same command trains what it lacks."""
    log, launcher, _ = begun(small_disk, text, cache, steps=7)
    with full(small_disk):
        assert launcher.wait(limits.COMMAND) == 1
    output = log.read_text()
    # Which of the two: an older checkpoint that makes room may save the first.
    failed = r"\] disk      \d-(\w+)  CheckpointError: the last checkpoint of stage \1, which"
    assert re.search(failed, output), output
    assert "launch: disk: once its cause is mended, the same command goes on" in output
    assert start(small_disk, cache, words("run", text), log).wait(limits.COMMAND) == 0
    assert kills.outcome(small_disk / "run", STAGES) == calm


def failures(run: RunFolder) -> list[dict[str, object]]:
    return [event for event in run.events() if event["kind"] == "save_failed"]


def begun(
    disk: Path, text: Path, cache: Path, steps: int
) -> tuple[Path, "subprocess.Popen[bytes]", RunFolder]:
    """Return what a launch prints, itself, and its first stage, which has trained that many steps."""
    log = disk.parent / "launch.txt"
    launcher = start(disk, cache, words("run", text), log)
    first = RunFolder(disk / "run" / STAGES[0])
    limits.until(lambda: len(first.steps()) >= steps)
    return log, launcher, first


def test_a_disk_with_no_room_for_the_checkpoints(small_disk: Path, text: Path, cache: Path) -> None:
    """The message comes before anything starts."""
    log = small_disk.parent / "launch.txt"
    request = (*words("run", text), "checkpoints.keep_last=30")
    assert start(small_disk, cache, request, log).wait(limits.COMMAND) == 2
    last = log.read_text().splitlines()[-1]
    assert last.startswith(f"launch: output: {small_disk}/run has 24.0 MiB free, the checkpoints")
    assert not (small_disk / "run").exists()


def test_data_that_vanishes(
    tmp_path: Path, text: Path, cache: Path, calm: dict[str, object]
) -> None:
    """A stage that runs has it mapped; the next start names the file, and goes on once it is back."""
    log, moved = tmp_path / "launch.txt", text.with_suffix(".kept")
    launcher = start(tmp_path, cache, words("run", text), log)
    first = RunFolder(tmp_path / "run" / STAGES[0])
    limits.until(lambda: len(first.steps()) >= 3)
    text.rename(moved)
    try:
        assert launcher.wait(limits.COMMAND) == 1
        assert first.result() is not None, log.read_text()
        assert "data      2-second" in log.read_text()
        assert start(tmp_path, cache, words("run", text), log).wait(limits.COMMAND) == 2
        assert log.read_text().splitlines()[-1] == (
            f"launch: curriculum.stages.first.blend: {text}: No such file or directory"
        )
    finally:
        moved.rename(text)
    assert start(tmp_path, cache, words("run", text), log).wait(limits.COMMAND) == 0
    assert kills.outcome(tmp_path / "run", STAGES) == calm


def test_a_text_that_is_too_short(tmp_path: Path, cache: Path) -> None:
    """The first stage knows how often the second would read it."""
    short = tmp_path / "short.txt"
    short.write_text("a few words " * 40)
    log = tmp_path / "launch.txt"
    request = words("run", short, tokens=2048)
    assert start(tmp_path, cache, request, log).wait(limits.COMMAND) == 1
    assert "DataError: curriculum.stages.second: " in log.read_text()
    assert "epochs, curriculum.max_epochs is 4" in log.read_text()
    first_log = log.read_text()
    assert (
        start(tmp_path, cache, request, log).wait(limits.COMMAND) == 2
    )  # now that it is tokenised
    assert "curriculum.max_epochs is 4" in log.read_text().removeprefix(first_log).splitlines()[-1]


def start(
    folder: Path, cache: Path, request: tuple[str, ...], log: Path
) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            command([*request, f"output={folder}"]),
            env=environment(cache),
            cwd=log.parent,
            stdout=output,
            stderr=output,
        )


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Take what there is, and what a removed checkpoint gives back, but for lines of metrics."""
    over = threading.Event()

    def take() -> None:
        with (disk / "ballast").open("ab", buffering=0) as file:
            while not over.wait(0.001):
                # All at once: a checkpoint that is written meanwhile must not win the race.
                room = shutil.disk_usage(disk).free - MIB // 2
                if room > 0:
                    with suppress(OSError):
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, room)

    taker = threading.Thread(target=take)
    taker.start()
    try:
        yield
    finally:
        over.set()
        taker.join()
        (disk / "ballast").unlink()
