"""Sources -> megatron-core datasets, built once in a cache that many runs share.

Everything in the cache is named by a hash of all that decides its content, is made in a folder
of its own under a lock, and appears by a rename: what a reader finds is whole.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import megatron.core
import numpy as np
from filelock import FileLock
from megatron.core.datasets.blended_dataset import BlendedDataset
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder
from megatron.core.datasets.utils import Split

from launcher.data import corpora
from launcher.decode import fingerprint
from launcher.errors import ConfigError
from launcher.folder import UMASK
from launcher.spec import RunSpec
from launcher.workers.errors import DataError
from launcher.workers.tokenizer import Bytes, FromFile, Tokenizer, train_bpe

SURPLUS = 1.005
"""Samples of each source beyond its share: the blend rounds."""


@dataclass(frozen=True, slots=True)
class Source:
    """One indexed dataset of the blend."""

    name: str
    prefix: str
    """Path without .bin and .idx."""
    weight: float
    """Share of the samples."""
    samples: int
    """Samples to draw, with a surplus."""


class Names:
    """What GPTDataset asks of a tokenizer; it masks nothing here, so ids do not matter."""

    unique_identifiers = {"class": "tokens are already in the dataset"}  # noqa: RUF012
    vocab_size = None
    eod = 0


def prepare(spec: RunSpec, cache: Path) -> None:
    """Build whatever of a run's data is not in the cache yet. Needs no process group.

    Raises:
        DataError: text that is too short, or a vocabulary the model does not have.
    """
    cache.mkdir(parents=True, exist_ok=True)
    tokenizer = _Lazy(spec, cache)
    for name in filter(corpora.is_text, spec.data.blend):
        try:
            _once(cache / _text_key(spec, name), _Indexer(name, tokenizer))
        except ConfigError as error:  # a line further down than what the launcher looked at
            raise DataError(str(error)) from error
    sources = _sources(spec, cache)
    for source in sources:
        _check_length(source, spec)
    _once(_index_folder(spec, cache, sources), lambda folder: _open(spec, sources, folder))


def load(spec: RunSpec, cache: Path) -> Any:
    """The samples of a run in their order; `prepare` must have run."""
    sources = _sources(spec, cache)
    datasets = _open(spec, sources, _index_folder(spec, cache, sources))
    if len(datasets) == 1:
        return datasets[0]
    # Making the order of the blend is cheaper than reading it back, so it is not cached.
    weights = [source.weight for source in sources]
    return BlendedDataset(datasets, weights, _samples(spec), _config(spec, None))


class _Lazy:
    """The tokenizer of a run, made when the first text needs it."""

    def __init__(self, spec: RunSpec, cache: Path) -> None:
        self._spec, self._cache = spec, cache
        self._made: Tokenizer | None = None

    def get(self) -> Tokenizer:
        if self._made is None:
            self._made = self._make()
            model, vocab = self._spec.model, self._made.vocab
            if vocab > model.vocab:
                raise DataError(
                    f"the tokenizer has {vocab} tokens, more than model.vocab {model.vocab}"
                )
        return self._made

    def _make(self) -> Tokenizer:
        data = self._spec.data
        if data.tokenizer == "bytes":
            return Bytes()
        if data.tokenizer != "bpe":
            return FromFile(Path(data.tokenizer))
        texts = [source for source in data.texts if corpora.is_text(source)]
        folder = self._cache / f"bpe-{_tokenizer_key(self._spec)}"

        def build(folder: Path) -> None:
            documents = (corpora.documents(source) for source in texts)
            train_bpe(documents, data.tokenizer_vocab, folder / "tokenizer.json")

        _once(folder, build)
        return FromFile(folder / "tokenizer.json")


class _Indexer:
    """Writes one text source as an indexed dataset."""

    def __init__(self, source: str, tokenizer: _Lazy) -> None:
        self._source, self._tokenizer = source, tokenizer

    def __call__(self, folder: Path) -> None:
        tokenizer = self._tokenizer.get()
        small = tokenizer.vocab <= np.iinfo(np.uint16).max
        dtype = np.uint16 if small else np.int32
        builder = IndexedDatasetBuilder(str(folder / "tokens.bin"), dtype=dtype)
        for ids in tokenizer.encode(corpora.documents(self._source)):
            builder.add_document(ids.astype(dtype), [len(ids)])
        builder.finalize(str(folder / "tokens.idx"))


def _once(folder: Path, build: Callable[[Path], object]) -> None:
    """Make a folder of the cache, unless it is there; one process at a time."""
    if folder.exists():
        return
    with FileLock(f"{folder}.lock", mode=0o666):
        if folder.exists():
            return
        for left in folder.parent.glob(f".{folder.name}.*"):  # of a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            build(temporary)
            temporary.chmod(0o777 & ~UMASK)  # mkdtemp's are for their owner alone
            os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _samples(spec: RunSpec) -> int:
    return spec.train.steps * spec.train.global_batch


def _tokenizer_key(spec: RunSpec) -> str:
    data = spec.data
    if data.tokenizer == "bpe":
        texts = [corpora.content_key(s) for s in data.texts if corpora.is_text(s)]
        return fingerprint(["bpe", data.tokenizer_vocab, texts])
    if data.tokenizer == "bytes":
        return "bytes"
    path = Path(data.tokenizer)
    return fingerprint([str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns])


def _text_key(spec: RunSpec, source: str) -> str:
    return f"text-{fingerprint([corpora.content_key(source), _tokenizer_key(spec)])}"


def _sources(spec: RunSpec, cache: Path) -> list[Source]:
    blend = {name: weight for name, weight in spec.data.blend.items() if weight > 0}
    total, found = sum(blend.values()), []
    for name, weight in blend.items():
        text = corpora.is_text(name)
        prefix = str(cache / _text_key(spec, name) / "tokens") if text else corpora.prefix(name)
        share = weight / total
        samples = math.ceil(math.ceil(_samples(spec) * share) * SURPLUS)
        found.append(Source(name, prefix, share, samples if share < 1 else _samples(spec)))
    return found


def _check_length(source: Source, spec: RunSpec) -> None:
    indexed = IndexedDataset(source.prefix)  # its arrays are views of a file it closes when it goes
    tokens = int(np.sum(indexed.sequence_lengths, dtype=np.int64))
    needed = spec.model.sequence + 1
    if tokens < needed:
        raise DataError(
            f"data.blend: {source.name}: {tokens} tokens, one sample of model.sequence"
            f" {spec.model.sequence} needs {needed}"
        )


def _index_folder(spec: RunSpec, cache: Path, sources: list[Source]) -> Path:
    """Megatron names the files of an index by its dataset's path too, so that decides as well."""
    content = [
        _text_key(spec, source.name) if corpora.is_text(source.name)
        else corpora.content_key(source.name)
        for source in sources
    ]  # fmt: skip
    blend = [[source.prefix, source.weight] for source in sources]
    decides = [content, blend, _samples(spec), spec.model.sequence, spec.train.seed]
    return cache / f"index-{fingerprint([*decides, megatron.core.__version__])}"


def _open(spec: RunSpec, sources: list[Source], folder: Path) -> list[Any]:
    """The datasets, their sample index read from ``folder``, or made there."""
    config = _config(spec, folder)
    opened = []
    for source in sources:
        low = GPTDataset.build_low_level_dataset(source.prefix, config)
        documents = np.arange(len(low.sequence_lengths), dtype=np.int32)
        opened.append(
            GPTDataset(low, source.prefix, documents, source.samples, Split.train, config)
        )
    return opened


def _config(spec: RunSpec, folder: Path | None) -> Any:
    return GPTDatasetConfig(
        random_seed=spec.train.seed,
        sequence_length=spec.model.sequence,
        blend=None,
        split="1,0,0",
        path_to_cache=str(folder) if folder else None,
        tokenizer=Names(),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
