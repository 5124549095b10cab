"""Candidates for the word at the cursor, by the words before it and by ``vocabulary.json``.

That file has for each verb its options and the kinds of its arguments, and every key. An option or
a key is a mapping of what its value can be; empty where it can be anything:

    values: texts       choices, true and false among them
    group: a name       names of the files in a group's folder
    paths: a kind       "files" or "directories", which the shell completes
    list: true          a list of such values

An option that takes no value is null; the last kind of a verb's arguments is that of all that
follow, empty where there are no more. ``*`` in a key is a name that a user chooses.
"""

import importlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Words = list[str]
Value = Mapping[str, Any]
"""What a value can be, as above."""


class Answer(NamedTuple):
    """Whole words that the one at the cursor can become, or paths that go on from it."""

    candidates: Words
    paths: str = ""
    """"files" or "directories": the shell completes such paths besides."""
    before_path: str = ""
    """Beginning of the word that is not part of the path: ``--config=``."""


class Line(NamedTuple):
    """The words before the cursor, without the verb, as far as they matter."""

    arguments: Words
    options: Mapping[str, str]
    """Values of options that take one."""
    waiting: str | None
    """Last word, where it is an option whose value comes next."""


def answer(shell: str, words: Sequence[str]) -> Iterator[str]:
    """Yield the lines of an answer: kind of paths, what is before a path, then the candidates.

    Args:
        shell: one of `launcher.cli.completion.SHELLS`.
        words: those behind ``launch``, the one at the cursor last; of bash, which splits words at
            ``=`` and ``:``, the text that a candidate is to replace, and the line to the cursor.
    """
    replaced = None
    if shell == "bash":
        replaced, line = [*words, "", ""][:2]
        words = split(line)[1:]
    *before, current = words or [""]
    completed = complete(before, current)
    yield completed.paths
    yield completed.before_path
    prefix_length = 0  # characters of the word that stay
    if replaced is not None and current.endswith(replaced):  # it may have quotes of its own
        prefix_length = len(current) - len(replaced)
    for candidate in completed.candidates:
        yield candidate[prefix_length:]


def split(line: str) -> Words:
    """Split a line that ends at the cursor into words, as a shell does; the last may be empty."""
    for ending in ("", "'", '"'):  # a quote may still be open
        try:
            *words, current = shlex.split(f"{line}|{ending}")
        except ValueError:
            continue
        return [*words, current[:-1]]
    return []


def complete(before: Sequence[str], current: str) -> Answer:
    """Complete a word, given those before it and behind ``launch``."""
    path = os.path.join(os.path.dirname(__file__), "vocabulary.json")
    with open(path, encoding="utf-8") as file:
        vocabulary = json.load(file)
    verbs, keys = vocabulary["verbs"], vocabulary["keys"]
    verb = before[0] if before and before[0] in verbs else ""
    options, kinds = verbs[verb]["options"], verbs[verb]["arguments"]
    line = _read(before[1:] if verb else before, options)
    if line.waiting:
        value = options[line.waiting]
        return Answer(_choices(current, value, line), value.get("paths", ""))
    if current.startswith("-"):
        option, equals, text = current.partition("=")
        if not equals:
            return Answer([name for name in options if name.startswith(current)])
        return _after(f"{option}=", "", text, options.get(option) or {}, line)
    verb_names = [name for name in verbs if name and name.startswith(current) and not before]
    kind = kinds[min(len(line.arguments), len(kinds) - 1)]
    if kind != "overrides":
        return Answer([], kind)
    if "=" not in current:
        return Answer([*verb_names, *_keys(current, keys, _stages(vocabulary, line))])
    key, _, text = current.partition("=")
    value = _value_of(key.lstrip("+~"), keys)
    start = max(text.rfind(char) for char in "[,") + 1  # of the element at the cursor
    elements = text[:start] or "[" * bool(value.get("list") and not text)
    if elements.startswith("[") != bool(value.get("list")) or set(text) & set("]{}()"):
        value = {}
    return _after(f"{key}=", elements, text[start:], value, line)


def _read(words: Sequence[str], options: Mapping[str, Value | None]) -> Line:
    """Tell arguments from options and their values."""
    arguments, values, waiting = [], {}, None
    for word in words:
        option, equals, value = word.partition("=")
        if waiting:
            values[waiting], waiting = word, None
        elif not word.startswith("-"):
            arguments.append(word)
        elif equals:
            values[option] = value
        elif options.get(word) is not None:
            waiting = word
    return Line(arguments, values, waiting)


def _keys(text: str, keys: Mapping[str, Value], stages: Sequence[str]) -> Iterator[str]:
    """Yield the keys at the level of a text; one that has keys below it ends with a dot."""
    sign = text[: len(text) - len(text.lstrip("+~"))]
    *above, begun = text.removeprefix(sign).split(".")
    at_level: dict[str, None] = {}  # each once, in their order
    for key in keys:
        names = key.split(".")
        if len(names) > len(above) and _match(above, names[: len(above)]):
            name, end = names[len(above)], "." if len(names) > len(above) + 1 else "="
            for choice in stages if name == "*" else (name,):
                if choice.startswith(begun):
                    at_level[".".join((*above, choice)) + end] = None
    for key in at_level:
        yield sign + (key.removesuffix("=") if sign == "~" else key)


def _match(names: Sequence[str], pattern: Sequence[str]) -> bool:
    return all(part in (name, "*") for name, part in zip(names, pattern, strict=True))


def _value_of(key: str, keys: Mapping[str, Value]) -> Value:
    names = key.split(".")
    for pattern, value in keys.items():
        parts = pattern.split(".")
        if len(parts) == len(names) and _match(names, parts):
            return value
    return {}


def _stages(vocabulary: Mapping[str, Any], line: Line) -> Words:
    """Names of the stages of the shipped curriculum that a line chooses."""
    chosen = [word for word in line.arguments if word.startswith("curriculum=")]
    return vocabulary["stages"].get(chosen[-1].partition("=")[2], []) if chosen else []


def _after(before: str, elements: str, text: str, value: Value, line: Line) -> Answer:
    """Complete a value, or an element after others, behind a key or an option."""
    chosen = elements.strip("[").split(",")
    choices = [choice for choice in _choices(text, value, line) if choice not in chosen]
    candidates = [f"{before}{elements}{choice}" for choice in choices]
    return Answer(candidates, value.get("paths", ""), before)


def _choices(text: str, value: Value, line: Line) -> Words:
    """Choices that begin with a text; those with a dash are for a text that has it already."""
    choices = [*value.get("values", ()), *_files(value.get("group"), line)]
    return [
        choice
        for choice in choices
        if choice.startswith(text) and choice.startswith("-") == text.startswith("-")
    ]


def _files(group: str | None, line: Line) -> Words:
    """Names of the files of a group, shipped ones and those of --config-dir."""
    if group is None:
        return []
    folders = [*importlib.import_module("conf").__path__]
    if folder := line.options.get("--config-dir"):
        folders.append(os.path.expanduser(os.path.expandvars(folder)))
    names: set[str] = set()
    for folder in folders:
        try:
            names |= set(os.listdir(os.path.join(folder, group)))
        except OSError:  # it has no such folder, or is none
            continue
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))
