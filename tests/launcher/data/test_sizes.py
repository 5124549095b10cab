"""Sizes of sources in tokens: exact where an index says so, estimated by the text otherwise."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.data import sizes
from launcher.data.corpora import INDEX_MAGIC
from launcher.spec.run import Data


@pytest.mark.parametrize(("code", "tokens"), [(8, 1000), (4, 500)])  # uint16, int32
def test_an_index_is_exact(code: int, tokens: int, tmp_path: Path) -> None:
    (tmp_path / "corpus.idx").write_bytes(INDEX_MAGIC + struct.pack("<QB", 1, code))
    (tmp_path / "corpus.bin").write_bytes(bytes(2000))
    source = str(tmp_path / "corpus.bin")
    assert sizes.tokens(Data(blend={source: 1.0}), source, tmp_path) == (tokens, True)


def test_a_text_is_estimated_until_it_is_tokenised(tmp_path: Path) -> None:
    source, cache = str(tmp_path / "corpus.txt"), tmp_path / "cache"
    (tmp_path / "corpus.txt").write_text("x" * 700)
    data = Data(blend={source: 1.0})
    assert sizes.tokens(data, source, cache) == (200, False)
    assert sizes.tokens(replace(data, tokenizer="bytes"), source, cache) == (700, False)
    prefix = Path(sizes.prefix(data, source, cache))
    prefix.parent.mkdir(parents=True)
    prefix.with_suffix(".idx").write_bytes(INDEX_MAGIC + struct.pack("<QB", 1, 8))
    prefix.with_suffix(".bin").write_bytes(bytes(360))
    assert sizes.tokens(data, source, cache) == (180, True)


def test_another_tokenizer_is_another_folder(tmp_path: Path) -> None:
    source = str(tmp_path / "corpus.txt")
    (tmp_path / "corpus.txt").write_text("text")
    (tmp_path / "tokenizer.json").write_text("{}")
    data = Data(blend={source: 1.0})
    keys = {
        sizes.text_key(variant, source)
        for variant in (
            data,
            replace(data, tokenizer_vocab=4096),
            replace(data, tokenizer="bytes"),
            replace(data, tokenizer=str(tmp_path / "tokenizer.json")),
        )
    }
    assert len(keys) == 4
