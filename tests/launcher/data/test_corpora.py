"""Sources of text: which are refused before anything starts, and what their keys depend on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.data import corpora
from launcher.data.corpora import INDEX_MAGIC
from launcher.errors import ConfigError
from launcher.spec.run import Data
from tests.conftest import shape, spec

FILES = {
    "good.jsonl": '{"text": "one"}\n\n{"text": "two"}\n',
    "broken.jsonl": '{"text": "one"}\n{"text": \n',
    "no_text.jsonl": '{"texts": "one"}\n',
    "blank.jsonl": '{"text": " "}\n',
    "good.txt": "one document",
    "empty.txt": "",
    "no_index.bin": "tokens",
    "no_index.idx": "something else",
    "tokenizer.json": json.dumps({"model": {"type": "BPE"}}),
    "other.json": "[]",
    "broken.json": "{",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files above, in the working directory."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "good.idx").write_bytes(INDEX_MAGIC)
    (tmp_path / "good.bin").write_bytes(b"\0\0")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SOURCES: list[tuple[str, str | None]] = [
    ("bundled/prose", None),
    ("good.jsonl", None),
    ("good.txt", None),
    ("good", None),
    ("good.bin", None),
    ("bundled/prosa", "blend: no 'bundled/prosa'; did you mean 'bundled/prose'?"),
    ("broken.jsonl", "blend: broken.jsonl:2: not JSON: Expecting value: line 2 column 1 (char 10)"),
    ("no_text.jsonl", 'blend: no_text.jsonl:1: no text under "text"'),
    ("blank.jsonl", "blend: blank.jsonl holds no text"),
    ("empty.txt", "blend: empty.txt is empty"),
    ("absent.txt", "blend: absent.txt: No such file or directory"),
    ("absent", "blend: absent is no .jsonl or .txt, and there is no absent.bin and .idx"),
    ("no_index", "blend: no_index.idx is no index of megatron-core"),
]


@pytest.mark.parametrize(("source", "message"), SOURCES)
def test_sources(source: str, message: str | None, folder: Path) -> None:
    if message is None:
        corpora.check(source, "blend")
        return
    with pytest.raises(ConfigError) as caught:
        corpora.check(source, "blend")
    assert str(caught.value) == message


TOKENIZERS: list[tuple[str, str | None]] = [
    ("tokenizer.json", None),
    ("bpee", "tokenizer: no 'bpee'; did you mean 'bpe'?"),
    ("absent.json", "tokenizer: absent.json: No such file or directory"),
    ("other.json", "tokenizer: other.json is no file of the tokenizers library: no model in it"),
    (
        "broken.json",
        "tokenizer: broken.json is not JSON: Expecting property name enclosed in double quotes:"
        " line 1 column 2 (char 1)",
    ),
]


@pytest.mark.parametrize(("path", "message"), TOKENIZERS)
def test_tokenizers(path: str, message: str | None, folder: Path) -> None:
    if message is None:
        corpora.check_tokenizer(path, "tokenizer")
        return
    with pytest.raises(ConfigError) as caught:
        corpora.check_tokenizer(path, "tokenizer")
    assert str(caught.value) == message


def test_documents_of_a_source(folder: Path) -> None:
    assert list(corpora.documents("good.jsonl")) == ["one", "two"]
    assert list(corpora.documents("good.txt")) == ["one document"]
    code = list(corpora.documents("bundled/code"))
    assert 0 < sum(map(len, code)) <= corpora.CODE_BYTES
    assert code == list(corpora.documents("bundled/code"))


def test_data_is_found_from_any_directory_and_known_by_its_content(folder: Path) -> None:
    data = Data(blend={"good.jsonl": 1.0, "bundled/prose": 2.0}, tokenizer="tokenizer.json")
    resolved = corpora.resolve(data, "data")
    assert list(resolved.blend) == [str(folder / "good.jsonl"), "bundled/prose"]
    assert resolved.tokenizer == str(folder / "tokenizer.json")
    assert corpora.resolve(resolved, "data") == resolved
    (folder / "good.jsonl").write_text('{"text": "three"}\n')
    assert corpora.resolve(data, "data").content != resolved.content


@pytest.mark.parametrize(
    ("blend", "message"),
    [
        ({}, "data.blend: is empty; name at least one source"),
        (
            {"good.txt": 0.0},
            "data.blend: the weight of good.txt is 0, not above 0",
        ),
    ],
)
def test_blends_that_are_refused(blend: dict[str, float], message: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        corpora.resolve(Data(blend=blend), "data")
    assert str(caught.value) == message


def test_a_tokenizer_larger_than_the_model_is_refused() -> None:
    small = replace(spec(), model=shape(vocab=256))
    with pytest.raises(ConfigError) as caught:
        corpora.check_vocabulary(small)
    assert str(caught.value) == "data.tokenizer: bytes has 257 tokens, model.vocab is 256"
    indexed = replace(small, data=replace(small.data, blend={"tokens.bin": 1.0}))
    corpora.check_vocabulary(indexed)  # its ids are there already: nothing is tokenised
