"""The best run of a sweep as a file that ``launch --config`` starts the real run from."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from launcher.decode import encode, join
from launcher.errors import ConfigError, ReadError
from launcher.results.run_folder import RunFolder
from launcher.results.sweep_folder import SweepFolder
from launcher.spec.run import RunSpec

GROUPS = ("cluster", "scheduler")
"""Groups of keys that are taken from the command of the sweep: a spec says not where to run."""

FREE = ("blend",)
"""Fields whose keys the user chooses: one value."""


def config(row: "pd.Series[Any]", run: RunFolder) -> str:
    """YAML of the run of a table's row. Raises ConfigError as `values` does."""
    lines = [_line(key, value) for key, value in values(run).items()]
    return "\n".join([*_remarks(row, run.spec()), *lines]) + "\n"


def values(run: RunFolder) -> dict[str, Any]:
    """Dotted keys of a run, and their values. Raises ConfigError as `real_run` does."""
    return dict(_where_to_run(run.path.parent)) | dict(_keys(real_run(run)))


def real_run(run: RunFolder) -> RunSpec:
    """Spec of the real run that a trial stands for: the whole of its batch, and as many steps as
    its tokens take, where they are known.

    Raises:
        ConfigError: it is a stage of a curriculum, or this project did not start it.
    """
    if run.is_imported:
        raise ConfigError(f"{run.path}: was imported: it cannot be started again from here")
    try:
        spec = run.spec()
    except ReadError as error:
        raise ConfigError(f"{run.path}: cannot be started again: {error}") from error
    if spec.stage:
        raise ConfigError(f"{run.path}: is a stage; launch resume goes on with its curriculum")
    train = replace(spec.train, probe_micro_batches=None)
    if train.tokens:
        train = replace(train, steps=math.ceil(train.tokens / spec.tokens_per_step))
    return replace(spec, train=train)


def _keys(spec: RunSpec) -> Iterator[tuple[str, Any]]:
    data = encode(spec)
    del data["stage"], data["data"]["content"], data["train"]["probe_micro_batches"]
    yield from _flat(data, "")


def _flat(data: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict) and name not in FREE:
            yield from _flat(value, join(prefix, name))
        else:
            yield join(prefix, name), value


def _where_to_run(sweep: Path) -> Iterator[tuple[str, Any]]:
    """Cluster that the sweep was started on, and its keys of the scheduler."""
    for key, value in SweepFolder(sweep).overrides().items():
        if key == GROUPS[0] or key.split(".")[0] == GROUPS[1]:
            yield key, value


def _line(key: str, value: Any) -> str:
    """One line; JSON is YAML, and quotes what has to be."""
    return f"{key}: {json.dumps(value, ensure_ascii=False)}"


def _remarks(row: "pd.Series[Any]", spec: RunSpec) -> Iterator[str]:
    yield f"# the best of {row['sweep']}: {row['folder']}"
    units = {"tokens/s": "tokens_per_s", "ms a step": "step_ms_p50", "GiB": "mem_max_gib"}
    figures = [f"{row[name]:,.4g} {unit}" for unit, name in units.items() if pd.notna(row[name])]
    figures += [f"loss {row['loss_last']:.4f}"] if pd.notna(row["loss_last"]) else []
    days = [f"{row['eta_days']:,.1f} days"] if pd.notna(row["eta_days"]) else []
    probe = spec.train.probe_micro_batches
    trial = f" of {probe} of {spec.accumulation} micro batches, and derived" if probe else ""
    yield f"# {', '.join([*figures, *days])}, measured in {row['steps']} steps{trial}"
    if spec.train.tokens:
        yield f"# train.steps is for train.tokens {spec.train.tokens:,}; the trial took fewer"
        yield "# a long run wants checkpoint_every=N besides"
    else:
        yield f"# train.steps {spec.train.steps} is the trial's: a real run wants train.steps=N,"
        yield "# and checkpoint_every=N"
