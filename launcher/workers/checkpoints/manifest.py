"""Manifest of a checkpoint: its files, the regions of matrices in them, and the model.

Nothing that trains is imported, so that looking at a checkpoint costs nothing.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.decode import decode, encode, fingerprint
from launcher.errors import ReadError
from launcher.spec.run import RunSpec
from launcher.spec.shape import ModelShape

FORMAT = 3
"""1 was a file for each rank's own tensors, of use to the same layout only; 2 had no trajectory."""
NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A region of a parameter; a file holds its weights and both moments of Adam."""

    name: str
    """Global name of the parameter."""
    rows: tuple[int, ...]
    """First row, and the first one after the region."""
    columns: tuple[int, ...]
    """First column, and the first one after the region."""
    steps: int
    """Steps that Adam has done on it."""

    @property
    def elements(self) -> int:
        """Number of elements of each of its tensors."""
        return (self.rows[1] - self.rows[0]) * (self.columns[1] - self.columns[0])

    def key(self, kind: str) -> str:
        """Name of one of its tensors in its file."""
        (top, bottom), (left, right) = self.rows, self.columns
        return f"{self.name}[{top}:{bottom},{left}:{right}].{kind}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One file of a checkpoint."""

    bytes: int
    sha256: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The model that was trained."""

    name: str
    digest: str
    """Fingerprint of the sizes."""
    sizes: dict[str, int]
    """Sizes that decide the parameters and their shapes, and no others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """All about a checkpoint but its tensors."""

    format: int = FORMAT
    step: int
    """Last optimizer step done."""
    spec: str
    """Id of the run's spec."""
    trajectory: str
    """Digest of all that decides the losses: see `RunSpec.trajectory`."""
    seed: int
    model: Model
    written_by: dict[str, Any]
    """Engine, layout, ranks and precision; of no meaning to whoever reads it."""
    progress: dict[str, Any]
    """JSON that the training loop wants back when it goes on."""
    score: float | None = None
    """The lower, the better; of those with one, the best may stay."""
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Rows and columns of each full parameter; a vector has one row."""
    files: dict[str, Part] = field(default_factory=dict)
    """Files by name."""
    digest: str = ""
    """Fingerprint of all other fields."""

    def differing_size(self, model: ModelShape) -> str | None:
        """Return the first size in which ``model`` differs, with both values; None if none does."""
        current, stored = sizes(model), self.model.sizes
        if fingerprint(current) == self.model.digest:
            return None
        name = next(name for name in current | stored if current.get(name) != stored.get(name))
        return f"{name} is {stored.get(name)} in the checkpoint and {current.get(name)} here"


def sizes(model: ModelShape) -> dict[str, int]:
    """Sizes of a model that decide its parameters and their shapes."""
    return {
        "layers": model.layers,
        "hidden": model.hidden,
        "ffn": model.ffn,
        "heads": model.heads,
        "kv_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "padded_vocab": model.padded_vocab,
        "experts": model.experts,
        "gated": int(model.gated),
        "tied": int(model.tied),
    }


def draft(
    spec: RunSpec, step: int, progress: dict[str, Any], score: float | None = None
) -> Manifest:
    """Return the manifest of a checkpoint that has no files yet."""
    model_sizes = sizes(spec.model)
    return Manifest(
        step=step,
        spec=spec.id,
        trajectory=spec.trajectory,
        seed=spec.train.seed,
        model=Model(name=spec.model.name, digest=fingerprint(model_sizes), sizes=model_sizes),
        written_by={
            "backend": spec.backend,
            "ranks": spec.cluster.gpus,
            "precision": spec.train.precision,
            "layout": encode(spec.layout),
        },
        progress=progress,
        score=score if score is not None and math.isfinite(score) else None,
    )


def complete(draft: Manifest, files: dict[str, Part]) -> Manifest:
    """Return the manifest with its files, and the shapes that follow from them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for piece in (piece for part in files.values() for piece in part.pieces):
        rows, columns = shapes.get(piece.name, (0, 0))
        shapes[piece.name] = (max(rows, piece.rows[1]), max(columns, piece.columns[1]))
    return dataclasses.replace(draft, files=files, tensors=shapes)


def write(manifest: Manifest, path: Path) -> None:
    """Write a manifest with its digest, one line for each field."""
    data = encode(manifest)
    data["digest"] = _digest(data)
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in data.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        ReadError: it is missing, or not what `write` wrote.
        ConfigError: this version does not know its fields.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReadError(f"{path.name}: {error.strerror}") from error
    except ValueError as error:
        raise ReadError(f"{path.name} is not what was written") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ReadError(f"{path.name} is not of format {FORMAT}")
    if _digest(data) != data.get("digest"):
        raise ReadError(f"{path.name} is not what was written")
    return decode(Manifest, data)


def _digest(data: dict[str, Any]) -> str:
    return fingerprint({name: value for name, value in data.items() if name != "digest"})
