"""Sources: their names and digests."""

from pathlib import Path

from launcher.foreign.source import digest, source_name


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
