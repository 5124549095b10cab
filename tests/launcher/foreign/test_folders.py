"""Folders of imported runs: their names, and how one is replaced."""

import os
from pathlib import Path

import pytest

from launcher.errors import ReadError, WorkError
from launcher.foreign import folders


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        (".", "here"), ("..", "above"), ("./", "here"), ("run", "run"), ("run/tensorboard", "run"),
        (".hidden", "hidden"), ("tensorboard", "here"),
    ],
)  # fmt: skip
def test_names_of_folders(
    path: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working_folder = tmp_path / "above" / "here"
    working_folder.mkdir(parents=True)
    monkeypatch.chdir(working_folder)
    Path(path).mkdir(parents=True, exist_ok=True)
    assert folders.target(Path("out"), Path(path), "").folder == Path("out") / folder


def test_what_has_no_name() -> None:
    with pytest.raises(ReadError, match="no folder can be called after it"):
        folders.target(Path("out"), Path("/"), "")


def test_a_folder_that_cannot_be_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out" / "run"
    folder.mkdir(parents=True)
    (folder / "old").touch()
    rename = os.rename

    def fails(old: Path, new: Path) -> None:
        if new == folder and not str(old).endswith(".old"):
            raise OSError(28, "No space left on device")
        rename(old, new)

    monkeypatch.setattr("os.rename", fails)
    with pytest.raises(WorkError, match="No space left"):
        folders.put(folder, [])
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in folder.parent.iterdir()] == ["run"]
