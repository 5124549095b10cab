"""A sweep's folder: damaged files of it cost their own content, and one launcher at a time works."""

import json
from pathlib import Path

import pytest

from launcher.errors import ConfigError, ReadError
from launcher.results.record import RunRecord
from launcher.results.sweep_folder import SavedCommand, SweepFolder
from tests.conftest import spec


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "s")


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ('["b", "a"]', {"b": 0, "a": 1}),
        ("[]", {}),
        (None, {}),
        ('["b", ', {}),
        ('{"b": 0}', {}),
        ('["b", 1]', {}),
        ("null", {}),
    ],
)
def test_positions_of_points(
    folder: SweepFolder, text: str | None, positions: dict[str, int]
) -> None:
    folder.make()
    if text is not None:
        folder.points_file.write_text(text)
    assert folder.positions() == positions


def test_names_of_points_that_are_none_are_an_error(folder: SweepFolder) -> None:
    folder.make()
    folder.write_points(["b", "a"])
    assert folder.points() == ["b", "a"]
    folder.points_file.write_text('{"b": 0}')
    with pytest.raises(ReadError, match=r"points\.json: not a list of the names of points$"):
        folder.points()


@pytest.mark.parametrize(
    ("overrides", "price"),
    [
        (["price_per_gpu_hour=2"], 2.0),
        (["price_per_gpu_hour=2.5", "layout.tp=2"], 2.5),
        (["price_per_gpu_hour=1", "price_per_gpu_hour=3"], 3.0),
        (["++price_per_gpu_hour=2"], 2.0),
        (["price_per_gpu_hour=null"], None),
        (["price_per_gpu_hour=two"], None),
        (["price_per_gpu_hour=[2"], None),
        (["price_per_gpu_hour"], None),
        (["layout.tp=2"], None),
        ([], None),
        ([7], None),
        ("price_per_gpu_hour=2", None),
        (None, None),
    ],
)
def test_price_by_the_words_of_the_command(
    folder: SweepFolder, overrides: object, price: float | None
) -> None:
    folder.make()
    folder.command_file.write_text(json.dumps({"overrides": overrides, "folder": "/"}))
    assert folder.price_per_gpu_hour == price


@pytest.mark.parametrize("text", [None, "", "[]", "null", '{"overrides"', "{}"])
def test_no_price_without_a_command(folder: SweepFolder, text: str | None) -> None:
    folder.make()
    if text is not None:
        folder.command_file.write_text(text)
    assert folder.overrides() == {} and folder.price_per_gpu_hour is None


def test_a_command_is_read_back(folder: SweepFolder) -> None:
    folder.make()
    command = SavedCommand(overrides=("layout.tp=2",), folder="/", kind="sweep", start="/r")
    folder.save_command(command)
    assert folder.command() == command and folder.overrides() == {"layout.tp": 2}


def test_records_are_kept_in_their_order(folder: SweepFolder) -> None:
    folder.make()
    assert folder.records() == [] and not folder.is_sweep and not folder.is_own
    first, second = (
        RunRecord(spec=spec(global_batch=batch), outcome="rejected", cause="no")
        for batch in (8, 16)
    )
    folder.write_records([first])
    folder.append_record(second)
    assert folder.records() == [first, second]
    assert folder.is_sweep and folder.is_own


def test_runs_and_single_runs_are_told_by_their_files(folder: SweepFolder) -> None:
    for name in ("b", "a"):
        folder.run(name).create(spec())
    folder.run("empty").path.mkdir()
    SweepFolder(folder.run("b").path).save_command(SavedCommand(overrides=(), folder="/"))
    assert [run.path.name for run in folder.runs()] == ["a", "b"]
    assert [run.path.name for run in folder.single_runs()] == ["b"]


def test_one_launcher_at_a_time(folder: SweepFolder) -> None:
    refusal = r"another launch is at work in .*: process \d+ on "
    with folder.locked(), pytest.raises(ConfigError, match=refusal):
        folder.locked().__enter__()
    with folder.locked():
        pass  # free again


def test_a_lock_whose_holder_is_unknown(folder: SweepFolder) -> None:
    with folder.locked():
        (folder.path / ".lock.holder").unlink()
        with pytest.raises(ConfigError) as raised:
            folder.locked().__enter__()
    assert str(raised.value) == f"output: another launch is at work in {folder.path}"


def test_a_folder_that_cannot_be_made_is_not_locked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"output: .*/file/s: Not a directory$"):
        SweepFolder(tmp_path / "file" / "s").locked().__enter__()
