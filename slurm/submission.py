"""One call of sbatch: its folder, which the job finds as its working directory.

submission.json   Submission; written before sbatch is called
job_id            SLURM's number for it, written after; a kill in between leaves it out
job.sh            what sbatch got
*.txt             what the batch step of each job printed
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
"""Below a sweep's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """Jobs of one shape; several go out as one job array, in this order."""

    token: str
    """Its name among all submissions there ever were."""
    title: str
    """What squeue shows, unique too."""
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
    """Write what is to be submitted. Raises WorkError."""
    write_json(folder / "submission.json", encode(submission))


@cache
def read(folder: Path) -> Submission:
    """What was submitted; it never changes. Raises ReadError."""
    try:
        return decode(Submission, read_json(folder / "submission.json"))
    except ConfigError as error:
        raise ReadError(f"{folder}: {error}") from error


def write_job_id(folder: Path, job_id: str) -> None:
    """Keep SLURM's number for it. Raises WorkError."""
    write_text(folder / "job_id", f"{job_id}\n")


def job_id(folder: Path) -> str | None:
    """SLURM's number for it; None where sbatch was not called, or was and nobody wrote it down."""
    try:
        return (folder / "job_id").read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def place(run: Path, token: str) -> Path:
    """The folder of the submission that a run's status names."""
    return run.parent / FOLDER / token


def job_name(run: Path, token: str) -> str | None:
    """SLURM's name for the job of a run; None where nobody wrote it down."""
    try:
        sub = read(place(run, token))
    except ReadError:
        return None
    main, names = job_id(place(run, token)), [task.name for task in sub.jobs]
    return name_of(sub, main, names.index(run.name)) if main and run.name in names else None


def name_of(sub: Submission, main: str, index: int) -> str:
    """SLURM's name for one of its jobs: ``17``, or ``17_3`` in an array."""
    return f"{main}_{index}" if len(sub.jobs) > 1 else main
