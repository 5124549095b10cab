"""Logs made of a few lines, read as the verb reads them."""

import dataclasses
from pathlib import Path
from typing import Any

from launcher import foreign
from launcher.foreign.source import Source, SourceRun, digest
from launcher.sheets import predictions


def source(path: Path, hardware: str | None = None) -> Source:
    return Source(
        path=path,
        sha256=digest(path),
        clusters=predictions.clusters(),
        models=predictions.models(),
        hardware=hardware,
    )


def read(
    folder: Path, text: str, name: str = foreign.AUTO, hardware: str | None = None
) -> SourceRun:
    path = folder / "run.log"
    path.write_text(text, newline="")
    (run,) = foreign.read(source(path, hardware), name)
    return run


def known_fields(line: dict[str, Any]) -> dict[str, Any]:
    """Fields of a line of metrics that are known."""
    return {name: value for name, value in line.items() if value is not None}


def known_facts(run: SourceRun) -> dict[str, Any]:
    """Facts of a run that are known, but for its parameters."""
    facts = dataclasses.asdict(run.imported.known)
    return {
        name: value for name, value in facts.items() if value is not None and name != "params_b"
    }
