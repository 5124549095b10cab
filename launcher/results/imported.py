"""A run that this project did not start, as far as its log, or a row of somebody's sheet, tells.

Its folder holds ``imported.json`` in place of ``spec.json``, and ``metrics.jsonl`` as of any run,
where its log has steps.
"""

from dataclasses import dataclass, field
from pathlib import Path

from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError
from launcher.files import read_json, write_json
from launcher.results.outcomes import Outcome
from launcher.results.record import Figures
from launcher.results.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """Facts that a source states of a run: the columns that a spec decides of one of our own
    (`launcher.results.columns.OF_SPEC`), but for the stage. None is "not stated"."""

    backend: str | None = None
    """Program that trained it: megatron-lm, megatron-bridge, gpt-neox, deepspeed, nemo, ..."""
    model: str | None = None
    params_b: float | None = None
    """Parameters, billions."""
    nodes: int | None = None
    gpus: int | None = None
    dp: int | None = None
    tp: int | None = None
    pp: int | None = None
    vpp: int | None = None
    pipeline_layout: str | None = None
    cp: int | None = None
    ep: int | None = None
    dispatcher: str | None = None
    sp: bool | None = None
    zero: int | None = None
    global_batch: int | None = None
    """Sequences per optimizer step."""
    micro_batch: int | None = None
    recompute: str | None = None
    recompute_modules: str | None = None
    recompute_layers: int | None = None
    recompute_method: str | None = None
    seq_len: int | None = None
    precision: str | None = None
    reduce_precision: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """One run, as far as its source tells."""

    format: str
    """Kind that the source was read as: a key of ``launcher.foreign.FORMATS``."""
    source: str
    """Name of the file or folder; of a sheet with the row: ``grid.csv row 7``."""
    sha256: str
    """Digest of the source: the same one is not read twice."""
    known: RunFacts = field(default_factory=RunFacts)
    outcome: Outcome
    """Outcome as far as the end of the log shows it."""
    cause: str | None = None
    remark: str | None = None
    figures: Figures = field(default_factory=Figures)
    """Figures by the definitions of this project, where the source says enough for them."""
    stated_tflops_per_gpu: float | None = None
    """Figure of the source, by its own definition."""
    seconds: float | None = None
    """Time from start to end, where the log has times."""
    ended: float | None = None
    """End, seconds since 1970."""
    job_id: str | None = None
    hosts: tuple[str, ...] = ()
    commit: str | None = None
    path: str | None = None
    """Path of the source: read there again once it has grown, it replaces what is here."""


def write(folder: Path, imported: Imported) -> None:
    """Write a run to its folder. Raises WorkError."""
    write_json(RunFolder(folder).imported_file, encode(imported))


def read(folder: Path) -> Imported:
    """Read the run of a folder. Raises ReadError."""
    path = RunFolder(folder).imported_file
    try:
        return decode(Imported, read_json(path))
    except ConfigError as error:
        raise ReadError(f"{path}: {error}") from error
