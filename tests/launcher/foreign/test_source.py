"""Sources: their names and digests."""

from pathlib import Path

import pytest

from launcher.foreign.source import digest, log_files, source_name


def test_folders_of_events_are_told_apart() -> None:
    assert source_name(Path("a/tensorboard")) == "a/tensorboard"
    assert source_name(Path("a/run_7")) == "run_7"


def test_a_digest_is_of_the_contents(tmp_path: Path) -> None:
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    first.write_text("line")
    second.write_text("line")
    assert digest(first) == digest(second)
    second.write_text("line 2")
    assert digest(first) != digest(second)


def test_a_digest_of_a_folder_is_of_its_event_files(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(b"1")
    first = digest(tmp_path)
    (tmp_path / "notes.txt").write_text("not read")
    assert digest(tmp_path) == first
    (tmp_path / "events.out.tfevents.2").write_bytes(b"2")
    assert digest(tmp_path) != first


@pytest.mark.parametrize(
    ("name", "is_log"),
    [
        ("run.log", True), ("slurm-7.out", True), ("slurm-7.err", True), ("stdout.log", True), ("stdout", True),
        ("log_node0.txt", True), ("out.0", True), ("0", True), ("rank_3", True), ("job.o17", True), ("job.e17", True),
        ("run.log.gz", True), ("run.log.2", True), ("RUN.LOG.ZST", True), ("README.txt", False), ("core.1234", False),
        ("requirements.txt", False), ("config.yaml", False), ("model.pt", False), (".run.log", False),
        ("metrics.jsonl", False), ("grid.csv", False), ("train.py", False), ("weights", False),
    ],
)  # fmt: skip
def test_names_of_logs(tmp_path: Path, name: str, is_log: bool) -> None:
    (tmp_path / name).write_text("line\n")
    (tmp_path / "empty.log").touch()
    assert log_files(tmp_path) == ([tmp_path / name] if is_log else [])


def test_a_digest_of_a_folder_without_events_is_of_its_logs(tmp_path: Path) -> None:
    (tmp_path / "rank_0.log").write_text("line")
    first = digest(tmp_path)
    (tmp_path / "config.yaml").write_text("not read")
    assert digest(tmp_path) == first
    (tmp_path / "rank_1.log").write_text("line")
    assert digest(tmp_path) != first


def test_the_name_of_several_files() -> None:
    assert source_name(Path("a/rank_0.log"), Path("a/rank_7.log")) == "rank_0.log + rank_7.log"
