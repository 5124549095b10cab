"""Sources -> megatron-core datasets, built once in a cache that many runs share.

Everything in the cache is named by a hash of all that decides its content, is made in a folder
of its own under a lock, and appears by a rename: a reader finds it complete or not at all.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import megatron.core
import numpy as np
from filelock import FileLock
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder
from megatron.core.datasets.utils import Split

from launcher.data import corpora, sizes
from launcher.decode import fingerprint
from launcher.errors import ConfigError
from launcher.files import UMASK
from launcher.spec.curriculum import most_samples
from launcher.spec.run import RunSpec
from launcher.workers.data.sample_order import Blend, Stream, hash64
from launcher.workers.data.tokenizer import Bytes, FromFile, Tokenizer, train_bpe
from launcher.workers.errors import DataError


@dataclass(frozen=True, slots=True)
class Source:
    """One indexed dataset of the blend."""

    name: str
    prefix: str
    """Path without .bin and .idx."""
    weight: float
    content: str
    """Key of its content: the text and how it is tokenized, or the tokens."""
    samples_before: int
    """Samples that earlier stages took."""


class Samples:
    """Samples of a run, in their order."""

    def __init__(self, spec: RunSpec, sources: list[Source], datasets: list[Any]) -> None:
        self._datasets, self._sources = datasets, sources
        self._blend = Blend([source.weight for source in sources])
        self._streams = [
            Stream(f"{spec.train.seed} {source.content} {spec.model.sequence}", len(dataset))
            for source, dataset in zip(sources, datasets, strict=True)
        ]

    def __getitem__(self, number: int) -> Any:
        """Tokens and labels, [sequence] each, of sample ``number`` (from 0)."""
        source, index = self._locate(number)
        return self._datasets[source][index]

    def identity(self, number: int) -> int:
        """64-bit hash of the text that a sample is; the same at any position in any run."""
        source, index = self._locate(number)
        return hash64(self._streams[source].key, index)

    def counts(self, stop: int) -> Mapping[str, int]:
        """Number of samples from each source among those numbered below ``stop``."""
        return self._blend.counts([source.name for source in self._sources], 0, stop)

    def _locate(self, number: int) -> tuple[int, int]:
        """Number of the source of a sample, and index in the source's dataset."""
        source, number_of_source = self._blend.at(number)
        return source, self._streams[source].at(
            self._sources[source].samples_before + number_of_source
        )


class TokenizerStub:
    """Stand-in for the tokenizer GPTDataset wants; nothing is masked, so its ids do not matter."""

    unique_identifiers = {"class": "tokens are already in the dataset"}  # noqa: RUF012
    vocab_size = None
    eod = 0


def prepare(spec: RunSpec, cache: Path) -> None:
    """Build all of a run's data that is not in the cache yet. Needs no process group.

    Raises:
        DataError: text that is gone or too short, a vocabulary the model does not have, or more
            epochs than a curriculum allows.
    """
    for name in dict.fromkeys((*spec.data.blend, *spec.data.texts)):
        try:
            corpora.check(name, "data.blend")  # the launcher did too, perhaps weeks ago
        except ConfigError as error:
            raise DataError(str(error)) from error
    cache.mkdir(parents=True, exist_ok=True)
    tokenizer = _LazyTokenizer(spec, cache)
    for name in filter(corpora.is_text, spec.data.blend):
        try:
            _build_once(cache / sizes.text_key(spec.data, name), _Indexer(name, tokenizer))
        except ConfigError as error:  # in a line further down than the launcher's check goes
            raise DataError(str(error)) from error
    for source in _sources(spec, cache):
        _check_length(source, spec)
        folder = _index_folder(spec, cache, source)
        _build_once(folder, lambda folder, source=source: _open(spec, source, folder))  # type: ignore[misc]
        _check_epochs(source, spec, cache)


def load(spec: RunSpec, cache: Path) -> Samples:
    """Load the samples of a run in their order; `prepare` must have run."""
    sources = _sources(spec, cache)
    folders = [_index_folder(spec, cache, source) for source in sources]
    datasets = [
        _open(spec, source, folder) for source, folder in zip(sources, folders, strict=True)
    ]
    return Samples(spec, sources, datasets)


def tokenizer(spec: RunSpec, cache: Path) -> Tokenizer:
    """Return the tokenizer of a run's data, for prompts. Raises DataError where none is known."""
    try:
        corpora.check_prompts(spec.data)  # nobody has for a prompt of the command line
    except ConfigError as error:
        raise DataError(str(error)) from error
    return _LazyTokenizer(spec, cache).get()


def held_out(spec: RunSpec, cache: Path) -> Iterator[tuple[str, Any]]:
    """Name and held-out sequences of each source, one epoch in a fixed order.

    Where there are too few tokens, the reason as a str in place of the sequences. `prepare` must
    have run.
    """
    for source in _sources(spec, cache):
        tokens, needed = _tokens(source, spec, held_out=True), spec.model.sequence + 1
        if tokens < needed:
            share = f"data.held_out {spec.data.held_out:g}"
            yield source.name, f"{share} keeps {tokens} tokens apart, one sequence needs {needed}"
            continue
        folder = Path(f"{_index_folder(spec, cache, source)}-held-out")
        _build_once(folder, lambda folder, source=source: _open(spec, source, folder, True))  # type: ignore[misc]
        yield source.name, _open(spec, source, folder, True)


class _LazyTokenizer:
    """Tokenizer of a run, made when the first text needs it."""

    def __init__(self, spec: RunSpec, cache: Path) -> None:
        self._spec, self._cache = spec, cache
        self._tokenizer: Tokenizer | None = None

    def get(self) -> Tokenizer:
        if self._tokenizer is None:
            self._tokenizer = self._make()
            model, vocab = self._spec.model, self._tokenizer.vocab
            if vocab > model.vocab:
                raise DataError(
                    f"the tokenizer has {vocab} tokens, more than model.vocab {model.vocab}"
                )
        return self._tokenizer

    def _make(self) -> Tokenizer:
        data = self._spec.data
        if data.tokenizer == "bytes":
            return Bytes()
        if data.tokenizer != "bpe":
            return FromFile(Path(data.tokenizer))
        texts = [source for source in data.texts if corpora.is_text(source)]
        folder = self._cache / f"bpe-{sizes.tokenizer_key(self._spec.data)}"

        def build(folder: Path) -> None:
            documents = (corpora.documents(source) for source in texts)
            train_bpe(documents, data.tokenizer_vocab, folder / "tokenizer.json")

        _build_once(folder, build)
        return FromFile(folder / "tokenizer.json")


class _Indexer:
    """Writes one text source as an indexed dataset."""

    def __init__(self, source: str, tokenizer: _LazyTokenizer) -> None:
        self._source, self._tokenizer = source, tokenizer

    def __call__(self, folder: Path) -> None:
        tokenizer = self._tokenizer.get()
        small = tokenizer.vocab <= np.iinfo(np.uint16).max
        dtype = np.uint16 if small else np.int32
        builder = IndexedDatasetBuilder(str(folder / "tokens.bin"), dtype=dtype)
        for ids in tokenizer.encode(corpora.documents(self._source)):
            builder.add_document(ids.astype(dtype), [len(ids)])
        builder.finalize(str(folder / "tokens.idx"))


def _build_once(folder: Path, build: Callable[[Path], object]) -> None:
    """Build a folder of the cache unless it exists; one process at a time."""
    if folder.exists():
        return
    with FileLock(f"{folder}.lock", mode=0o666):
        if folder.exists():
            return
        for leftover in folder.parent.glob(f".{folder.name}.*"):  # of a build that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            build(temporary)
            temporary.chmod(0o777 & ~UMASK)  # mkdtemp lets only the owner in; others share this
            os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _sources(spec: RunSpec, cache: Path) -> list[Source]:
    sources = []
    for name, weight in spec.data.blend.items():
        text = corpora.is_text(name)
        prefix = sizes.prefix(spec.data, name, cache)
        content = sizes.text_key(spec.data, name) if text else corpora.content_key(name)
        samples_before = spec.stage.samples_before.get(name, 0) if spec.stage else 0
        sources.append(Source(name, prefix, weight, content, samples_before))
    return sources


def _check_length(source: Source, spec: RunSpec) -> None:
    tokens, needed = _tokens(source, spec), spec.model.sequence + 1
    if tokens < needed:
        raise DataError(
            f"data.blend: {source.name}: {tokens} tokens, one sample of model.sequence"
            f" {spec.model.sequence} needs {needed}"
        )


def _tokens(source: Source, spec: RunSpec, held_out: bool = False) -> int:
    indexed = IndexedDataset(source.prefix)  # its arrays are views of a file it closes when it goes
    documents = _documents(len(indexed.sequence_lengths), spec.data.held_out, held_out)
    return int(np.sum(indexed.sequence_lengths[documents], dtype=np.int64))


def _check_epochs(source: Source, spec: RunSpec, cache: Path) -> None:
    """Raise DataError if a source would be read for more epochs than the curriculum allows."""
    if spec.stage is None:
        return
    stage, sequence = spec.stage, spec.model.sequence
    tokens = sequence * len(_open(spec, source, _index_folder(spec, cache, source)))
    tokens_read = stage.source_tokens[source.name] + sequence * most_samples(spec)[source.name]
    if tokens_read > stage.max_epochs * tokens:
        raise DataError(
            f"curriculum.stages.{stage.name}: {source.name} has {tokens} tokens, and"
            f" {tokens_read} are taken from it by then: {tokens_read / tokens:.3g} epochs,"
            f" curriculum.max_epochs is {stage.max_epochs:g}"
        )


def _index_folder(spec: RunSpec, cache: Path, source: Source) -> Path:
    """Folder, in the cache, of a source's sample index.

    Megatron hashes the dataset's path into its file names, so it is part of the name here too.
    """
    inputs = [source.content, source.prefix, spec.model.sequence, spec.train.seed]
    inputs += [spec.data.held_out, megatron.core.__version__]
    return cache / f"index-{fingerprint(inputs)}"


def _open(spec: RunSpec, source: Source, folder: Path, held_out: bool = False) -> Any:
    """One epoch of a source, its sample index read from ``folder``, or made there."""
    config = _config(spec, folder)
    low = GPTDataset.build_low_level_dataset(source.prefix, config)
    documents = _documents(len(low.sequence_lengths), spec.data.held_out, held_out)
    return GPTDataset(low, source.prefix, documents, None, Split.train, config)


def _documents(count: int, share: float, held_out: bool) -> Any:
    """Numbers of the documents that are trained on, or of those held out: every n-th."""
    numbers = np.arange(count, dtype=np.int32)
    set_apart = np.floor((numbers + 1) * share) > np.floor(numbers * share)
    return numbers[set_apart == held_out]


def _config(spec: RunSpec, folder: Path) -> Any:
    return GPTDatasetConfig(
        random_seed=spec.train.seed,
        sequence_length=spec.model.sequence,
        blend=None,
        split="1,0,0",
        path_to_cache=str(folder),
        tokenizer=TokenizerStub(),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
