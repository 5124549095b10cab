"""What is written for a job that SLURM says is over and that could not say so itself."""

import time
from dataclasses import replace

from launcher.results.classify import tail
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job
from slurm import states, submission

LOST = states.State("LOST")
"""SLURM does not know the job, or no longer."""


def close(job: Job, token: str, name: str | None, final: states.State) -> None:
    """Write that a job has ended as SLURM says.

    Args:
        job: in its folder.
        token: its submission's.
        name: SLURM's, ``17_3``.
        final: what SLURM says last.
    """
    run = RunFolder(job.folder)
    status = run.status() or Status(state="queued", submission=token)
    said = f"SLURM says {final.name} of job {name}"
    if final is LOST:
        said = f"SLURM knows nothing of job {name} any more"
    printed = submission.place(run.path, token) / f"{name}.txt"
    last = tail(printed).strip().rpartition("\n")[2]
    nodes = status.nodes or (states.hostnames(final.nodes) if final.nodes else ())
    stopped = states.STOPPED.get(final.name)
    # A node without the folder or the interpreter fails at once, and silently, and gets the next.
    mute = status.state == "queued" and final.name in ("FAILED", "COMPLETED") and not last
    if final is LOST or mute:
        stopped = "node"
    run.write_status(
        replace(
            status,
            state="ended",
            ended=time.time(),
            job_id=name,
            nodes=nodes,
            bad_nodes=nodes[:1] if mute else status.bad_nodes,
            stopped=stopped,
            reason=f"{said}: {last}" if last and stopped is None else said,
            exit_codes=run.exit_codes(status.attempt, job.ranks),
        )
    )
