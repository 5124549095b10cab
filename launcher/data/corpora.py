"""Text sources: two corpora that every Python has, and the user's own files.

bundled/prose   ``pydoc_data.topics``: the language reference, about 0.5 MB of English
bundled/code    the standard library's own modules, in order of name, `CODE_BYTES` of them
PATH.jsonl      one JSON object a line, its text under "text"
PATH.txt        one document
PATH[.bin|.idx] token ids, in megatron-core's indexed format
"""

import hashlib
import itertools
import json
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from launcher.decode import fingerprint, hint
from launcher.errors import ConfigError
from launcher.spec.run import Data, RunSpec

CODE_BYTES = 4_000_000
"""Size of bundled/code, in characters."""

TRAINED = ("bpe", "bytes")
"""Tokenizers that need no file."""

HASHED = 2**26
"""Bytes of a file up to which all of it counts for `content_key`."""

INDEX_MAGIC = b"MMIDIDX\x00\x00"
"""First bytes of megatron-core's .idx files."""

CHECKED_DOCUMENTS = 100
"""Documents of a file that are looked at before anything starts."""


def documents(source: str) -> Iterator[str]:
    """Yield the documents of a text source, in a fixed order; not for indexed sources.

    Raises:
        ConfigError: a line of a .jsonl that has no text, naming file and line; bad UTF-8.
    """
    if source in BUNDLED:
        yield from BUNDLED[source]()
    elif source.endswith(".jsonl"):
        yield from _jsonl(Path(source))
    else:
        yield _read(Path(source))


def content_key(source: str) -> str:
    """Hex digits that change with the content of a source, and with nothing else.

    A bundled corpus is keyed by the Python version that ships it. Of files above `HASHED` bytes
    the size and both ends count: hashing terabytes at every start is not an option.
    """
    if source in BUNDLED:
        return hashlib.sha256(f"{source} {sys.version} {CODE_BYTES}".encode()).hexdigest()[:16]
    return _digest(files(source))


def files(source: str) -> list[str]:
    """The files of a source that is not bundled."""
    return [source] if is_text(source) else [f"{prefix(source)}.bin", f"{prefix(source)}.idx"]


def _digest(paths: Sequence[str]) -> str:
    hasher = hashlib.sha256()
    for path in paths:
        size = os.stat(path).st_size
        hasher.update(f"{size} ".encode())
        with open(path, "rb") as file:
            if size <= HASHED:
                hasher.update(file.read())
            else:
                hasher.update(file.read(2**20))
                file.seek(-(2**20), os.SEEK_END)
                hasher.update(file.read())
    return hasher.hexdigest()[:16]


def is_text(source: str) -> bool:
    """Return True for text to be tokenised, False for token ids."""
    return source in BUNDLED or source.endswith((".jsonl", ".txt"))


def prefix(source: str) -> str:
    """The path of an indexed source without its ending."""
    return source.removesuffix(".bin").removesuffix(".idx")


def check(source: str, where: str) -> None:
    """Raise ConfigError unless a source is there, readable and not empty."""
    if source in BUNDLED:
        return
    if source.startswith("bundled/"):
        raise ConfigError(f"{where}: no {source!r}{hint(source, BUNDLED)}")
    if not is_text(source) and not any(map(os.path.exists, files(source))):
        raise ConfigError(
            f"{where}: {source} is no .jsonl or .txt, and there is no {prefix(source)}.bin and .idx"
        )
    for path in files(source):
        _check_file(path, where)
    if not is_text(source):
        with open(f"{prefix(source)}.idx", "rb") as file:
            if file.read(len(INDEX_MAGIC)) != INDEX_MAGIC:
                raise ConfigError(f"{where}: {prefix(source)}.idx is no index of megatron-core")
    else:
        try:
            head = list(itertools.islice(documents(source), CHECKED_DOCUMENTS))
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        if not any(text.strip() for text in head):
            raise ConfigError(f"{where}: {source} holds no text")


def resolve(data: Data, where: str) -> Data:
    """Return the data by absolute paths and with its digest, after checking all of it.

    Raises:
        ConfigError: a source or a tokenizer that is missing, empty or no text, a weight of 0.
    """
    if not data.blend:
        raise ConfigError(f"{where}.blend: is empty; name at least one source")
    for source, weight in data.blend.items():
        if weight <= 0:
            raise ConfigError(f"{where}.blend: the weight of {source} is {weight:g}, not above 0")
        check(absolute(source), f"{where}.blend")
    tokenizer = data.tokenizer
    if tokenizer not in TRAINED:
        check_tokenizer(tokenizer, f"{where}.tokenizer")
        tokenizer = os.path.abspath(tokenizer)
    blend = {absolute(source): weight for source, weight in data.blend.items()}
    texts = tuple(map(absolute, data.tokenizer_texts))
    for text in texts:
        check(text, f"{where}.tokenizer_texts")
    keys = [content_key(source) for source in dict.fromkeys((*blend, *texts))]
    keys += [] if tokenizer in TRAINED else [_digest([tokenizer])]
    content = fingerprint(keys)
    return replace(data, blend=blend, tokenizer=tokenizer, tokenizer_texts=texts, content=content)


def check_vocabulary(spec: RunSpec) -> None:
    """Raise ConfigError where the tokenizer makes more tokens than the model knows."""
    data, vocab = spec.data, spec.model.vocab
    needed = {"bpe": data.tokenizer_vocab, "bytes": 257}.get(data.tokenizer, 0)
    if needed > vocab and any(map(is_text, data.blend)):
        raise ConfigError(
            f"data.tokenizer: {data.tokenizer} has {needed} tokens, model.vocab is {vocab}"
        )


def check_prompts(data: Data) -> None:
    """Raise ConfigError where nothing says which tokens a text is."""
    if data.tokenizer in TRAINED and not any(map(is_text, data.texts)):
        raise ConfigError(
            f"data.tokenizer: {data.tokenizer}, but all data are token ids already, and"
            " a prompt is text: give the tokenizer.json that these were made with"
        )


def check_tokenizer(path: str, where: str) -> None:
    """Raise ConfigError unless the file of a user's own tokenizer is there."""
    if not path.endswith(".json"):
        raise ConfigError(f"{where}: no {path!r}{hint(path, (*TRAINED, 'PATH.json'))}")
    _check_file(path, where)
    try:
        content = json.loads(_read(Path(path)))
    except ValueError as error:
        raise ConfigError(f"{where}: {path} is not JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ConfigError(f"{where}: {path} is no file of the tokenizers library: no model in it")


def absolute(source: str) -> str:
    """Return a source that is found from any working directory."""
    return source if source.startswith("bundled/") else os.path.abspath(source)


def _check_file(path: str, where: str) -> None:
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise ConfigError(f"{where}: {path} is empty")
    except OSError as error:
        raise ConfigError(f"{where}: {path}: {error.strerror}") from error


def _prose() -> Iterator[str]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield topics[name]


def _code() -> Iterator[str]:
    remaining = CODE_BYTES
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        remaining -= len(text)
        if remaining < 0:
            return
        yield text


def _jsonl(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _text_of(line, path, number)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _text_of(line: str, path: Path, number: int) -> str:
    try:
        item = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{path}:{number}: not JSON: {error}") from error
    if not isinstance(item, dict) or not isinstance(item.get("text"), str):
        raise ConfigError(f'{path}:{number}: no text under "text"')
    return str(item["text"])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


BUNDLED: dict[str, Callable[[], Iterator[str]]] = {"bundled/prose": _prose, "bundled/code": _code}
