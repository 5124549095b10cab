"""``launch check``: the node check and an all-reduce, on this machine or on nodes of a cluster."""

import json
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.cli.output import print_rows
from launcher.cli.parser import add_override_options, add_table_options, new_parser, parse
from launcher.cli.verb import Verb
from launcher.errors import ConfigError, WorkError

if TYPE_CHECKING:
    from launcher.request.request import Request
    from launcher.results.run_folder import Status
    from launcher.schedulers import Job, Scheduler
    from slurm.node.node_check import NodeReport

DESCRIPTION = """Look at this machine, or at as many nodes of the cluster as cluster.nodes says:
cards, disks, clocks, versions, and an all-reduce between all ranks. Nothing is trained."""

POLL_SECONDS = 0.2

MAX_SECONDS = 900.0
"""Longest check, from the time it has its nodes."""


def check(words: Sequence[str]) -> int:
    """Print a row for each node; return 1 where one of them is unfit."""
    parser = new_parser("check", DESCRIPTION)
    add_override_options(parser)
    add_table_options(parser)
    options = parse(parser, words)

    from launcher.request.compose import compose

    if options.multirun:
        raise ConfigError("--multirun: one set of nodes is checked at a time")
    rows, failure = check_nodes(compose(options.overrides, False, options.config_dir))
    print_rows(rows, options)
    if failure:
        print(f"launch: {failure}", file=sys.stderr)
    return WorkError.exit_code if failure else 0


def check_nodes(request: "Request") -> tuple[list[dict[str, Any]], str | None]:
    """Return a row for each node, and the failure of a node or of the link between them.

    Raises:
        RequestError: the scheduler is not available.
    """
    from launcher.campaign import preflight, workspace
    from launcher.results.endings.classify import classify, tail
    from launcher.schedulers import Job
    from slurm.node.check_verdict import judge_nodes

    cluster, request = request.cluster, replace(request, name="check", sweep=None, parallel=None)
    scheduler = preflight.open_scheduler(request, [cluster])
    workspace.make_cache(request)
    folder = request.folder.run(f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 1000}")
    folder.logs.mkdir(parents=True)
    options = request.scheduler.checks
    cards_per_node = 0 if cluster.accelerator.name == "cpu" else cluster.gpus_per_node
    words = ["-P", "-m", "launcher.workers.process.linkcheck"]
    words += ["--mib", str(options.allreduce_size(cards_per_node))]
    words += ["--seconds", str(options.allreduce_seconds)]
    job = Job(
        name=folder.path.name,
        command=(workspace.interpreter(request), *words),
        folder=folder.path,
        nodes=cluster.nodes,
        ranks_per_node=cluster.gpus_per_node,
        time_limit=min(request.time_limit, MAX_SECONDS),
        memory=0,
        cards_per_node=cards_per_node,
    )
    own_reports = [] if scheduler.several_nodes else [_report_on_this_machine(request, job)]
    status = _run(scheduler, job)
    nodes = status.nodes or (socket.gethostname(),)
    reports = own_reports or _reports(folder.path, status, nodes)
    tails = [tail(folder.log(rank)) for rank in range(job.ranks)]
    link = _link(tails[0])
    failure = status.reason
    if failure is None and (status.stopped or set(status.exit_codes) != {0}):
        failure = classify(status, tails, False, tail(folder.srun_log)).cause
    if own_reports:
        verdict = judge_nodes(own_reports, nodes, 0, time.time(), options)
        causes = [f"{node}: {cause}" for node, cause in verdict.bad.items()]
        failure = "; ".join(filter(None, [*causes, verdict.no_compiler])) or failure
    by_node = {report.node: report for report in reports}
    return [_row(node, by_node.get(node), link) for node in nodes], failure


def _report_on_this_machine(request: "Request", job: "Job") -> "NodeReport":
    from slurm.node import inspection, node_check

    checks, folders = request.scheduler.checks, (str(job.folder),)
    inspection_request = inspection.make_request(checks, folders, job.cards_per_node, 0)
    return node_check.check_node(inspection_request, socket.gethostname())


def _run(scheduler: "Scheduler", job: "Job") -> "Status":
    """Run the all-reduce; a batch system checks its nodes before it."""
    from launcher.results.run_folder import RunFolder

    with scheduler:
        scheduler.submit([job])
        try:
            while not scheduler.poll():
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            scheduler.cancel([job.name])
            raise
    status = RunFolder(job.folder).status()
    assert status is not None
    return status


def _reports(folder: Path, status: "Status", nodes: tuple[str, ...]) -> list["NodeReport"]:
    from slurm import submission
    from slurm.node.check_verdict import read_reports

    if status.submission is None:
        raise ConfigError(f"{folder}: no submission")
    checks = sorted(submission.folder_of(folder, status.submission).glob("check-*"))
    return read_reports(checks[-1], nodes) if checks else []


def _link(printed: str) -> dict[str, Any]:
    """Return the figures of the all-reduce: the last line of rank 0 that is JSON."""
    lines = [line for line in printed.splitlines() if line.startswith("{")]
    try:
        return dict(json.loads(lines[-1])) if lines else {}
    except ValueError:
        return {}


def _row(node: str, report: "NodeReport | None", link: dict[str, Any]) -> dict[str, Any]:
    from slurm.node.node_check import VERSIONS

    versions = report.versions if report else {}
    return {
        "node": node,
        "ok": not report.faults if report else None,  # None: it was not looked at
        "faults": "; ".join(fault.text for fault in report.faults) or None if report else None,
        "cards": len(report.cards) if report and report.cards else None,
        **{name: versions.get(name) for name in VERSIONS},
        "seconds": report.seconds if report else None,
        "allreduce_gb_s": round(link["gb_s"], 3) if link.get("gb_s") else None,
    }


VERB = Verb(
    name="check",
    usage="[KEY=VALUE ...]",
    summary="look at this machine, or at nodes of a cluster; train nothing",
    run=check,
)
