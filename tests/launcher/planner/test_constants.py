"""Constants of the formulas: those of this package, and those of a file."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from launcher.errors import ConfigError
from launcher.planner.constants import Constants, constants_of


def test_those_of_the_package_were_fitted() -> None:
    assert (constants_of(None).fitted or "").startswith("launch plan --fit ")


def test_those_of_a_file_come_back(tmp_path: Path) -> None:
    path = tmp_path / "constants.json"
    constants = replace(Constants(), fitted="launch plan --fit mine.csv")
    path.write_text(json.dumps(asdict(constants)))
    assert constants_of(str(path)) == constants


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "constants: {path}: No such file or directory"),
        ("a,b", "constants: {path}: is no JSON, as launch plan --fit writes it"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "constants.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        constants_of(str(path))
    assert str(caught.value) == message.format(path=path)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"memory": {"activation": 1.0}}, "constants.memory.activation"),
        ({"speed": 1.0}, "constants.speed"),
    ],
)
def test_what_is_no_constant_is_refused(tmp_path: Path, data: dict[str, object], key: str) -> None:
    path = tmp_path / "constants.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=f"^{key}: "):
        constants_of(str(path))
