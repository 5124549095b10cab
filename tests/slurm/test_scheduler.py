"""The questions to SLURM, the meaning of its answers, and the calls of sbatch that a sweep costs.

Modules: slurm.scheduler, slurm.handover, slurm.submission, slurm.closing.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.errors import RequestError, WorkError
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job, Setting
from slurm import handover
from slurm import scheduler as module
from slurm.handover import groups
from slurm.scheduler import Slurm
from tests.conftest import spec
from tests.slurm.fakes import Commands, Limit, make_job, make_options

INTERVAL = 30.0


class Clock:
    """Stands where `slurm.scheduler` looks for the module time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Seconds, as far as the test has come."""
        return self.now

    def time(self) -> float:
        """Seconds since the epoch, from the same start."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Pass."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that a test sets."""
    fake = Clock()
    monkeypatch.setattr(module, "time", fake)
    return fake


Make = Callable[..., tuple[Slurm, list[Job]]]


@pytest.fixture
def submitted(tmp_path: Path, commands: Commands, clock: Clock) -> Make:
    """Some jobs that have been handed to sbatch, as job 17."""

    def make(count: int = 1, **changes: object) -> tuple[Slurm, list[Job]]:
        jobs = [job_below(tmp_path, f"r{number}", **changes) for number in range(count)]
        commands.say("sbatch", "Submitted batch job 17\n")
        slurm = Slurm(setting(tmp_path))
        assert slurm.submit(jobs) == [job.name for job in jobs]
        set_states(commands, "")
        return slurm, jobs

    return make


def setting(folder: Path, parallel: int | None = None, **settings: object) -> Setting:
    """Settings of a sweep, with the default interval."""
    return Setting(
        options=make_options(**settings),
        folder=folder / "s",
        code=folder / ".code",
        hang_after=300.0,
        parallel=parallel,
    )


def job_below(folder: Path, name: str, **changes: object) -> Job:
    """A job whose folder is there."""
    job = make_job(name, folder=folder / "s" / name, **changes)
    RunFolder(job.folder).create(spec())
    return job


def set_states(commands: Commands, sacct: str, squeue: str = "") -> None:
    """Set SLURM's answers from now on, in lines of ``JobID|State|NodeList`` and of squeue."""
    commands.say("sacct", f"JobID|State|NodeList\n{sacct}")
    commands.say("squeue", squeue)


def write_state(job: Job, state: str = "running") -> None:
    """Let the job itself write its state."""
    run = RunFolder(job.folder)
    status = run.status()
    assert status is not None
    run.write_status(replace(status, state=state))  # type: ignore[arg-type]


def pass_time(slurm: Slurm, clock: Clock, seconds: int) -> list[str]:
    """Poll once a second, and return the names of the jobs that ended."""
    ended = []
    for _ in range(seconds):
        clock.now += 1.0
        ended += [job.name for job in slurm.poll()]
    return ended


def questions(commands: Commands) -> tuple[int, int]:
    """Numbers of calls of sacct and squeue."""
    return len(commands.calls("sacct")), len(commands.calls("squeue"))


def test_nothing_is_asked_while_folders_have_news(
    submitted: Make, commands: Commands, clock: Clock
) -> None:
    slurm, (first, second) = submitted(2)
    for _ in range(14):
        assert pass_time(slurm, clock, 20) == []
        write_state(first)
    assert questions(commands) == (0, 0)
    write_state(second, "ended")
    assert pass_time(slurm, clock, 2) == ["r1"]
    assert questions(commands) == (0, 0)


def test_all_ends_without_a_question(submitted: Make, commands: Commands, clock: Clock) -> None:
    slurm, jobs = submitted(3)
    for job in jobs:
        write_state(job, "ended")
    assert pass_time(slurm, clock, 1) == ["r0", "r1", "r2"]
    assert pass_time(slurm, clock, 1000) == [] and questions(commands) == (0, 0)


def test_news_of_one_do_not_hide_the_end_of_another_for_ever(
    submitted: Make, commands: Commands, clock: Clock
) -> None:
    slurm, (job, _) = submitted(2)
    queue = "17_0|RUNNING|n1|None\n17_1|CANCELLED|n2|None\n"
    set_states(commands, "17_0|RUNNING|n1\n17_1|CANCELLED by 0|n2\n", queue)
    ended = []
    for _ in range(32):
        ended += pass_time(slurm, clock, 10)
        write_state(job)
    assert (ended, questions(commands)) == (["r1"], (1, 1))


@pytest.mark.parametrize("count", [1, 9])
def test_one_question_in_an_interval(
    count: int, submitted: Make, commands: Commands, clock: Clock
) -> None:
    """However many jobs: one sacct, and no squeue where sacct knows that all may still run."""
    slurm, _ = submitted(count)
    names = [f"17_{i}" for i in range(count)] if count > 1 else ["17"]
    set_states(commands, "".join(f"{name}|RUNNING|n1\n" for name in names))
    assert pass_time(slurm, clock, 29) == [] and questions(commands) == (0, 0)
    assert pass_time(slurm, clock, 300) == [] and questions(commands) == (10, 0)
    assert commands.calls("sacct")[0][-1] == "17"


def test_a_squeue_where_sacct_does_not_know(
    submitted: Make, commands: Commands, clock: Clock
) -> None:
    slurm, _ = submitted(2)
    set_states(commands, "17_0|RUNNING|n1\n", "17_0|RUNNING|n1|None\n17_1|PENDING||Priority\n")
    assert pass_time(slurm, clock, 300) == [] and questions(commands) == (9, 9)


def test_without_accounting_squeue_does(submitted: Make, commands: Commands, clock: Clock) -> None:
    slurm, (job,) = submitted()
    commands.say("sacct", errors="slurmdbd: connection refused\n", code=1)
    commands.say("squeue", "17|RUNNING|n1|None\n")
    assert pass_time(slurm, clock, 300) == [] and questions(commands) == (9, 9)
    commands.say("squeue", "17|TIMEOUT|n1|TimeLimit\n")
    assert pass_time(slurm, clock, 40) == ["r0"]
    status = RunFolder(job.folder).status()
    assert status and (status.state, status.stopped) == ("ended", "timeout")


def test_without_a_controller_nothing_ends(
    submitted: Make, commands: Commands, clock: Clock
) -> None:
    slurm, _ = submitted()
    for name in ("sacct", "squeue"):
        commands.say(name, errors="Unable to contact slurm controller\n", code=1)
    assert pass_time(slurm, clock, 3000) == []


def test_node_fail_of_a_job_that_is_queued_again_is_no_end(
    submitted: Make, commands: Commands, clock: Clock
) -> None:
    slurm, (job,) = submitted()
    set_states(commands, "17|NODE_FAIL|n1\n", "17|PENDING||BeginTime\n")
    assert pass_time(slurm, clock, 600) == []
    set_states(commands, "17|NODE_FAIL|n1\n", "17|NODE_FAIL|n1|NodeDown\n")
    assert pass_time(slurm, clock, 40) == ["r0"]
    status = RunFolder(job.folder).status()
    assert status and (status.stopped, status.reason) == ("node", "SLURM says NODE_FAIL of job 17")


def test_a_job_that_slurm_has_forgotten(submitted: Make, commands: Commands, clock: Clock) -> None:
    """Two answers: of a job that has just been submitted not every daemon knows at once."""
    slurm, (job,) = submitted()
    assert pass_time(slurm, clock, 59) == []
    assert questions(commands) == (1, 1)
    set_states(commands, "17|PENDING|None assigned\n")
    assert pass_time(slurm, clock, 30) == []
    set_states(commands, "")
    assert pass_time(slurm, clock, 31) == []
    assert pass_time(slurm, clock, 10) == ["r0"]
    status = RunFolder(job.folder).status()
    assert status and (status.state, status.stopped, status.job_id, status.reason) == (
        "ended",
        "node",
        "17",
        "SLURM knows nothing of job 17 any more",
    )


def test_what_a_job_writes_last_wins(submitted: Make, commands: Commands, clock: Clock) -> None:
    """SLURM says it first where the file system is slow."""
    slurm, (job,) = submitted()
    set_states(commands, "17|COMPLETED|n1\n", "17|COMPLETED|n1|None\n")
    assert pass_time(slurm, clock, 32) == []
    RunFolder(job.folder).write_status(Status(state="ended", reason="mine", job_id="17"))
    assert pass_time(slurm, clock, 1) == ["r0"]
    status = RunFolder(job.folder).status()
    assert status and status.reason == "mine"


def test_what_a_batch_step_printed_last_is_the_reason(
    submitted: Make, commands: Commands, clock: Clock
) -> None:
    slurm, (job,) = submitted()
    (folder,) = (job.folder.parent / "submissions").iterdir()
    (folder / "17.txt").write_text("setup\nsupervisor: /x: No space left on device\n")
    set_states(commands, "17|FAILED|n1\n", "17|FAILED|n1|NonZeroExitCode\n")
    assert pass_time(slurm, clock, 40) == ["r0"]
    status = RunFolder(job.folder).status()
    assert status and status.reason == (
        "SLURM says FAILED of job 17: supervisor: /x: No space left on device"
    )


def test_cancel_asks_at_once(submitted: Make, commands: Commands, clock: Clock) -> None:
    slurm, _ = submitted(3)
    commands.say("scancel")
    slurm.cancel(["r0", "r2"])
    assert commands.calls("scancel") == [["--quiet", "17_0", "17_2"]]
    accounts = "17_0|CANCELLED by 0|n1\n17_1|RUNNING|n1\n17_2|CANCELLED by 0|n1\n"
    set_states(commands, accounts, "17_1|RUNNING|n1|None\n")
    assert pass_time(slurm, clock, 8) == ["r0", "r2"]


def test_sbatch_refuses(tmp_path: Path, commands: Commands) -> None:
    commands.say("sbatch", errors="sbatch: error: invalid partition specified: h10\n", code=1)
    slurm = Slurm(setting(tmp_path, partition="h10"))
    with pytest.raises(RequestError) as raised:
        slurm.submit([job_below(tmp_path, "r0")])
    message = "invalid partition specified: h10"
    assert str(raised.value) == f"scheduler.partition=h10: sbatch refuses: {message}"
    assert not slurm.adopt(job_below(tmp_path, "other")) and not slurm.watched
    assert not list(tmp_path.glob("s/submissions/*")), "nothing was submitted"


def test_there_is_no_controller(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.say("sbatch", errors="sbatch: error: Unable to contact slurm controller\n", code=1)
    monkeypatch.setattr(handover, "AWAY", 0.0)
    with pytest.raises(WorkError):
        Slurm(setting(tmp_path)).submit([job_below(tmp_path, "r0")])


def test_there_is_no_other_node(tmp_path: Path, commands: Commands) -> None:
    """A trial that may not go where it failed ends; the sweep goes on."""
    message = "sbatch: error: Requested node configuration is not available\n"
    commands.say("sbatch", errors=message, code=1)
    job = job_below(tmp_path, "r0", avoid=("n1", "n2"))
    slurm = Slurm(setting(tmp_path))
    assert slurm.submit([job]) == ["r0"]
    assert [ended.name for ended in slurm.poll()] == ["r0"]
    status = RunFolder(job.folder).status()
    assert status and status.reason == (
        "no other nodes than n1, n2: scheduler: sbatch refuses: Requested node configuration is"
        " not available"
    )


def test_a_long_run_goes_back_where_there_is_no_other_node(
    tmp_path: Path, commands: Commands
) -> None:
    """In weeks it may have failed on many; the check of the nodes finds those that are unfit now."""
    commands.write(
        "sbatch",
        """#!/bin/sh
for script; do :; done
if grep -q exclude "$script"; then
    echo sbatch: error: Requested node configuration is not available >&2
    exit 1
fi
echo Submitted batch job 17
""",
    )
    job = job_below(tmp_path, "r0", avoid=("n1", "n2"), checkpoint_bytes=1)
    slurm = Slurm(setting(tmp_path))
    assert slurm.submit([job]) == ["r0"] and slurm.poll() == []
    status = RunFolder(job.folder).status()
    assert status and (status.state, status.attempt) == ("queued", 1)
    assert len(list(tmp_path.glob("s/submissions/*"))) == 1


def test_a_call_of_sbatch_for_each_shape(tmp_path: Path, commands: Commands) -> None:
    commands.say("sbatch", "Submitted batch job 17\n")
    shapes: list[dict[str, object]] = [{"nodes": 1}, {"nodes": 2}, {"nodes": 1, "time_limit": 60.0}]
    jobs = [
        job_below(tmp_path, f"r{n}{i}", **shape) for i in range(2) for n, shape in enumerate(shapes)
    ]
    assert sorted(Slurm(setting(tmp_path)).submit(jobs)) == sorted(job.name for job in jobs)
    scripts = [Path(words[-1]).read_text() for words in commands.calls("sbatch")]
    assert len(scripts) == 3 and all("#SBATCH --array=0-1%2" in text for text in scripts)


def test_large_arrays_are_parted(tmp_path: Path, commands: Commands) -> None:
    assert [len(group) for group in groups([make_job(f"r{n}") for n in range(1200)], 1001)] == [
        1001,
        199,
    ]
    commands.say("scontrol", "MaxArraySize            = 4\nMaxJobCount             = 10000\n")
    commands.say("sbatch", "Submitted batch job 17\n")
    Slurm(setting(tmp_path)).submit([job_below(tmp_path, f"r{number}") for number in range(6)])
    scripts = [Path(words[-1]).read_text() for words in commands.calls("sbatch")]
    assert "#SBATCH --array=0-3%4" in scripts[0]
    assert "#SBATCH --array=0-1%2" in scripts[1]
    assert commands.calls("scontrol") == [["show", "config"]]


def test_what_is_above_a_limit_waits_until_some_have_ended(
    tmp_path: Path, commands: Commands, clock: Clock
) -> None:
    limit = Limit(commands, 6)
    jobs = [job_below(tmp_path, f"r{number}") for number in range(10)]
    slurm = Slurm(setting(tmp_path))
    assert slurm.submit(jobs) == ["r0", "r1", "r2", "r3", "r4", "r5"]
    assert limit.tries == [10, 5, 5, 2, 1, 1]
    assert [RunFolder(job.folder).status() is None for job in jobs[6:]] == [True] * 4
    assert len(list(tmp_path.glob("s/submissions/*/job_id"))) == 2
    assert len(list(tmp_path.glob("s/submissions/*"))) == 2
    limit.reset(6, 6)
    assert slurm.submit(jobs[6:]) == [] and limit.tries == [1]
    write_state(jobs[1], "ended")
    assert pass_time(slurm, clock, 2) == ["r1"]
    limit.reset(6, 5)
    assert slurm.submit(jobs[6:]) == ["r6"] and limit.tries == [1, 2, 1]
    limit.reset(99, 6)
    assert slurm.submit(jobs[7:]) == ["r7", "r8", "r9"] and limit.tries == [1, 2]


def test_no_more_at_once_than_is_allowed_where_one_array_is_several(
    tmp_path: Path, commands: Commands, clock: Clock
) -> None:
    Limit(commands, 6)
    slurm = Slurm(setting(tmp_path, parallel=3))
    jobs = [job_below(tmp_path, f"r{number}") for number in range(10)]
    assert slurm.submit(jobs) == ["r0", "r1", "r2"]
    assert slurm.submit(jobs[3:]) == []
    write_state(jobs[0], "ended")
    assert pass_time(slurm, clock, 2) == ["r0"]
    assert slurm.submit(jobs[3:]) == ["r3"]


def test_a_limit_that_others_have_used_up_is_a_refusal(
    tmp_path: Path, commands: Commands, clock: Clock
) -> None:
    Limit(commands, 6, have=6)
    slurm = Slurm(setting(tmp_path, account="proj"))
    with pytest.raises(RequestError) as raised:
        slurm.submit([job_below(tmp_path, "r0"), job_below(tmp_path, "r1")])
    assert str(raised.value).startswith(
        "scheduler.account=proj: sbatch refuses: AssocMaxSubmitJobLimit; "
    )
    assert clock.now == 1000.0, "nobody is on the way out"


def test_the_last_one_may_still_be_counted(
    tmp_path: Path, commands: Commands, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = Limit(commands, 1)
    first, second = job_below(tmp_path, "r0"), job_below(tmp_path, "r1")
    slurm = Slurm(setting(tmp_path))
    assert slurm.submit([first, second]) == ["r0"]
    write_state(first, "ended")
    assert pass_time(slurm, clock, 2) == ["r0"]
    monkeypatch.setattr(clock, "sleep", lambda _: limit.reset(1, 0))
    assert slurm.submit([second]) == ["r1"]


ADOPTIONS = [
    # what squeue answers when it is asked for the submission's name, and whether it is taken over
    ("there", ("17|RUNNING|n1|None\n", "", 0), True),
    ("never got it", ("", "", 0), False),
]


@pytest.mark.parametrize(("answer", "adopted"), [a[1:] for a in ADOPTIONS], ids=["there", "never"])
def test_a_launcher_that_was_killed_before_it_wrote_the_number_down(
    answer: tuple[str, str, int], adopted: bool, submitted: Make, commands: Commands, tmp_path: Path
) -> None:
    _, (job,) = submitted()
    (number,) = (job.folder.parent / "submissions").glob("*/job_id")
    number.unlink()
    commands.say("squeue", *answer)
    slurm = Slurm(setting(tmp_path))
    assert slurm.adopt(job) is adopted
    assert number.exists() is adopted
    assert commands.calls("squeue")[-1][-1].startswith("--name=s-")


def test_nothing_is_submitted_twice_while_slurm_is_silent(
    submitted: Make, commands: Commands, tmp_path: Path
) -> None:
    _, (job,) = submitted()
    next((job.folder.parent / "submissions").glob("*/job_id")).unlink()
    commands.say("squeue", errors="Unable to contact slurm controller\n", code=1)
    with pytest.raises(WorkError) as raised:
        Slurm(setting(tmp_path)).adopt(job)
    assert str(raised.value).startswith("s-")
    assert str(raised.value).endswith(": SLURM does not say whether it has this job; try again")
