"""Write what shells complete after ``launch``, from the parsers of the verbs and the dataclasses.

python -m tests.vocabulary
"""

import argparse
import dataclasses
import json
import re
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from unittest.mock import patch

import yaml

from launcher.backends import BACKENDS
from launcher.cli.completion import candidates
from launcher.cli.parser import Parser
from launcher.cli.registry import GROUPS as VERB_GROUPS
from launcher.cli.verb import Verb
from launcher.decode import is_dataclass
from launcher.foreign import AUTO, FORMATS
from launcher.programs import program as programs
from launcher.request.compose import GROUPS
from launcher.request.request import Request
from launcher.request.schedulers import SCHEDULERS
from launcher.results.columns import COLUMNS, GOALS
from launcher.sheets import predictions
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from launcher.spec.spike_guard import SpikeGuard
from sweeps import STRATEGIES
from tests.conftest import ROOT

PATH = Path(candidates.__file__).with_name("vocabulary.json")

NAMES: Mapping[str, list[str]] = {
    "backend": [*BACKENDS],
    "curriculum.stages.*.backend": [*BACKENDS],
    "scheduler.name": [*SCHEDULERS],
    "sweep.strategy": [*STRATEGIES],
    "sweep.goal": [*GOALS],
    "data.tokenizer": ["bpe", "bytes"],
}
"""Choices of keys whose type is a text."""

PATHS = {
    "output": "directories",
    "cache": "directories",
    "constants": "files",
    "data.tokenizer": "files",
    "scheduler.python": "files",
    "scheduler.container.image": "files",
}

INSIDE = {"sweep.axes": RunSpec, "curriculum.stages.*.layout": ParallelLayout}
"""Fields of mappings that decode later."""

OPTIONS: Mapping[tuple[str, str], list[str]] = {
    ("import", "--log-format"): [AUTO, *FORMATS],
    ("import", "--hardware"): [name for name in predictions.clusters() if "local" not in name],
    ("best", "--as"): programs.names(),
    ("best", "--by"): [name for name, column in COLUMNS.items() if column.better],
    ("spikes", "--set"): [f"{field.name}=" for field in dataclasses.fields(SpikeGuard)],
}
"""Choices of options that their parsers do not list."""

KINDS = {"DIR": "directories", "FILE": "files", "LOG": "files", "KEY=VALUE": "overrides"}
"""Kinds of arguments and of values, by the first word of a metavar."""


class _Parsing(Exception):
    """A verb has made its parser."""


def text() -> str:
    """The whole file, an entry a line."""
    verbs = {verb.name: _verb(verb) for group in VERB_GROUPS.values() for verb in group}
    rooms = {"verbs": verbs, "keys": dict(_keys(Request, "")), "stages": _stages()}
    blocks = []
    for room, entries in rooms.items():
        lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items()]
        blocks.append(f' "{room}": {{\n' + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def _verb(verb: Verb) -> dict[str, Any]:
    parser = _parser(verb)
    options = [action for action in parser._actions if action.option_strings]
    arguments = [action for action in parser._actions if not action.option_strings]
    kinds = [KINDS[re.split(r"[.|]", str(argument.metavar))[0]] for argument in arguments]
    return {
        "options": {
            name: _option(verb.name, parser, option)
            for option in options
            for name in option.option_strings
        },
        "arguments": kinds if arguments[-1].nargs else [*kinds, ""],
    }


def _parser(verb: Verb) -> Parser:
    parsers: list[Parser] = []

    def parse(parser: Parser, words: Any) -> None:
        parsers.append(parser)
        raise _Parsing

    with suppress(_Parsing), patch.object(Parser, "parse_intermixed_args", parse):
        verb.run([])
    return parsers[0]


def _option(verb: str, parser: Parser, action: argparse.Action) -> dict[str, Any] | None:
    if action.nargs == 0:
        return None
    for name in action.option_strings:
        if (verb, name) in OPTIONS:
            return {"values": OPTIONS[verb, name]}
    if action.choices:
        return {"values": [*action.choices]}
    if action.dest == "sort" and parser.of_records:
        return {"values": [*COLUMNS, *(f"-{name}" for name in COLUMNS)]}
    kind = KINDS.get(str(action.metavar).split(".")[0])
    return {"paths": kind} if kind in ("files", "directories") else {}


def _keys(kind: Any, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key below a dataclass, and what its value can be."""
    for name, hint in get_type_hints(kind).items():
        if prefix == "sweep.axes." and name == "stage":
            continue
        key = prefix + name
        if key.removeprefix("sweep.axes.") in GROUPS or not is_dataclass(hint):
            yield key, _value(key, hint)
        inner = [part for part in (hint, *get_args(hint)) if is_dataclass(part)]
        below = f"{key}.*" if get_origin(hint) is dict and inner else key
        if inner or key in INSIDE:
            for name_below, value in _keys(INSIDE.get(key) or inner[0], f"{below}."):
                in_axis = key == "sweep.axes" and not value.get("list")
                yield name_below, value | {"list": True} if in_axis and value else value


def _value(key: str, hint: Any) -> dict[str, Any]:
    within = key.removeprefix("sweep.axes.")
    if within in GROUPS:
        return {"group": within}
    value: dict[str, Any] = {}
    options = [*get_args(hint)] if get_origin(hint) in (Union, types.UnionType) else [hint]
    is_list = get_origin(options[0]) is tuple
    element = get_args(options[0])[0] if is_list else options[0]
    if within in NAMES:
        value["values"] = NAMES[within]
    elif get_origin(element) is Literal:
        value["values"] = [str(choice) for choice in get_args(element)]
    elif element is bool:
        value["values"] = ["true", "false"]
    if value and types.NoneType in options:
        value["values"] = [*value["values"], "null"]
    if value and is_list:
        value["list"] = True
    if within in PATHS:
        value["paths"] = PATHS[within]
    return value


def _stages() -> dict[str, list[str]]:
    """Names of the stages of each shipped curriculum."""
    files = sorted((ROOT / "conf" / "curriculum").glob("*.yaml"))
    return {
        file.stem: [*yaml.safe_load(file.read_text())["curriculum"]["stages"]] for file in files
    }


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
