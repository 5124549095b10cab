"""Record of a run: one JSON line, readable without this package."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError, WorkError
from launcher.files import read_json, read_jsonl, write_json, write_text
from launcher.results.outcomes import Outcome
from launcher.results.run_folder import RunFolder
from launcher.spec.run import SECONDS_A_DAY, RunSpec, decode_spec

MemoryKind = Literal["cuda reserved", "rss"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Figures measured without the untimed first steps. None is "not measured", never 0."""

    steps: int | None = None
    """Optimizer steps done, untimed ones included; of a stage, its own."""
    tokens_per_s: float | None = None
    """Speed of all ranks together: tokens of a step / median step time."""
    step_ms_p50: float | None = None
    step_ms_p95: float | None = None
    step_ms_error: float | None = None
    """Standard error of the median."""
    tflops_per_gpu: float | None = None
    """Model FLOPs (`launcher.spec.shape`) per second and rank, 1e12."""
    mfu_pct: float | None = None
    hfu_pct: float | None = None
    mem_min_gib: float | None = None
    """Peak memory of the rank that took least, GiB."""
    mem_max_gib: float | None = None
    """Peak memory of the rank that took most, GiB."""
    memory_kind: MemoryKind | None = None
    """Kind of the memory figures: CUDA's peak reserved, or the process's resident set."""
    power_min_w: float | None = None
    """Mean power of the card that drew least, W."""
    power_max_w: float | None = None
    loss_first: float | None = None
    loss_last: float | None = None
    grad_norm_max: float | None = None
    spikes: int | None = None
    """Events that the spike guard saw; None where there is no guard."""
    skipped: int | None = None
    """Updates that the spike guard did not apply."""
    rollbacks: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Expectation of the planner before a spec ran. None is "no prediction"."""

    memory_gib: float | None = None
    """Peak on the fullest rank, GiB; torch's reserved bytes, as is measured."""
    oom: float | None = None
    """Probability of not fitting."""
    step_ms: float | None = None
    step_error: float | None = None
    """Standard deviation of log(measured / predicted)."""
    probe_step_ms: float | None = None
    """Of a trial with fewer micro batches per step: `step_ms` of such a step."""

    @property
    def trial_step_ms(self) -> float | None:
        """Expected time of a step of the trial."""
        return self.probe_step_ms or self.step_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """Point of a sweep before anything ran."""

    row: int
    """Position in the sweep, from 1."""
    spec: RunSpec
    rejected: str | None
    """Reason for which it cannot run; None where it can."""
    pruned: str | None = None
    """Reason for which it is not worth a trial; None where it may be."""
    remark: str | None = None
    """Fields in which it differs from other points and that have no column."""
    prediction: Prediction
    price_per_gpu_hour: float | None = None
    """Price of one card for an hour, in the user's currency."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """Spec of a run, its outcome and its figures."""

    spec: RunSpec
    outcome: Outcome
    cause: str | None = None
    """Reason for an outcome other than ok, one line; for a rejected spec with the numbers."""
    remark: str | None = None
    """Note to a reader of the table."""
    figures: Figures = field(default_factory=Figures)
    prediction: Prediction | None = None
    """Expectation when it was submitted."""
    row: int | None = None
    """Position of the point in its sweep, from 1."""
    attempt: int | None = None
    """Starts of this spec so far; None where it never started."""
    seconds: float | None = None
    """Time from start to end of the last attempt, import and set-up included."""
    ended: float | None = None
    """End of the last attempt, seconds since 1970."""
    commit: str | None = None
    """Commit of this project that ran it."""
    code: str | None = None
    """Digest of the copy of the code that ran it; None where it was the checkout itself."""
    optimizer: str | None = None
    """Classes of the optimizer that stepped, the engine's and the library's that it wraps."""
    expert_product: str | None = None
    """Function that multiplied by the matrices of experts; None for a dense model."""
    job_id: str | None = None
    """Name of the job in the batch system."""
    hosts: tuple[str, ...] = ()
    """Nodes it ran on, as a batch system names them."""
    bad_hosts: tuple[str, ...] = ()
    """Nodes among them that the failure points at."""

    @classmethod
    def from_json(cls, line: Any) -> Self:
        """Decode a line of a records file. Raises ConfigError."""
        if isinstance(line, dict) and "spec" in line:
            # Points of a sweep share most parts of their specs, which are decoded once.
            line = {**line, "spec": decode_spec(line["spec"], "spec")}
        return decode(cls, line)

    @property
    def eta_days(self) -> float | None:
        """Days that ``train.tokens`` take at the measured speed."""
        tokens, speed = self.spec.train.tokens, self.figures.tokens_per_s
        return tokens / speed / SECONDS_A_DAY if tokens and speed else None


def write_prediction(folder: RunFolder, prediction: Prediction) -> None:
    """Write the prediction of a run to its folder. Raises WorkError."""
    write_json(folder.prediction_file, encode(prediction))


def read_prediction(folder: RunFolder) -> Prediction | None:
    """Read the prediction of a run; None where there is none that can be read."""
    try:
        return decode(Prediction, read_json(folder.prediction_file))
    except (ReadError, ConfigError):
        return None


def write(path: Path, records: Iterable[RunRecord]) -> None:
    """Replace a records file, one JSON line a record."""
    write_text(path, "".join(map(_line, records)))


def append(path: Path, record: RunRecord) -> None:
    """Add one record. A kill may leave half a line, which `read` skips and `write` mends.

    Raises:
        WorkError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(_line(record))
    except OSError as error:
        raise WorkError(f"{path}: {error.strerror}") from error


def _line(record: RunRecord) -> str:
    return json.dumps(encode(record), allow_nan=False) + "\n"


def read(path: Path) -> list[RunRecord]:
    """Read the records of a file; none where there is no file. Raises ReadError."""
    try:
        return [RunRecord.from_json(line) for line in read_jsonl(path)]
    except ConfigError as error:
        raise ReadError(f"{path}: {error}") from error
