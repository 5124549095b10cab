"""``--config FILE``: the overrides that a file stands for, and files that are none."""

from pathlib import Path

import pytest

from launcher.errors import ConfigError
from launcher.request.config_file import with_file


@pytest.mark.parametrize(
    ("text", "words", "overrides"),
    [
        ("layout: {tp: 2}", [], ["layout.tp=2"]),
        ("layout.tp: 2\nlayout: {pp: 1}", [], ["layout.tp=2", "layout.pp=1"]),
        ("model: llama_7b", [], ["model=llama_7b"]),
        ("name: it's", [], [r"name='it\'s'"]),
        ("train: {optimizer: {lr: 1e-5}}", [], ["train.optimizer.lr=1e-05"]),
        ("sampling: null\ndetach: true", [], ["sampling=null", "detach=true"]),
        ("data: {blend: {a: 1}}", [], ['data.blend={"a": 1}']),  # a mapping that is a value
        # The command line wins: its words come last, and a group it chooses is its own.
        ("layout: {tp: 2}", ["layout.tp=1"], ["layout.tp=2", "layout.tp=1"]),
        ("model: {layers: 2}\nname: x", ["model=tiny"], ["name='x'", "model=tiny"]),
    ],
)
def test_overrides_of_a_file(
    text: str, words: list[str], overrides: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert with_file(str(path), words) == overrides


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory"),
        ("[1, 2]", "is no mapping of keys to values"),
        ("1: 2", "is no mapping of keys to values"),
        ("layout: {ttp: 2}", "layout.ttp: no such key; did you mean 'layout.tp'?"),
        ("a: [", "while parsing a flow node"),
    ],
)
def test_files_that_are_none(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        with_file(str(path), [])
    assert str(raised.value).startswith(f"--config: {path}: {message}")
