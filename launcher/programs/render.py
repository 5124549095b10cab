"""A run as another program takes it: an argument list, or a file and an argument list."""

import json
import operator
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launcher.programs.program import Program, Style
from launcher.spec.formula import Formula
from launcher.spec.run import RunSpec

ARGUMENTS, FILE = "{arguments}", "{file}"
"""Words of a command that stand for all arguments, and for the file with them."""

FIELD = re.compile(r"\{([\w.]+)\}")
"""Field of a run in a word of a command."""

FILES: Mapping[Style, str] = {"json": "ds_config.json", "toml": "run.toml"}
"""Style with a file -> a name for it."""


def document(program: Program, spec: RunSpec) -> dict[str, Any]:
    """Return the run as plain data: ``arguments`` of the program, and the ``command`` with them.

    Raises:
        ConfigError: the program cannot do it.
    """
    arguments = program.values(spec)
    return {
        "name": program.name,
        "command": list(
            _command(program, spec, [w for g in _groups(program, arguments) for w in g])
        ),
        "arguments": arguments if program.style == "flags" else nested(arguments),
        "chosen_there": dict(_decided(program, spec)),
    }


def text(program: Program, spec: RunSpec) -> str:
    """Return the run as a person copies it: a shell command, an argument a line, or a file.

    JSON has no comments: `notes` are to be printed beside it.

    Raises:
        ConfigError: the program cannot do it.
    """
    values = program.values(spec)
    if program.style == "json":
        return json.dumps(nested(values), indent=2, ensure_ascii=False) + "\n"
    if program.style == "toml":
        return "\n".join([*notes(program, spec), *_toml(nested(values))]) + "\n"
    start = shlex.join(_command(program, spec, []))
    arguments = [shlex.join(group) for group in _groups(program, values)]
    return "\n".join([*notes(program, spec), " \\\n    ".join([start, *arguments])]) + "\n"


def notes(program: Program, spec: RunSpec) -> list[str]:
    """Return comments: the run, what the program decides of it, and how a file of it is started."""
    lines = [f"# {spec.id} as {program.title}"]
    lines += [f"# {field}: {decider}" for field, decider in _decided(program, spec)]
    if program.style in FILES:
        lines.append(f"# start: {shlex.join(_command(program, spec, []))}")
    return lines


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted names as tables in tables."""
    tables: dict[str, Any] = {}
    for name, value in values.items():
        *above, leaf = name.split(".")
        table = tables
        for part in above:
            table = table.setdefault(part, {})
        table[leaf] = value
    return tables


def _decided(program: Program, spec: RunSpec) -> Iterator[tuple[str, str]]:
    """Yield the fields that the program decides by itself, and by what, where the run has any."""
    for field, decider in program.chosen_there.items():
        value: Any = operator.attrgetter(field)(spec)
        if value not in (None, 0, False, {}):
            yield f"{field} {value}", decider


def _command(program: Program, spec: RunSpec, arguments: Sequence[str]) -> Iterator[str]:
    """Yield the words that start a run; ``{file}`` stands for the file."""
    for word in program.command:
        if word == ARGUMENTS:
            yield from arguments
        elif word == FILE:
            yield FILES[program.style]
        else:
            yield FIELD.sub(lambda match: str(Formula(match[1], match[0]).value(spec)), word)


def _groups(program: Program, values: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the words of each argument."""
    for name, value in values.items():
        if program.style == "overrides":
            yield [f"{name}={_override(value)}"]
        elif program.style == "flags":
            flag = f"--{name}"
            if value is True:
                yield [flag]
            elif isinstance(value, list | tuple):
                yield [flag, *map(_word, value)]
            else:
                yield [flag, _word(value)]


def _word(value: Any) -> str:
    """Return a value as a word; a whole number without a fraction, which some flags do not take."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)


def _override(value: Any) -> str:
    """Return a value as OmegaConf's command line reads it: JSON is YAML."""
    return value if isinstance(value, str) else json.dumps(value)


def _toml(table: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the lines of a table of TOML: its values, then the tables in it."""
    inner = {name: value for name, value in table.items() if isinstance(value, dict)}
    for name, value in table.items():
        if name not in inner:
            yield f"{name} = {json.dumps(value, ensure_ascii=False)}"
    for name, value in inner.items():
        yield ""
        yield f"[{above}{name}]"
        yield from _toml(value, f"{above}{name}.")
