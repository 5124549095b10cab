"""Composition of a `Request` from the command line: the only module that knows Hydra.

Hydra composes the YAML and parses the overrides. Every key is checked against the dataclasses
first, so that a wrong one gets the nearest right one instead of Hydra's own message.
"""

import json
import math
import re
import threading
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
"""Hints for keys that people look for and that are not there."""

GROUPS = ("model", "layout", "cluster", "train", "data", "sweep", "curriculum")

STAGES = "curriculum.stages."

GLOBAL_PACKAGE = "# @package _global_"
"""First line that a group's file needs to set keys of other groups too."""


def _times(factor: float, number: float) -> float:
    """Product of two numbers, a whole one where it is one: half of a batch of 24 is 12."""
    if isinstance(factor, str) or isinstance(number, str):
        raise ValueError(f"${{times:A,B}} takes two numbers, not {factor!r} and {number!r}")
    product = factor * number
    return int(product) if float(product).is_integer() else product


def _per_rank(number: float, *, _root_: Any) -> float:
    """Product of a number and the ranks of the cluster, as far as these are numbers."""
    sizes = [OmegaConf.select(_root_, f"cluster.{name}") for name in ("nodes", "gpus_per_node")]
    return _times(number, math.prod(size for size in sizes if isinstance(size, int)))


# In YAML: ${times:2,${train.global_batch}}, an axis relative to the run that it varies, and
# ${per_rank:8}, a batch that any number of ranks divides.
OmegaConf.register_new_resolver("times", _times, replace=True)
OmegaConf.register_new_resolver("per_rank", _per_rank, replace=True)

_HYDRA = threading.Lock()
"""Hydra keeps what it composes in a global: one thread at a time."""


def compose(
    arguments: Sequence[str] = (), multirun: bool = False, config_dir: str | None = None
) -> Request:
    """Compose, decode and check the request of a command line.

    Args:
        arguments: Hydra overrides, ``key=value``.
        multirun: values with commas are the axes of an ad-hoc sweep, Hydra's ``-m``.
        config_dir: a folder whose YAML files join those of this package.

    Raises:
        ConfigError: one line, naming the key.
    """
    overrides = [_parsed(argument) for argument in arguments]
    folder = _folder(config_dir) if config_dir else None
    with _HYDRA, hydra.initialize_config_module("conf", version_base="1.3"):
        data, relative_axes = _composed(overrides, folder, multirun)
    request = decode(Request, data)
    # A value given here is the value, whatever the sweep's file lists; an axis that is relative to
    # it varies it.
    for override in overrides:
        key = override.key_or_group
        if request.sweep and not override.is_sweep_override() and key not in relative_axes:
            request = replace(request, sweep=pinned(request.sweep, key.split(".")))
    return request.check()


def _composed(
    overrides: list[Override], folder: Path | None, multirun: bool
) -> tuple[dict[str, Any], set[str]]:
    """Return what the overrides make of the YAML, and the `_relative_axes` of its sweep."""
    plain = [override for override in overrides if not override.is_sweep_override()]
    swept = [override for override in overrides if override.is_sweep_override()]
    if swept and not multirun:
        key, text = swept[0].key_or_group, _value_text(swept[0])
        raise ConfigError(f"{key}: {text} is several values; add -m to run them all")
    for override in overrides:
        _check_key(override, folder)
    _check_stages(plain, folder)
    lines = [f"hydra.searchpath=[{quoted(f'file://{folder}')}]"] if folder else []
    lines += [line for override in plain for line in _line(override)]
    data, relative_axes = _load(lines, folder)
    for override in _set_after(plain):
        value = OmegaConf.to_container(OmegaConf.create({"value": override.value()}), resolve=True)
        assert isinstance(value, dict)
        _assign(data, override.key_or_group, value["value"])
    if multirun:
        axes = {override.key_or_group: list(_values(override)) for override in swept}
        data["sweep"] = _with_axes(data.get("sweep"), axes)
    if data.get("sweep"):
        data["sweep"] = _normalized(data["sweep"], lines, folder)
    return data, relative_axes


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
    """Parse a mapping or a list as YAML; leave anything else a text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, dict | list) else text


def _set_after(plain: Sequence[Override]) -> Iterator[Override]:
    """Overrides to set after Hydra composed, and the later ones of keys below them."""
    prefixes: list[str] = []
    for override in plain:
        if _replaces(override):
            prefixes.append(f"{override.key_or_group}.")
            yield override
        elif override.key_or_group.startswith(tuple(prefixes)):
            yield override


def _replaces(override: Override) -> bool:
    """Return True if a value is to replace the old one: Hydra would merge the two mappings."""
    value = override.value()
    return isinstance(value, dict) or (
        isinstance(value, list) and override.key_or_group not in GROUPS
    )


def quoted(text: str) -> str:
    """Quote a text of any characters for Hydra's grammar."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _line(override: Override) -> Iterator[str]:
    """Yield the override for Hydra, if it gets it; `++` because the key has been checked."""
    if _replaces(override):
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
    options = _options(key, folder)
    shipped = _options(key, None)
    for name in _values(override):
        if folder and name in shipped and (folder / key / f"{name}.yaml").exists():
            path = folder / key / f"{name}.yaml"
            raise ConfigError(f"{key}: {name} is shipped too; give {path} another name")
        if isinstance(name, str) and name not in options:
            raise ConfigError(f"{key}: no {name!r}{hint(name, options)}")


def _check_stages(plain: list[Override], folder: Path | None) -> None:
    """Refuse keys of a stage that the curriculum does not have, unless + makes it a new one."""
    of_stages = [override for override in plain if override.key_or_group.startswith(STAGES)]
    names = {override.key_or_group.split(".")[2] for override in of_stages if not override.is_add()}
    names -= {override.key_or_group.split(".")[2] for override in of_stages if override.is_add()}
    if not names:
        return
    without_stages = [override for override in plain if override not in of_stages]
    curriculum = _composed(without_stages, folder, False)[0].get("curriculum") or {}
    stages = curriculum.get("stages") or {}
    for name in sorted(names - stages.keys()):
        raise ConfigError(
            f"{STAGES}{name}: no such stage{hint(name, stages)}; a new one: +{STAGES}{name}..."
        )


def _values(override: Override) -> Iterator[Any]:
    """Yield the value of an override, or each of several with commas between them."""
    if not override.is_sweep_override():
        yield override.value()
        return
    for value in override.sweep_iterator(transformer=lambda element: element):
        yield value.text if isinstance(value, QuotedString) else value


def _value_text(override: Override) -> str:
    return (override.input_line or "").split("=", 1)[1]


def _options(group: str, folder: Path | None) -> list[str]:
    """Names of a group's files, those of --config-dir included."""
    names = set(GlobalHydra.instance().config_loader().get_group_options(group))
    if folder:
        names |= {path.stem for path in (folder / group).glob("*.yaml")}
    return sorted(names)


def _load(lines: list[str], folder: Path | None) -> tuple[dict[str, Any], set[str]]:
    """Return what Hydra composes, and the `_relative_axes` of its sweep."""
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
            reason = f"the file says {' and '.join(strays)} below {group}"
            raise ConfigError(f"{chosen}: {reason}; its first line has to be {GLOBAL_PACKAGE!r}")
    sweep = OmegaConf.to_container(config, resolve=False).get("sweep")  # type: ignore[union-attr]
    return data, set(_relative_axes(sweep))


def _relative_axes(sweep: Any) -> Iterator[str]:
    """Yield the fields whose values a sweep gives in terms of what the run itself has there.

    A value that is given for one is what the axis is relative to, and takes nothing from it.
    """
    trees = sweep if isinstance(sweep, dict) else {}
    together = trees.get("zip") or []
    together = [together] if isinstance(together, dict) else together
    for tree in [trees.get("axes"), *together]:
        for path, values in _leaves(tree):
            if f"${{{path}}}" in json.dumps(values):
                yield path


def _leaves(tree: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path of each leaf of a tree, and its value."""
    if not isinstance(tree, dict):
        yield above, tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{above}.{key}" if above else str(key))


def _no_base(error: MissingConfigException, folder: Path | None) -> str:
    """Message on a file whose ``defaults`` name a file that is not there."""
    file = re.match(r"In '(.+?)':", str(error))
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    where = f"{file[1]}.yaml: defaults" if file else "config"
    return f"{where}: no {name!r} in {group}{hint(name, _options(group, folder))}"


def _with_axes(sweep: dict[str, Any] | None, axes: dict[str, list[Any]]) -> dict[str, Any]:
    """Add the axes of ``-m`` to a sweep; without one, they are a sweep of their own."""
    extended: dict[str, Any] = sweep or {}
    extended.setdefault("axes", {})
    for key, values in axes.items():
        _assign(extended["axes"], key, values)
    return extended


def _assign(data: dict[str, Any], key: str, value: Any) -> None:
    *above, leaf = key.split(".")
    for name in above:
        data = data.setdefault(name, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{key}: {name} has a value, so nothing can go below it")
    data[leaf] = value


def _normalized(sweep: Any, lines: list[str], folder: Path | None) -> Any:
    """Put a sweep's one condition or zip in a list, and the content of groups for their names."""
    if not isinstance(sweep, dict):
        return sweep

    def content(group: str, name: str, where: str) -> Any:
        """Content of the group's file of that name, under the same overrides."""
        if name not in (options := _options(group, folder)):
            raise ConfigError(f"{where}.{group}: no {name!r}{hint(name, options)}")
        other_lines = [line for line in lines if not line.startswith(f"{group}=")]
        return _load([*other_lines, f"{group}={name}"], folder)[0][group]

    normalized = dict(sweep)
    if isinstance(normalized.get("where"), str):
        normalized["where"] = [normalized["where"]]
    if isinstance(normalized.get("zip"), dict):
        normalized["zip"] = [normalized["zip"]]
    for key in ("zip", "points"):
        if isinstance(normalized.get(key), list):
            normalized[key] = [
                _with_groups(tree, content, f"sweep.{key}") for tree in normalized[key]
            ]
    if "axes" in normalized:
        normalized["axes"] = _with_groups(normalized["axes"], content, "sweep.axes")
    return normalized


def _with_groups(tree: Any, content: Callable[[str, str, str], Any], where: str) -> Any:
    """Replace each name in ``model: [llama_7b, llama_13b]`` by the content of its file."""
    if not isinstance(tree, dict):
        return tree
    replaced = dict(tree)
    for group in GROUPS[:-2]:
        names = replaced.get(group)
        if isinstance(names, str):
            replaced[group] = content(group, names, where)
        elif isinstance(names, list):
            replaced[group] = [
                content(group, name, where) if isinstance(name, str) else name for name in names
            ]
    return replaced


def _folder(path: str) -> Path:
    folder = Path(path).resolve()
    if not folder.is_dir():
        raise ConfigError(f"--config-dir: {path} is not a folder")
    return folder
