"""The words of srun, with and without a container, and the variables the ranks share.

Modules: slurm.node.step, slurm.node.inspection.
"""

import contextlib
import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from launcher.decode import encode
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job
from launcher.schedulers.options import Checks, Container
from slurm.node import step
from slurm.node.inspection import Inspection, inspect
from slurm.node.node_check import Fault, NodeReport
from slurm.node.supervisor import Supervisor
from slurm.submission import Submission
from tests.slurm.fakes import CODE, Commands, make_job, make_submission

SRUN = [
    "srun", "--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--distribution=block:block",
    "--kill-on-bad-exit=0", "--mpi=none", "--unbuffered", "--input=none", "--export=ALL", "--wait=0",
]  # fmt: skip
RUN = "/shared/runs/s/a1"
AGENT = ["/env/bin/python", "-P", "-m", "slurm.node.rank", "--folder", RUN]
INSIDE = ["env", f"PYTHONPATH={CODE}", *AGENT]
TRAIN = ["--", "/env/bin/python", "-P", "-m", "train"]
CHECKS = "/shared/runs/s/submissions/0123456789ab"
MOUNTED = [f"{folder}:{folder}" for folder in (CODE, RUN, CHECKS, "/shared/cache")]
BINDS = [word for folder in MOUNTED for word in ("--bind", folder)]
PYXIS = ["--container-image=/shared/a b.sqsh", f"--container-mounts={','.join(MOUNTED)}"]

CASES: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    # what is said, of what kind of job, and the whole command
    ("nothing is said", {}, {}, [*SRUN, *AGENT, *TRAIN]),
    ("one node", {}, {"nodes": 1, "ranks_per_node": 8},
     ["srun", "--nodes=1", "--ntasks=8", "--ntasks-per-node=8", *SRUN[4:], *AGENT, *TRAIN]),
    ("cpus", {"cpus_per_task": 14}, {}, [*SRUN, "--cpus-per-task=14", *AGENT, *TRAIN]),
    ("cards", {}, {"cards_per_node": 2}, [*SRUN, "--gpu-bind=none", *AGENT, *TRAIN]),
    ("checkpoints", {}, {"checkpoint_bytes": 1}, [*SRUN, *AGENT, "--checkpoints", *TRAIN]),
    ("more of srun", {"srun": ("--cpu-bind=cores", "a b")}, {},
     [*SRUN, "--cpu-bind=cores", "a b", *AGENT, *TRAIN]),
    ("pyxis", {"container": Container(image="/shared/a b.sqsh")}, {},
     [*SRUN, *PYXIS, *INSIDE, *TRAIN]),
    ("pyxis and all", {
        "cpus_per_task": 14, "srun": ("--cpu-bind=cores",),
        "container": Container(image="/shared/a b.sqsh", mounts=("/data:/data",),
                               arguments=("--container-writable",)),
    }, {"cards_per_node": 2},
     [*SRUN, "--cpus-per-task=14", "--gpu-bind=none", PYXIS[0], f"{PYXIS[1]},/data:/data",
      "--container-writable", "--cpu-bind=cores", *INSIDE, *TRAIN]),
    ("apptainer", {"container": Container(image="/shared/a b.sif", runtime="apptainer")}, {},
     [*SRUN, "apptainer", "exec", *BINDS, "/shared/a b.sif", *INSIDE, *TRAIN]),
    ("apptainer and all", {
        "srun": ("--cpu-bind=cores",),
        "container": Container(image="/shared/a b.sif", runtime="apptainer",
                               mounts=("/data:/data",), arguments=("--cleanenv",)),
    }, {"cards_per_node": 2},
     [*SRUN, "--gpu-bind=none", "--cpu-bind=cores", "apptainer", "exec", "--nv", *BINDS,
      "--bind", "/data:/data", "--cleanenv", "/shared/a b.sif", *INSIDE, *TRAIN]),
]  # fmt: skip


def submission_of(settings: dict[str, Any], shape: dict[str, Any]) -> tuple[Submission, Job]:
    """A submission of one job."""
    job = make_job(**shape)
    return make_submission(job, **settings), job


@pytest.mark.parametrize(
    ("settings", "shape", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_the_command(settings: dict[str, Any], shape: dict[str, Any], words: list[str]) -> None:
    submission, job = submission_of(settings, shape)
    assert step.command(submission, submission.jobs[0], RunFolder(job.folder)) == words


def test_the_check_is_one_task_a_node() -> None:
    submission, _ = submission_of({}, {"ranks_per_node": 8})
    assert step.srun(submission, submission.jobs[0], 1)[1:4] == [
        "--nodes=2",
        "--ntasks=2",
        "--ntasks-per-node=1",
    ]


PYXIS = "srun: unrecognized option '--container-image=/x/y.sqsh'"
APPTAINER = "slurmstepd-n7: error: execve(): apptainer: No such file or directory"
RUNTIMES = [
    # the runtime, what srun says, and what of it says that there is none
    ("pyxis", f'{PYXIS}\nTry "srun --help" for more information\n', PYXIS),
    ("pyxis", "pyxis: importing docker image: /x/y.sqsh\nsrun: error: invalid image\n", None),
    ("apptainer", f"srun: error: n7: task 0: Exited with exit code 2\n{APPTAINER}\n", APPTAINER),
    ("apptainer", "FATAL: could not open image /x/y.sif: No such file or directory\n", None),
]


@pytest.mark.parametrize(("runtime", "srun_errors", "line"), RUNTIMES)
def test_a_runtime_that_is_not_there(
    runtime: Any,
    srun_errors: str,
    line: str | None,
    commands: Commands,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by the check of the nodes, and without one by the step itself."""
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    commands.say("srun", errors=srun_errors, code=2)
    submission, job = submission_of(
        {"container": Container(image="/x/y", runtime=runtime)}, {"folder": tmp_path}
    )
    cause = line and f"scheduler.container.runtime={runtime} is not there: {line}"
    inspection = inspect(submission, job, tmp_path, ("n7", "n8"))
    assert (
        (inspection.stopped, inspection.reason) == ("failed", cause)
        if line
        else inspection.stopped == "node"
    )
    (tmp_path / "log").mkdir()
    with step.Step(submission, job, RunFolder(tmp_path), STATUS) as running:
        running.process.wait()
        stopped = Supervisor(submission, job, tmp_path)._watch(
            running, replace(STATUS, started=0.0)
        )
        assert stopped == (cause and "failed", cause)


def test_a_check_that_does_not_start_says_why(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    cause = "slurmstepd-n7: error: execve(): /no/python: No such file or directory"
    commands.say(
        "srun", errors=f"srun: error: n7: task 0: Exited with exit code 2\n{cause}\n", code=2
    )
    submission, job = submission_of({}, {"folder": tmp_path})
    inspection = inspect(submission, job, tmp_path, ("n7",))
    assert (inspection.reason, inspection.bad_nodes) == (
        f"the check did not start: {cause}",
        ("n7",),
    )


def test_a_compiler_that_no_node_has_blames_none(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    fault = Fault(kind="compiler", text="no C compiler")
    reports = [
        NodeReport(node=node, time=time.time(), versions={}, faults=(fault,), seconds=0.1)
        for node in ("n7", "n8")
    ]
    commands.say("srun", "".join(f"{json.dumps(encode(report))}\n" for report in reports))
    submission, job = submission_of({"checks": Checks(clock_seconds=1e6)}, {"folder": tmp_path})
    inspection = inspect(submission, job, tmp_path, ("n7", "n8"))
    assert inspection == Inspection(stopped="failed", reason="on every node: no C compiler")


@pytest.mark.parametrize(("saved", "room"), [(0, 40), (3, 10), (9, 10)])
def test_the_check_asks_for_the_room_that_is_still_to_be_taken(
    saved: int, room: int, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    commands.say("srun", code=1)
    changes = {"folder": tmp_path, "checkpoint_bytes": 10, "checkpoints_kept": 3}
    submission, job = submission_of({}, changes)
    for step_number in range(saved):
        RunFolder(tmp_path).checkpoint(step_number).mkdir(parents=True)
    inspect(submission, job, tmp_path, ("n7",))
    (request_file,) = tmp_path.glob("check-17-*/check_request.json")
    assert json.loads(request_file.read_text())["reserve_bytes"] == room


STATUS = Status(state="running", attempt=2, nodes=("n7", "n8"))

MEET = {"MASTER_ADDR": "n7", "MASTER_PORT": "24711", "MEGALAUNCH_ATTEMPT": "2"}
LINK = {"MEGALAUNCH_ALLREDUCE": "16:120.0"}

VARIABLES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, str]]] = [
    ("nothing is said", {}, {}, {**MEET, **LINK}),
    ("one rank", {}, {"nodes": 1, "ranks_per_node": 1}, MEET),
    ("one's own", {"environment": {"NCCL_DEBUG": "INFO", "X": "$(touch HACKED)\nü"}}, {},
     {"NCCL_DEBUG": "INFO", "X": "$(touch HACKED)\nü", **MEET, **LINK}),
    ("a PYTHONPATH", {"environment": {"PYTHONPATH": "/mine:/his"}}, {},
     {"PYTHONPATH": f"{CODE}:/mine:/his", **MEET, **LINK}),
    ("where ranks meet is ours", {"environment": {"MASTER_PORT": "1"}}, {}, {**MEET, **LINK}),
]  # fmt: skip


class AllFree(contextlib.nullcontext[Any]):
    """A socket of a machine on which nothing else listens."""

    def __enter__(self) -> Self:
        return self

    def bind(self, address: tuple[str, int]) -> None:
        """Succeed."""


@pytest.mark.parametrize(
    ("settings", "shape", "variables"), [v[1:] for v in VARIABLES], ids=[v[0] for v in VARIABLES]
)
def test_the_environment(
    settings: dict[str, Any],
    shape: dict[str, Any],
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "914711")
    monkeypatch.setattr(step.socket, "socket", AllFree)
    submission, _ = submission_of(settings, shape)
    assert step.environment(submission, submission.jobs[0], STATUS) == variables


def test_without_checks_there_is_no_all_reduce(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "914711")
    monkeypatch.setattr(step.socket, "socket", AllFree)
    submission, _ = submission_of({}, {})
    checks = replace(submission.options.checks, enabled=False)
    submission = replace(submission, options=replace(submission.options, checks=checks))
    assert step.environment(submission, submission.jobs[0], STATUS) == MEET


@pytest.mark.parametrize("number", [1, 9999, 10000, 123456789])
def test_a_port_that_no_other_program_is_given(number: int) -> None:
    assert 20000 <= step.port(number) < 30000


def test_a_port_where_another_program_listens_is_passed_over() -> None:
    wanted = step.port(29_998)
    with socket.socket() as other:
        other.bind(("", wanted))
        other.listen()
        assert step.port(29_998) not in (wanted, wanted + 1), "that is the next job's"
