"""Records of this project's own runs, as a sheet that the constants can be fitted to.

Unlike a row that somebody wrote, a record has its whole spec: nothing is assumed, and the engines'
own habits (norms of several kernels, bytes of gradients) are those of a plan.
"""

from collections.abc import Callable
from pathlib import Path

from launcher.errors import ConfigError, ReadError
from launcher.files import read_json
from launcher.planner.engines import EngineTraits
from launcher.planner.points import Points
from launcher.results import record
from launcher.results.outcomes import NEVER_RAN
from launcher.results.record import RunRecord
from launcher.sheets.row import Row
from launcher.sheets.sheet import Sheet
from launcher.spec.run import RunSpec

ENDINGS = (".jsonl", ".json")
"""Endings of a sweep's records file, and of a file of JSON with a list ``records``."""


def read(path: Path, engine_traits: Callable[[RunSpec], EngineTraits]) -> Sheet:
    """Read what was measured of the runs in a file of records.

    Args:
        path: a sweep's records.jsonl, or JSON with the same objects below ``records``.
        engine_traits: what the backend of a spec answers, `launcher.backends.engine_traits`.

    Raises:
        ConfigError: it cannot be read, or none of its points ever ran.
    """
    runs = [run for run in _records(path) if run.outcome not in NEVER_RAN]
    if not runs:
        raise ConfigError(f"{path}: no record of a run")
    rows = [_row(run) for run in runs]
    return Sheet(
        written=rows,
        rows=rows,
        points=Points.from_specs([run.spec for run in runs], engine_traits),
        notes=[""] * len(runs),
        assumed=[frozenset()] * len(runs),
        refusals=[None] * len(runs),
    )


def _records(path: Path) -> list[RunRecord]:
    if not path.is_file():
        raise ConfigError(f"{path}: No such file")
    try:
        if path.suffix == ".jsonl":
            return record.read(path)
        content = read_json(path)
    except ReadError as error:
        raise ConfigError(str(error)) from error
    lines = content.get("records") if isinstance(content, dict) else None
    if not isinstance(lines, list):
        raise ConfigError(f'{path}: has no list "records"')
    try:
        return [RunRecord.from_json(line) for line in lines]
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _row(run: RunRecord) -> Row:
    """Cells by which rows are compared, and what was measured: a process's memory is no card's."""
    spec, figures = run.spec, run.figures
    on_card = figures.memory_kind == "cuda reserved"
    cells = {
        "source": spec.cluster.accelerator.name,
        "hardware": spec.cluster.accelerator.name,
        "n_gpus": spec.cluster.gpus,
        "layers": spec.model.layers,
        "hidden": spec.model.hidden,
        "seq_len": spec.model.sequence,
        # Under offload it may be the memory of the host that was not enough.
        "outcome": None if run.outcome == "oom" and spec.layout.offload else run.outcome,
        "step_s": figures.step_ms_p50 and figures.step_ms_p50 / 1000,
        "mem_gb": figures.mem_max_gib if on_card else None,
        "mem_kind": "reserved",
    }
    return {name: "" if cell is None else str(cell) for name, cell in cells.items()}
