"""Refusals of sbatch, in the words of SLURM 22.05: the key, its value, and sbatch's message."""

from typing import Any

import pytest

from launcher.errors import RequestError, WorkError
from slurm.refusals import NoRoom, refusal
from tests.slurm.fakes import make_job, make_options

FAILED = "Batch job submission failed: "
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
PARTITION = f"invalid partition specified: foo; {FAILED}Invalid partition name specified"
ACCOUNT = f"{FAILED}Invalid account or account/partition combination specified"
QOS = f"{FAILED}Invalid qos specification"
RESERVATION = f"{FAILED}Requested reservation is invalid"
FEATURE = f"{FAILED}Invalid feature specification"
NODE = f"{FAILED}Invalid node name specified"
MEMORY = f"Memory specification can not be satisfied; {FAILED}Requested node configuration is not \
available"
SHAPE = f"{FAILED}Requested node configuration is not available"
TIME = f"{FAILED}Requested time limit is invalid (missing or exceeds some limit)"
UNKNOWN = "unrecognized option '--foo=bar'; Try \"sbatch --help\" for more information"
AWAY = f"{FAILED}Unable to contact slurm controller (connect failure)"
SLOW = f"{FAILED}Socket timed out on send/recv operation"

REFUSALS: list[tuple[str, str, dict[str, Any], str]] = [
    # name, message of sbatch, options of the user, and the beginning of the error
    ("partition", PARTITION, {"partition": "foo"}, "scheduler.partition=foo"),
    ("partition of sbatch", PARTITION, {"partition": "main", "sbatch": {"partition": "foo"}},
     "scheduler.sbatch.partition=foo"),
    ("account", ACCOUNT, {"account": "a", "partition": "p"}, "scheduler.account=a"),
    ("account for a partition", ACCOUNT, {"partition": "p"}, "scheduler.partition=p"),
    ("no account", ACCOUNT, {}, "scheduler.account=null"),
    ("qos", QOS, {"qos": "q"}, "scheduler.qos=q"),
    ("reservation", RESERVATION, {"reservation": "r"}, "scheduler.reservation=r"),
    ("constraint", FEATURE, {"constraint": "c&d"}, "scheduler.constraint=c&d"),
    ("exclude", NODE, {"exclude": ("n1", "n2")}, "scheduler.exclude=[n1,n2]"),
    ("nodelist", NODE, {"sbatch": {"nodelist": "n9"}}, "scheduler.sbatch.nodelist=n9"),
    ("memory", MEMORY, {"memory_per_task_gib": 9000.0}, "scheduler.memory_per_task_gib=9000"),
    ("memory of sbatch", MEMORY, {"sbatch": {"mem": "9T"}}, "scheduler.sbatch.mem=9T"),
    ("time", TIME, {}, "time_limit=3600"),
    ("cards", "Invalid generic resource (gres) specification", {}, "cluster.gpus_per_node=8"),
    ("an unknown option", UNKNOWN, {"sbatch": {"foo": "bar"}}, "scheduler.sbatch.foo=bar"),
    ("a wrong option", "Invalid --mail-type specification", {"sbatch": {"mail_type": "FOO"}},
     "scheduler.sbatch.mail_type=FOO"),
    ("nodes", SHAPE, {"partition": "p"}, "scheduler"),
    ("licenses", f"{FAILED}Invalid license specification", {}, "scheduler"),
    ("size of all jobs", f"AssocGrpNodeLimit; {FAILED}{POLICY}", {"partition": "p"},
     "scheduler.account=null"),
    ("size of a job", f"QOSMaxCpuPerJobLimit; {FAILED}{POLICY}", {"qos": "q"}, "scheduler.qos=q"),
    ("time of a job", f"QOSMaxWallDurationPerJobLimit; {FAILED}{POLICY}", {"qos": "q"},
     "time_limit=3600"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "settings", "key"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_the_key_that_it_is_about(message: str, settings: dict[str, Any], key: str) -> None:
    error = refusal(message, make_options(**settings), make_job(cards_per_node=8))
    assert type(error) is RequestError and str(error) == f"{key}: sbatch refuses: {message}"


@pytest.mark.parametrize(
    ("message", "key"),
    [
        (f"AssocMaxSubmitJobLimit; {FAILED}{POLICY}", "scheduler.account=a"),
        (f"AssocGrpSubmitJobsLimit; {FAILED}{POLICY}", "scheduler.account=a"),
        (f"QOSMaxSubmitJobPerUserLimit; {FAILED}{POLICY}", "scheduler.qos=null"),
        (f"QOSGrpSubmitJobsLimit; allocation failure: {POLICY}", "scheduler.qos=null"),
        (FAILED + POLICY, "scheduler.account=a"),
        (f"allocation failure: {POLICY}", "scheduler.account=a"),
    ],
)
def test_a_limit_on_jobs_is_for_now(message: str, key: str) -> None:
    error = refusal(message, make_options(account="a"), make_job())
    assert isinstance(error, NoRoom) and str(error) == f"{key}: sbatch refuses: {message}"


@pytest.mark.parametrize("message", [AWAY, SLOW])
def test_a_controller_that_is_away_refuses_nothing(message: str) -> None:
    error = refusal(message, make_options(partition="p"), make_job())
    assert type(error) is WorkError and str(error) == f"scheduler: sbatch refuses: {message}"
