"""``launch check``: the node check and an all-reduce, on this machine or on nodes of a cluster."""

import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.campaign import preflight
from launcher.errors import ConfigError
from launcher.request.request import Request
from launcher.results.classify import classify, tail
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job, Scheduler
from slurm import submission
from slurm.node import inspection, node_check
from slurm.node.check_verdict import judge_nodes, read_reports
from slurm.node.node_check import NodeReport

POLL = 0.2

LONGEST = 900.0
"""Seconds the check may take once it has its nodes."""


def check(request: Request) -> tuple[list[dict[str, Any]], str | None]:
    """A row for each node, and what is wrong with any of them or between them.

    Raises:
        RequestError: the scheduler is not there.
    """
    cluster, request = request.cluster, replace(request, name="check", sweep=None)
    scheduler = preflight.SCHEDULERS[request.scheduler.name](request, [])
    preflight.make_cache(request)
    folder = request.root / "check" / f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 1000}"
    (folder / "log").mkdir(parents=True)
    options = request.scheduler.checks
    words = ["-P", "-m", "launcher.workers.process.linkcheck", "--mib", str(options.allreduce_mib)]
    job = Job(
        name=folder.name,
        command=(preflight.interpreter(request), *words,
                 "--seconds", str(options.allreduce_seconds)),
        folder=folder,
        nodes=cluster.nodes,
        ranks_per_node=cluster.gpus_per_node,
        time_limit=min(request.time_limit, LONGEST),
        memory=0,
        cards_per_node=0 if cluster.accelerator.name == "cpu" else cluster.gpus_per_node,
    )  # fmt: skip
    here = _look(request, job) if request.scheduler.name == "local" else None
    status = _run(scheduler, job)
    nodes = status.nodes or (socket.gethostname(),)
    reports = here or _reports(folder, status, nodes)
    tails = [tail(RunFolder(folder).log(rank)) for rank in range(job.ranks)]
    link = _link(tails[0])
    failed = status.reason
    if failed is None and (status.stopped or set(status.exit_codes) != {0}):
        failed = classify(status, tails, False, tail(folder / "log" / "srun.txt")).cause
    if here and (bad := judge_nodes(here, nodes, 0, time.time(), options)).bad:
        failed = "; ".join(f"{node}: {cause}" for node, cause in bad.bad.items())
    by_node = {report.node: report for report in reports}
    return [_row(node, by_node.get(node), link) for node in nodes], failed


def _look(request: Request, job: Job) -> list[NodeReport]:
    """This machine, looked at from here."""
    wanted = inspection.make_request(
        request.scheduler.checks, (str(job.folder),), job.cards_per_node, 0
    )
    return [node_check.check_node(wanted, socket.gethostname())]


def _run(scheduler: Scheduler, job: Job) -> Status:
    """The all-reduce, on a batch system with the check before it."""
    with scheduler:
        scheduler.submit([job])
        try:
            while not scheduler.poll():
                time.sleep(POLL)
        except KeyboardInterrupt:
            scheduler.cancel([job.name])
            raise
    status = RunFolder(job.folder).status()
    assert status is not None
    return status


def _reports(folder: Path, status: Status, nodes: tuple[str, ...]) -> list[NodeReport]:
    if status.submission is None:
        raise ConfigError(f"{folder}: no submission")
    places = sorted(submission.folder_of(folder, status.submission).glob("check-*"))
    return read_reports(places[-1], nodes) if places else []


def _link(printed: str) -> dict[str, Any]:
    """The line of rank 0's that is JSON."""
    lines = [line for line in printed.splitlines() if line.startswith("{")]
    try:
        return dict(json.loads(lines[-1])) if lines else {}
    except ValueError:
        return {}


def _row(node: str, report: NodeReport | None, link: dict[str, Any]) -> dict[str, Any]:
    return {
        "node": node,
        "ok": not report.faults if report else None,  # None: nobody looked
        "faults": "; ".join(fault.text for fault in report.faults) or None if report else None,
        "cards": len(report.cards) if report and report.cards else None,
        **({name: what for name, what in report.versions.items() if what} if report else {}),
        "seconds": report.seconds if report else None,
        "allreduce_gb_s": round(link["gb_s"], 3) if link.get("gb_s") else None,
    }
