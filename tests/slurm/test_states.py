"""Answers of sacct, squeue and scontrol, and none where they hang, fail or are missing.

Modules: slurm.states, slurm.accounting.
"""

import pytest

from slurm import accounting, states
from slurm.states import State
from tests import limits
from tests.slurm.fakes import Commands

SACCT = "JobID|State|NodeList\n"

ACCOUNTS: list[tuple[str, str, dict[str, State]]] = [
    ("nothing yet", SACCT, {}),
    ("one", SACCT + "17|RUNNING|node[1-2]\n", {"17": State("RUNNING", "node[1-2]")}),
    ("cancelled by", SACCT + "17|CANCELLED by 0|None assigned\n", {"17": State("CANCELLED")}),
    ("cut short", SACCT + "17|CANCELLED+|node1\n", {"17": State("CANCELLED", "node1")}),
    ("an array", SACCT + "12_0|COMPLETED|node1\n12_1|NODE_FAIL|node2\n12_[2-3]|PENDING|None assigned\n",
     {"12_0": State("COMPLETED", "node1"), "12_1": State("NODE_FAIL", "node2"),
      "12_2": State("PENDING"), "12_3": State("PENDING")}),
    ("throttled", SACCT + "12_[3-5%2]|PENDING|None assigned\n",
     {f"12_{i}": State("PENDING") for i in (3, 4, 5)}),
    ("with gaps", SACCT + "12_[1,4-5,8%2]|PENDING|None assigned\n",
     {f"12_{i}": State("PENDING") for i in (1, 4, 5, 8)}),
    ("steps are no jobs", SACCT + "17|COMPLETED|node1\n17.batch|COMPLETED|node1\n",
     {"17": State("COMPLETED", "node1")}),
    ("others live", SACCT + "17|OUT_OF_MEMORY|node1\n", {"17": State("OUT_OF_MEMORY", "node1")}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("output", "expected"), [a[1:] for a in ACCOUNTS], ids=[a[0] for a in ACCOUNTS]
)
def test_accounting(output: str, expected: dict[str, State], commands: Commands) -> None:
    commands.say("sacct", output)
    reported = accounting.states_of(["12", "17"])
    assert reported is not None and {job: reported[job] for job in expected} == expected
    assert set(reported) - set(expected) <= {"12"}, "of a range submitit also names the array"
    assert commands.calls("sacct") == [
        ["-X", "--parsable2", "-o", "JobID,State,NodeList", "-j", "12,17"]
    ]


QUEUES: list[tuple[str, str, str, int, dict[str, State] | None]] = [
    ("nothing", "", "", 0, {}),
    ("one", "17|RUNNING|node[1-2]|None\n", "", 0, {"17": State("RUNNING", "node[1-2]", "None")}),
    ("waits", "12_3|PENDING||Priority\n12_4|PENDING||(Nodes required|are DOWN)\n", "", 0,
     {"12_3": State("PENDING", "", "Priority"),
      "12_4": State("PENDING", "", "(Nodes required|are DOWN)")}),
    ("ends", "17|COMPLETING|node1|None\n", "", 0, {"17": State("COMPLETING", "node1", "None")}),
    ("not a row", "something else\n17|RUNNING|node1|None\n", "", 0,
     {"17": State("RUNNING", "node1", "None")}),
    ("unknown", "", "slurm_load_jobs error: Invalid job id specified\n", 1, {}),
    ("no controller", "", "slurm_load_jobs error: Unable to contact slurm controller\n", 1, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("output", "errors", "code", "expected"), [q[1:] for q in QUEUES], ids=[q[0] for q in QUEUES]
)
def test_queue(
    output: str, errors: str, code: int, expected: dict[str, State] | None, commands: Commands
) -> None:
    commands.say("squeue", output, errors, code)
    assert states.queue(["12", "17"]) == expected
    assert commands.calls("squeue")[0][-1] == "--jobs=12,17"


def test_queue_by_name(commands: Commands) -> None:
    commands.say("squeue", "17|PENDING||None\n")
    assert states.queue(names=["s-1", "s-2"]) == {"17": State("PENDING", "", "None")}
    assert commands.calls("squeue")[0][-1] == "--name=s-1,s-2"


CONTROLS: list[tuple[str, str, int, State | None]] = [
    ("runs", "JobId=17 JobName=s JobState=RUNNING Reason=None PreemptTime=None\n", 0,
     State("RUNNING", "", "None")),
    ("is cancelled", "JobId=17 JobState=COMPLETING Reason=None\n", 0,
     State("COMPLETING", "", "None")),
    ("is preempted", "JobId=17 JobState=RUNNING Reason=None PreemptTime=2026-11-21T16:00:00\n", 0,
     State("RUNNING", "", "None", preempted=True)),
    ("a folder like a field", "JobId=17 JobState=PENDING Reason=x WorkDir=/a JobState=FAILED\n/b\n",
     0, State("PENDING", "", "x")),
    ("is not known", "", 1, None),
    ("nothing", "", 0, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("output", "code", "state"), [c[1:] for c in CONTROLS], ids=[c[0] for c in CONTROLS]
)
def test_control(output: str, code: int, state: State | None, commands: Commands) -> None:
    commands.say("scontrol", output, code=code)
    assert states.control("17") == state
    assert commands.calls("scontrol") == [["show", "job", "--oneliner", "17"]]


def test_hostnames(commands: Commands) -> None:
    commands.say("scontrol", "node1\nnode2\n")
    assert states.hostnames("node[1-2]") == ("node1", "node2")


@pytest.mark.parametrize(
    ("name", "active"),
    [("PENDING", True), ("COMPLETING", True), ("REQUEUED", True), ("SUSPENDED", True),
     ("COMPLETED", False), ("CANCELLED", False), ("NODE_FAIL", False), ("PREEMPTED", False),
     ("LOST", False), ("", False)],
)  # fmt: skip
def test_what_may_still_run(name: str, active: bool) -> None:
    assert State(name).active is active


def everything() -> list[object]:
    """The answer to each question."""
    return [
        accounting.states_of(["17"]),
        states.queue(["17"]),
        states.control("17"),
        states.hostnames("node1"),
        states.cancel(["17"]),
        states.requeue("17"),
    ]


NO_ANSWER = [None, None, None, (), False, False]
COMMANDS = ("sacct", "squeue", "scontrol", "scancel")


def test_a_command_that_hangs_is_given_up(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "TIMEOUT", 0.2)
    for name in COMMANDS:
        commands.write(name, f"#!/bin/sh\nexec sleep {limits.ALWAYS}\n")
    assert everything() == NO_ANSWER


def test_a_command_that_fails(commands: Commands) -> None:
    for name in COMMANDS:
        commands.say(name, "17|RUNNING|node1|None\n", "error: database is down\n", 1)
    assert everything() == NO_ANSWER


def test_a_command_that_is_missing(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(commands.folder))
    assert everything() == NO_ANSWER


def test_a_command_that_prints_no_utf8(commands: Commands) -> None:
    commands.write("squeue", "#!/bin/sh\nprintf '17|RUNNING|node1|\\377\\n'\n")
    reported = states.queue(["17"])
    assert reported is not None and reported["17"].name == "RUNNING"


@pytest.mark.parametrize(
    ("output", "code", "size"),
    [
        ("MaxArraySize            = 10001\nMaxJobCount             = 10000\n", 0, 10001),
        ("MaxArraySize            = 0\n", 0, 1),
        ("", 1, 1001),
    ],
)
def test_how_large_an_array_may_be(output: str, code: int, size: int, commands: Commands) -> None:
    commands.say("scontrol", f"ClusterName = c\n{output}", code=code)
    assert states.largest_array() == size
    assert commands.calls("scontrol") == [["show", "config"]]


def test_scancel_and_requeue(commands: Commands) -> None:
    commands.say("scancel")
    commands.say("scontrol")
    assert states.cancel(["12_3", "17"]) and states.requeue("17")
    assert commands.calls("scancel") == [["--quiet", "12_3", "17"]]
    assert commands.calls("scontrol") == [["requeue", "17"]]


def test_requeue_that_ends_whoever_asks(commands: Commands) -> None:
    """SLURM ends the job that asks, scontrol too, often before that has heard that it will."""
    commands.write("scontrol", "#!/bin/sh\nkill -TERM $$\n")
    assert states.requeue("17")
    commands.say("scontrol", errors="slurm_requeue error: Requested operation is disabled", code=1)
    assert not states.requeue("17")
