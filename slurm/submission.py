"""One call of sbatch: its folder, which the job finds as its working directory.

submission.json   Submission; written before sbatch is called
job_id            SLURM's job id for it, written after; a kill in between leaves it out
job.sh            the batch script
*.txt             output of the batch step of each job
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError
from launcher.files import read_json, write_json, write_text
from launcher.schedulers import Job
from launcher.schedulers.options import SchedulerOptions

FOLDER = "submissions"
"""Folder of all submissions, below a sweep's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """Jobs of one shape; several go out as one job array, in this order."""

    token: str
    """Its name among all submissions there ever were."""
    title: str
    """Its job name in squeue, unique too."""
    jobs: tuple[Job, ...]
    options: SchedulerOptions
    hang_after: float
    """Seconds without a finished step after which a rank counts as hung."""
    code: str | None = None
    """Digest of the copy of this project that the jobs run."""
    path: tuple[str, ...] = ()
    """Folders that Python looks into for this project's packages."""
    writes_to: tuple[str, ...] = ()
    """Folders besides the run's own that ranks read from or write to."""


def write(folder: Path, submission: Submission) -> None:
    """Write a submission into its folder. Raises WorkError."""
    write_json(folder / "submission.json", encode(submission))


@cache
def read(folder: Path) -> Submission:
    """Read a submission, which never changes. Raises ReadError."""
    try:
        return decode(Submission, read_json(folder / "submission.json"))
    except ConfigError as error:
        raise ReadError(f"{folder}: {error}") from error


def write_job_id(folder: Path, job_id: str) -> None:
    """Write down SLURM's job id for it. Raises WorkError."""
    write_text(folder / "job_id", f"{job_id}\n")


def job_id(folder: Path) -> str | None:
    """SLURM's job id for it; None where sbatch was not called, or was and nobody wrote it down."""
    try:
        return (folder / "job_id").read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def folder_of(run: Path, token: str) -> Path:
    """Return the folder of the submission that a run's status names."""
    return run.parent / FOLDER / token


def job_name(run: Path, token: str) -> str | None:
    """Return SLURM's name for the job of a run; None where nobody wrote it down."""
    folder = folder_of(run, token)
    try:
        submission = read(folder)
    except ReadError:
        return None
    array_id, names = job_id(folder), [job.name for job in submission.jobs]
    if array_id is None or run.name not in names:
        return None
    return name_of(submission, array_id, names.index(run.name))


def name_of(submission: Submission, array_id: str, index: int) -> str:
    """Return SLURM's name for one of its jobs: ``17``, or ``17_3`` in an array."""
    return f"{array_id}_{index}" if len(submission.jobs) > 1 else array_id
