"""The last status of a job that is over for SLURM and could not write it itself."""

import time
from dataclasses import replace

from launcher.results.endings.classify import tail
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job
from slurm import states, submission

LOST = states.State("LOST")
"""State of a job that SLURM does not know, or no longer."""


def close(job: Job, token: str, name: str | None, final: states.State) -> None:
    """Write that a job has ended as SLURM says.

    Args:
        job: the job, whose status is in its folder.
        token: token of its submission.
        name: SLURM's name for it, ``17_3``.
        final: its last state in SLURM.
    """
    run = RunFolder(job.folder)
    status = run.status() or Status(state="queued", submission=token)
    statement = f"SLURM says {final.name} of job {name}"
    if final is LOST:
        statement = f"SLURM knows nothing of job {name} any more"
    output = submission.folder_of(run.path, token) / f"{name}.txt"
    last_line = tail(output).strip().rpartition("\n")[2]
    nodes = status.nodes or (states.hostnames(final.nodes) if final.nodes else ())
    stopped = states.STOPPED.get(final.name)
    # A node without the folder or the interpreter fails at once, and silently; being idle again, it
    # is given the next job.
    silent = status.state == "queued" and final.name in ("FAILED", "COMPLETED") and not last_line
    if final is LOST or silent:
        stopped = "node"
    run.write_status(
        replace(
            status,
            state="ended",
            ended=time.time(),
            job_id=name,
            nodes=nodes,
            bad_nodes=nodes[:1] if silent else status.bad_nodes,
            stopped=stopped,
            reason=f"{statement}: {last_line}" if last_line and stopped is None else statement,
            exit_codes=run.exit_codes(status.attempt, job.ranks),
        )
    )
