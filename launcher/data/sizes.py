"""Names of tokenised sources in the cache, and their sizes in tokens, without tokenising."""

import os
import struct
from pathlib import Path

from launcher.data import corpora
from launcher.decode import fingerprint
from launcher.spec.run import Data

ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 8, 7: 4, 8: 2}
"""Code of a type in an .idx -> bytes of a token: megatron/core/datasets/indexed_dataset.py."""

BYTES_PER_TOKEN = 3.5
"""Bytes of text per token, as long as it is not tokenised: between a small vocabulary's 3 and a
large one's 4.5."""


def tokenizer_key(data: Data) -> str:
    """Key of everything that tokens depend on besides the text."""
    if data.tokenizer == "bpe":
        texts = [corpora.content_key(s) for s in data.texts if corpora.is_text(s)]
        return fingerprint(["bpe", data.tokenizer_vocab, texts])
    if data.tokenizer == "bytes":
        return "bytes"
    path = Path(data.tokenizer)
    return fingerprint([str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns])


def text_key(data: Data, source: str) -> str:
    """Name of a tokenised text's folder in the cache."""
    return f"text-{fingerprint([corpora.content_key(source), tokenizer_key(data)])}"


def prefix(data: Data, source: str, cache: Path) -> str:
    """The path of a source's indexed dataset, without .bin and .idx."""
    if corpora.is_text(source):
        return str(cache / text_key(data, source) / "tokens")
    return corpora.prefix(source)


def tokens(data: Data, source: str, cache: Path) -> tuple[int, bool]:
    """Return the tokens of a source, held-out documents included, and True where that is exact.

    A text that no run has tokenised yet is estimated by its size.
    """
    path = prefix(data, source, cache)
    try:
        with open(f"{path}.idx", "rb") as file:
            head = file.read(len(corpora.INDEX_MAGIC) + 9)
        (code,) = struct.unpack_from("<B", head, len(corpora.INDEX_MAGIC) + 8)
        return os.stat(f"{path}.bin").st_size // ITEM_BYTES[code], True
    except OSError:
        bytes_each = 1 if data.tokenizer == "bytes" else BYTES_PER_TOKEN
        return int(_size(source) / bytes_each), False


def _size(source: str) -> int:
    if source in corpora.BUNDLED:
        return sum(len(text) for text in corpora.documents(source))
    return sum(os.stat(path).st_size for path in corpora.files(source))
