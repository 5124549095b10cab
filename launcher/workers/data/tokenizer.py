"""Text -> token ids: a byte-level BPE trained on the run's own text, plain bytes, or a file."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from launcher.workers.errors import DataError

END = "<|endoftext|>"
"""Token after every document."""
ENDS = (END, "<|end_of_text|>", "</s>", "<eos>")
"""Names of that token in published tokenizers; the first that a tokenizer has counts."""
TRAINING_CHARACTERS = 20_000_000
"""A BPE learns from the first so many characters of each source."""
BATCH = 256


class Tokenizer(Protocol):
    """Turns documents into token ids, the end of document included."""

    vocab: int
    """Number of token ids."""
    end: int
    """Id of the token after every document."""

    def encode(self, documents: Iterable[str]) -> Iterator[Any]:
        """One array of ids a document."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, which do not include the end of a document."""


class Bytes:
    """Tokenizer with a token per byte of UTF-8, and one for the end of a document."""

    vocab, end = 257, 256

    def encode(self, documents: Iterable[str]) -> Iterator[Any]:
        """One array of ids a document."""
        for text in documents:
            ids = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32)
            yield np.append(ids, self.end)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; a replacement character for what is no UTF-8."""
        return bytes(ids).decode("utf-8", "replace")


class FromFile:
    """Tokenizer read from a tokenizer.json of the tokenizers library."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer as Loaded

        try:
            self._tokenizer = Loaded.from_str(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"data.tokenizer: {path}: {error.strerror}") from error
        ids = (self._tokenizer.token_to_id(name) for name in ENDS)
        end = next((token_id for token_id in ids if token_id is not None), None)
        if end is None:
            raise DataError(f"data.tokenizer: {path} has none of the tokens {', '.join(ENDS)}")
        self.end = end
        self.vocab = max(self._tokenizer.get_vocab().values()) + 1

    def encode(self, documents: Iterable[str]) -> Iterator[Any]:
        """One array of ids a document."""
        for batch in batched(documents, BATCH):
            for encoding in self._tokenizer.encode_batch(batch, add_special_tokens=False):
                yield np.array([*encoding.ids, self.end], dtype=np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; a replacement character for what is no UTF-8."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def train_bpe(sources: Iterable[Iterable[str]], vocab: int, path: Path) -> None:
    """Learn a byte-level BPE of at most ``vocab`` tokens and write its tokenizer.json."""
    from tokenizers import Tokenizer as New
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = New(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for source in sources for text in _first(source))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))


def batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of at most ``size`` items."""
    batch: list[str] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _first(documents: Iterable[str]) -> Iterator[str]:
    remaining = TRAINING_CHARACTERS
    for text in documents:
        yield text[:remaining]
        remaining -= len(text)
        if remaining <= 0:
            return
