"""From jobs to submissions to SLURM: jobs of one shape go out together, by one call of sbatch."""

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from launcher.errors import WorkError
from launcher.schedulers import Job, Setting
from slurm import script, states, submission
from slurm.submission import Submission

AWAY, RETRY = 120.0, 5.0
"""Seconds to wait for a SLURM that does not answer, and between two tries."""


def hand_over(setting: Setting, planned: Submission, folder: Path) -> str:
    """Submit, waiting for a SLURM that is away for a moment, and return SLURM's job id.

    Raises:
        RequestError: SLURM refuses it; NoRoom where it is for now.
        WorkError: SLURM stays away.
    """
    text = script.batch_script(planned, planned.jobs[0], setting.parallel)
    deadline = time.monotonic() + AWAY
    while True:
        try:
            return script.submit(text, planned, folder)
        except WorkError:
            if time.monotonic() > deadline:
                raise
        # The lost answer may have been a yes: submit again only once squeue does not have the job.
        while time.monotonic() < deadline:
            time.sleep(RETRY)
            try:
                job_id = find_job_id(planned)
            except WorkError:
                continue
            if job_id is not None:
                return job_id
            break


def find_job_id(planned: Submission) -> str | None:
    """Look up SLURM's job id of a submission by its title; None where SLURM does not have it.

    Raises:
        WorkError: SLURM does not answer.
    """
    queue = states.queue(names=[planned.title])
    if queue is None:
        raise WorkError(f"{planned.title}: SLURM does not say whether it has this job; try again")
    return next((name.split("_")[0] for name in queue), None)


def prepare(setting: Setting, jobs: Sequence[Job], digest: str) -> tuple[Submission, Path]:
    """Return a submission of jobs of one shape that run a copy of the code, and its folder."""
    token = uuid.uuid4().hex[:12]
    planned = Submission(
        token=token,
        title=script.title(setting.folder.name, token),
        jobs=tuple(jobs),
        options=setting.options,
        hang_after=setting.hang_after,
        code=digest,
        path=(str(setting.code / digest),),
        writes_to=setting.writes_to,
    )
    return planned, setting.folder / submission.FOLDER / token


def groups(jobs: Iterable[Job], largest: int) -> Iterator[list[Job]]:
    """Yield jobs that can go out together, at most ``largest`` at once."""
    ordered = sorted(jobs, key=lambda job: repr(_shape(job)))
    for _, group in groupby(ordered, key=_shape):
        alike = list(group)
        for start in range(0, len(alike), largest):
            yield alike[start : start + largest]


def _shape(job: Job) -> tuple[Any, ...]:
    """Return all that a batch script depends on; jobs of an array share one script."""
    return (job.nodes, job.ranks_per_node, job.cards_per_node, job.time_limit, job.avoid)
