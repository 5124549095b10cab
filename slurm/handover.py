"""From jobs to submissions to SLURM: what goes out together, with one call of sbatch."""

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
"""Seconds for which a SLURM that does not answer is waited for, and between two tries."""


def hand_over(setting: Setting, planned: Submission, folder: Path) -> str:
    """SLURM's number for a submission; once it answers, where it is away for a moment.

    Raises:
        RequestError: SLURM refuses it; NoRoom where it is for now.
        WorkError: SLURM stays away.
    """
    text = script.text(planned, planned.jobs[0], setting.parallel)
    deadline = time.monotonic() + AWAY
    while True:
        try:
            return script.submit(text, planned, folder)
        except WorkError:
            if time.monotonic() > deadline:
                raise
        while time.monotonic() < deadline:  # it may have got through all the same
            time.sleep(RETRY)
            try:
                main = number(planned)
            except WorkError:
                continue
            if main is not None:
                return main
            break


def number(sub: Submission) -> str | None:
    """SLURM's number for a submission, by its title; None where it has none.

    Raises:
        WorkError: SLURM does not answer.
    """
    known = states.queue(names=[sub.title])
    if known is None:
        raise WorkError(f"{sub.title}: SLURM does not say whether it has this job; try again")
    return next((name.split("_")[0] for name in known), None)


def prepared(setting: Setting, jobs: Sequence[Job], digest: str) -> tuple[Submission, Path]:
    """A submission of jobs of one shape that run a copy of the code, and the folder it gets."""
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
    """Jobs that can go out together, at most so many."""
    ordered = sorted(jobs, key=lambda job: repr(_shape(job)))
    for _, group in groupby(ordered, key=_shape):
        same = list(group)
        for start in range(0, len(same), largest):
            yield same[start : start + largest]


def _shape(job: Job) -> tuple[Any, ...]:
    """What a batch script says of a job."""
    return (job.nodes, job.ranks_per_node, job.cards_per_node, job.time_limit, job.avoid)
