"""From the command line to a `Request`: the only module that knows Hydra.

Hydra composes the YAML and parses the overrides. Every key is checked against the dataclasses
first, so that a wrong one gets the nearest right one instead of Hydra's own message.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launcher.decode import decode, field_at, hint
from launcher.errors import ConfigError
from launcher.request.request import Request
from sweeps import pinned

KNOWN_AS = {
    "layout.sp": "it is layout.sequence_parallel",
    "layout.dp": "it follows: gpus / (tp x pp x cp)",
    "layout.mbs": "it is layout.micro_batch",
    "train.gbs": "it is train.global_batch",
    "train.lr": "it is train.optimizer.lr",
    "model.seq_len": "it is model.sequence",
}
"""What people look for where it is not."""

GROUPS = ("model", "layout", "cluster", "train", "data", "sweep", "curriculum")

STAGES = "curriculum.stages."

WHOLE = "# @package _global_"
"""The first line of a group's file that says something of other groups too."""


def compose(
    arguments: Sequence[str] = (), multirun: bool = False, config_dir: str | None = None
) -> Request:
    """Compose, decode and check what the command line asks for.

    Args:
        arguments: Hydra overrides, ``key=value``.
        multirun: values with commas are the axes of an ad-hoc sweep, Hydra's ``-m``.
        config_dir: a folder whose YAML files join those of this package.

    Raises:
        ConfigError: one line, naming the key.
    """
    overrides = [_parsed(argument) for argument in arguments]
    folder = _folder(config_dir) if config_dir else None
    with hydra.initialize_config_module("conf", version_base="1.3"):
        data = _composed(overrides, folder, multirun)
    request = decode(Request, data)
    for override in overrides:  # a value given here is the value, whatever the sweep's file lists
        if request.sweep and not override.is_sweep_override():
            sweep = pinned(request.sweep, override.key_or_group.split("."))
            request = replace(request, sweep=sweep)
    return request.check()


def _composed(overrides: list[Override], folder: Path | None, multirun: bool) -> dict[str, Any]:
    plain = [o for o in overrides if not o.is_sweep_override()]
    swept = [o for o in overrides if o.is_sweep_override()]
    if swept and not multirun:
        raise ConfigError(f"{swept[0].key_or_group}: {_shown(swept[0])} is several values;"
                          " add -m to run them all")  # fmt: skip
    for override in overrides:
        _check_key(override, folder)
    _check_stages(plain, folder)
    lines = [f"hydra.searchpath=[{quoted(f'file://{folder}')}]"] if folder else []
    lines += [line for override in plain for line in _line(override)]
    data = _load(lines, folder)
    for override in _set_after(plain):
        value = OmegaConf.to_container(OmegaConf.create({"value": override.value()}), resolve=True)
        assert isinstance(value, dict)
        _assign(data, override.key_or_group, value["value"])
    if multirun:
        axes = {o.key_or_group: list(_values(o)) for o in swept}
        data["sweep"] = _joined(data.get("sweep"), axes)
    if data.get("sweep"):
        data["sweep"] = _normal(data["sweep"], lines, folder)
    return data


def _parsed(argument: str) -> Override:
    key, equals, value = argument.partition("=")
    if not key.strip("+~ ") or not (equals or argument.startswith("~")):
        raise ConfigError(f"{argument!r} is not KEY=VALUE")
    parse = OverridesParser.create().parse_overrides
    try:
        return parse([argument])[0]
    except HydraException:  # its grammar knows no quoted keys, and not every letter
        try:
            override = parse([f"{key}={quoted(value)}"])[0]
        except HydraException as error:
            raise ConfigError(f"{argument!r}: {key!r} is not a key") from error
    return replace(override, _value=_yaml(value))


def _yaml(text: str) -> Any:
    """A mapping or a list as YAML reads it; anything else is a text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, dict | list) else text


def _set_after(plain: Sequence[Override]) -> Iterator[Override]:
    """What is set after Hydra composed, and what follows it and is below it."""
    whole: list[str] = []
    for override in plain:
        if _is_ours(override):
            whole.append(f"{override.key_or_group}.")
            yield override
        elif override.key_or_group.startswith(tuple(whole)):
            yield override


def _is_ours(override: Override) -> bool:
    """Whether a value is set after Hydra composed: it would merge a mapping into what is there."""
    value = override.value()
    return isinstance(value, dict) or (
        isinstance(value, list) and override.key_or_group not in GROUPS
    )


def quoted(text: str) -> str:
    """A text of any characters in Hydra's grammar."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _line(override: Override) -> Iterator[str]:
    """The override as Hydra gets it; `++` because the key has been checked already."""
    if _is_ours(override):
        return
    forced = override.key_or_group not in GROUPS and override.type != OverrideType.DEL
    text = (override.input_line or "").lstrip("+")
    yield f"++{text}" if forced else text


def _check_key(override: Override, folder: Path | None) -> None:
    key = override.key_or_group
    if override.package:
        raise ConfigError(f"{key}@{override.package}: packages cannot be chosen here")
    if key in KNOWN_AS:
        raise ConfigError(f"{key}: no such key; {KNOWN_AS[key]}")
    if key not in GROUPS:
        field_at(Request, key.split("."))
        return
    known = _options(key, folder)
    shipped = _options(key, None)
    for name in _values(override):
        if folder and name in shipped and (folder / key / f"{name}.yaml").exists():
            path = folder / key / f"{name}.yaml"
            raise ConfigError(f"{key}: {name} is shipped too; give {path} another name")
        if isinstance(name, str) and name not in known:
            raise ConfigError(f"{key}: no {name!r}{hint(name, known)}")


def _check_stages(plain: list[Override], folder: Path | None) -> None:
    """A stage that the curriculum does not have is a slip, unless + says that it is new."""
    of_stages = [o for o in plain if o.key_or_group.startswith(STAGES)]
    asked = {o.key_or_group.split(".")[2] for o in of_stages if not o.is_add()}
    asked -= {o.key_or_group.split(".")[2] for o in of_stages if o.is_add()}
    if not asked:
        return
    others = [o for o in plain if o not in of_stages]
    known = (_composed(others, folder, False).get("curriculum") or {}).get("stages") or {}
    for name in sorted(asked - known.keys()):
        raise ConfigError(
            f"{STAGES}{name}: no such stage{hint(name, known)}; a new one: +{STAGES}{name}..."
        )


def _values(override: Override) -> Iterator[Any]:
    """The one value of an override, or each of those with commas between them."""
    if not override.is_sweep_override():
        yield override.value()
        return
    for value in override.sweep_iterator(transformer=lambda element: element):
        yield value.text if isinstance(value, QuotedString) else value


def _shown(override: Override) -> str:
    return (override.input_line or "").split("=", 1)[1]


def _options(group: str, folder: Path | None) -> list[str]:
    """The names of a group's files, those of --config-dir included."""
    names = set(GlobalHydra.instance().config_loader().get_group_options(group))
    if folder:
        names |= {path.stem for path in (folder / group).glob("*.yaml")}
    return sorted(names)


def _load(lines: list[str], folder: Path | None) -> dict[str, Any]:
    try:
        config = hydra.compose("config", lines)
        data: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    except MissingConfigException as error:
        raise ConfigError(_no_base(error, folder)) from error
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"config: {' '.join(str(error).split())}") from error
    for group in GROUPS:
        inside = data[group] if isinstance(data.get(group), dict) else {}
        if strays := [f"{key}:" for key in (*GROUPS, "scheduler") if key in inside]:
            chosen = next((line for line in lines if line.startswith(f"{group}=")), group)
            said = f"the file says {' and '.join(strays)} below {group}"
            raise ConfigError(f"{chosen}: {said}; its first line has to be {WHOLE!r}")
    return data


def _no_base(error: MissingConfigException, folder: Path | None) -> str:
    """Which file begins with which other file that there is not."""
    file = re.match(r"In '(.+?)':", str(error))
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    where = f"{file[1]}.yaml: defaults" if file else "config"
    return f"{where}: no {name!r} in {group}{hint(name, _options(group, folder))}"


def _joined(sweep: dict[str, Any] | None, axes: dict[str, list[Any]]) -> dict[str, Any]:
    """A sweep, with the axes of ``-m`` added; without a sweep one of its own."""
    out: dict[str, Any] = sweep or {}
    out.setdefault("axes", {})
    for key, values in axes.items():
        _assign(out["axes"], key, values)
    return out


def _assign(data: dict[str, Any], key: str, value: Any) -> None:
    *above, leaf = key.split(".")
    for name in above:
        data = data.setdefault(name, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{key}: {name} has a value, so nothing can go below it")
    data[leaf] = value


def _normal(sweep: Any, lines: list[str], folder: Path | None) -> Any:
    """A sweep with one condition or one zip as a list, and names of groups as their content."""
    if not isinstance(sweep, dict):
        return sweep

    def content(group: str, name: str, where: str) -> Any:
        """What the file of that name says, under the same overrides."""
        if name not in (known := _options(group, folder)):
            raise ConfigError(f"{where}.{group}: no {name!r}{hint(name, known)}")
        others = [line for line in lines if not line.startswith(f"{group}=")]
        return _load([*others, f"{group}={name}"], folder)[group]

    out = dict(sweep)
    if isinstance(out.get("where"), str):
        out["where"] = [out["where"]]
    if isinstance(out.get("zip"), dict):
        out["zip"] = [out["zip"]]
    for key in ("zip", "points"):
        if isinstance(out.get(key), list):
            out[key] = [_with_groups(tree, content, f"sweep.{key}") for tree in out[key]]
    if "axes" in out:
        out["axes"] = _with_groups(out["axes"], content, "sweep.axes")
    return out


def _with_groups(tree: Any, content: Callable[[str, str, str], Any], where: str) -> Any:
    """``model: [llama_7b, llama_13b]`` with each name replaced by what the file says."""
    if not isinstance(tree, dict):
        return tree
    out = dict(tree)
    for group in GROUPS[:-2]:
        names = out.get(group)
        if isinstance(names, str):
            out[group] = content(group, names, where)
        elif isinstance(names, list):
            out[group] = [content(group, n, where) if isinstance(n, str) else n for n in names]
    return out


def _folder(path: str) -> Path:
    folder = Path(path).resolve()
    if not folder.is_dir():
        raise ConfigError(f"--config-dir: {path} is not a folder")
    return folder
