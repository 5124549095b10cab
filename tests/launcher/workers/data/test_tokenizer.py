"""Tokenizers: a byte-level BPE comes back to the text."""

from pathlib import Path

import numpy as np

from launcher.workers.data.tokenizer import FromFile, train_bpe


def test_bpe_round_trip(tmp_path: Path) -> None:
    texts = ["größe 日本語 emoji 🙂", "plain english words and words"] * 20
    train_bpe([texts], 320, tmp_path / "tokenizer.json")
    tokenizer = FromFile(tmp_path / "tokenizer.json")
    assert 257 <= tokenizer.vocab <= 320
    for text, ids in zip(texts, tokenizer.encode(texts), strict=True):
        assert ids[-1] == 0 and 0 not in ids[:-1]
        assert tokenizer._tokenizer.decode(list(ids[:-1])) == text
    assert np.max(list(map(max, tokenizer.encode(texts)))) < tokenizer.vocab
