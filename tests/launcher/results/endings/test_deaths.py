"""How a process died, by lines of launchers, shells, MPI and containers -> outcome and cause.

Module: launcher.results.endings.deaths.
"""

import signal

import pytest

from launcher.results.endings.classify import classify, last_resort, verdict_of_log
from launcher.results.endings.deaths import deaths
from launcher.results.run_folder import Status

DEEPSPEED = "[2025-01-01 10:00:09,2] [ERROR] [launch.py:325:sigkill_handler] [{}] exits with return code = {}"
BLOCK = """train.py FAILED
Failures:
  <NO_OTHER_FAILURES>
Root Cause (first observed failure):
[0]:
  rank      : 3 (local_rank: 3)
  exitcode  : {} (pid: 71)
  error_file: <N/A>
  traceback : Signal {} ({}) received by PID 71
"""

DEATHS = [
    # Killed from outside.
    ("node", "[10:00:09] Killing subprocess 80\n" + DEEPSPEED.format("'python'", -9), "return code = -9"),
    ("node", DEEPSPEED.format("'python', " * 60, -9), "return code = -9 (SIGKILL)"),
    ("node", BLOCK.format(-9, 9, "SIGKILL"), "Signal 9 (SIGKILL) received by PID 71"),
    ("node", "E0101 10:00:00 9 api.py:869] failed (exitcode: -9) local_rank: 2 (pid: 71) of binary: /p",
     "failed (exitcode: -9)"),
    ("node", "subprocess.CalledProcessError: Command '['python', 'x.py']' died with <Signals.SIGKILL: 9>.",
     "<Signals.SIGKILL: 9>"),
    ("node", "torch.multiprocessing.spawn.ProcessExitedException: process 0 terminated with signal SIGKILL",
     "terminated with signal SIGKILL"),
    ("node", "/job/run.sh: line 12: 12345 Killed                  python train.py --bf16", "12345 Killed"),
    ("node", "Epoch 1\nKilled\n", "Killed"),
    ("node", "zsh: killed     python train.py", "zsh: killed"),
    ("node", "srun: error: n3: task 3: Killed", "task 3: Killed"),
    ("node", "srun: error: n3: task 3: Exited with exit code 137", "exit code 137 (SIGKILL)"),
    ("node", "command terminated with exit code 137", "exit code 137"),
    ("node", "    Reason:       Error\n    Exit Code:    137", "Exit Code:    137 (SIGKILL)"),
    ("node", "trainer exited with code 137", "code 137"),
    ("node", "pdsh@n1: n4: ssh exited with exit code 137", "exit code 137"),
    ("node", "mpirun noticed that process rank 3 with PID 9 on node n2 exited on signal 9 (Killed).",
     "signal 9 (Killed)"),
    ("node", "=   RANK 3 PID 9 RUNNING AT n2\n=   KILLED BY SIGNAL: 9 (Killed)", "KILLED BY SIGNAL: 9"),
    ("node", "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)", "Killed (signal 9)"),
    ("node", "train.service: Main process exited, code=killed, status=9/KILL", "status=9/KILL"),
    ("node", "ERROR:composer.cli.launcher:Rank 3 crashed with exit code -9.", "exit code -9. (SIGKILL)"),
    ("node", "Global rank 3 (PID 4411) exited with code -9", "exited with code -9 (SIGKILL)"),
    ("node", "exited: train (terminated by SIGKILL; not expected)", "terminated by SIGKILL"),
    # Crashes.
    ("failed", BLOCK.format(-7, 7, "SIGBUS"), "SIGBUS"),
    ("failed", "ERROR:elastic.multiprocessing.api:failed (exitcode: -7) local_rank: 0 (pid: 5)", "(SIGBUS)"),
    ("failed", "[n1:05:0:06] Caught signal 7 (Bus error: nonexistent physical address)", "Bus error"),
    ("failed", "/job/run.sh: line 3:   71 Bus error               (core dumped) python x.py", "Bus error"),
    ("failed", "Bus error (core dumped)", "Bus error (core dumped)"),
    ("failed", "Segmentation fault (core dumped)", "Segmentation fault"),
    ("failed", "srun: error: n3: tasks 0,4-7: Segmentation fault (core dumped)", "Segmentation fault"),
    ("failed", "Fatal Python error: Segmentation fault\n\nThread 0x7f (most recent call first):\n",
     "Segmentation fault"),
    ("failed", "[n1:99] *** Process received signal ***\n[n1:99] Signal: Segmentation fault (11)",
     "Segmentation fault (11)"),
    ("failed", "*** SIGSEGV (@0x0) received by PID 9 (TID 0x7f) from PID 0; stack trace: ***", "SIGSEGV"),
    ("failed", "[1]    4411 illegal instruction (core dumped)  python x.py", "illegal instruction"),
    ("failed", DEEPSPEED.format("'python'", -11), "return code = -11 (SIGSEGV)"),
    ("failed", "E0101 api.py:869] failed (exitcode: -6) local_rank: 2 (pid: 71) of binary: /p", "(SIGABRT)"),
    ("failed", "Exited with exit code 139", "139 (SIGSEGV)"),
    # What a rank or a message says comes first, whatever stands before.
    ("failed", "Killed\nTraceback (most recent call last):\nValueError: bad thing", "ValueError: bad thing"),
    ("data", "Segmentation fault (core dumped)\nDataError: /t.json has no token <end>", "DataError"),
    # Then the first death, then what its peers say.
    ("node", "[rank1]: RuntimeError: x.cc:5] Connection closed by peer [n1]:9\n" + BLOCK.format(
        -9, 9, "SIGKILL"), "SIGKILL"),
    ("failed", "srun: error: n1: task 0: Exited with exit code 1\nsrun: error: n1: task 1: Segmentation fault",
     "Segmentation fault"),
    ("nccl", "Connection reset by peer\nsrun: error: n1: task 0: Exited with exit code 1\nsrun: Job step"
     " aborted: Waiting up to 32 seconds\nsrun: error: n2: tasks 1-7: Killed", "Connection reset"),
    ("nccl", "Connection reset by peer\nFatal Python error: Aborted\n" + BLOCK.format(-6, 6, "SIGABRT"),
     "Connection reset"),
    ("nccl", "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=5)\nSegmentation fault (core"
     " dumped)\nKilled", "Watchdog caught"),
    ("failed", "srun: error: n2: task 9: Exited with exit code 3\nslurmstepd: error: *** STEP 5.0 ON n1"
     " CANCELLED AT 2025-01-02T03:04:05 ***\nsrun: error: n1: tasks 0-7: Terminated", "exit code 3"),
    ("cancelled", "slurmstepd: error: *** STEP 5.0 ON n1 CANCELLED AT 2025-01-02T03:04:05 ***\n"
     "srun: error: n1: tasks 0-7: Killed", "CANCELLED AT"),
]  # fmt: skip


@pytest.mark.parametrize(("outcome", "log", "cause"), DEATHS)
def test_a_log_tells_of_a_death(outcome: str, log: str, cause: str) -> None:
    verdict = verdict_of_log(log)
    assert verdict is not None and verdict.cause is not None
    assert (verdict.outcome, cause in verdict.cause, len(verdict.cause) <= 300) == (
        outcome,
        True,
        True,
    ), verdict


LAST = [
    ("failed", DEEPSPEED.format("'python'", 1), "return code = 1"),
    ("failed", "srun: error: n1: task 0: Exited with exit code 2\nsrun: error: n1: task 1: Terminated",
     "exit code 2"),
    ("failed", "E0101 api.py:869] failed (exitcode: 1) local_rank: 0 (pid: 71) of binary: /p", "exitcode: 1"),
    ("failed", "slurmstepd: error: *** STEP 5.0 ON n1 CANCELLED AT 2025-01-02T03:04:05 DUE TO TASK FAILURE"
     " ***\nsrun: error: n2: task 9: Exited with exit code 1", "exit code 1"),
    ("failed", "srun: error: Unable to confirm allocation for job 5: Invalid job id", "Invalid job id"),
    ("cancelled", "Ctrl-C received; terminating training processes.", "Ctrl-C received"),
    ("cancelled", "[INFO] Main process received SIGTERM, exiting", "Main process received SIGTERM"),
    ("cancelled", "torch.distributed.elastic.multiprocessing.api.SignalException: Process 71 got signal: 15",
     "got signal: 15"),
    ("cancelled", "W0101 10:00:00 9 api.py:723] Received Signals.SIGHUP death signal, shutting down workers",
     "SIGHUP"),
    ("cancelled", "srun: error: n1: tasks 0-7: Terminated", "Terminated"),
    ("cancelled", "trainer exited with code 143", "143 (SIGTERM)"),
    ("cancelled", BLOCK.format(-15, 15, "SIGTERM"), "Signal 15 (SIGTERM)"),
]  # fmt: skip


@pytest.mark.parametrize(("outcome", "log", "cause"), LAST)
def test_a_request_to_end_and_an_exit_code_are_the_last_resort(
    outcome: str, log: str, cause: str
) -> None:
    assert verdict_of_log(log) is None
    verdict = last_resort(log)
    assert verdict is not None and verdict.cause is not None
    assert (verdict.outcome, cause in verdict.cause) == (outcome, True), verdict


def test_deaths_are_in_the_order_of_their_lines() -> None:
    lines = ["Killed", "step 3", "exited with code 0", "exited with code 3", "exited with code 139"]
    numbers = [death.signal for death in deaths(lines)]
    assert numbers == [signal.SIGKILL, None, signal.SIGSEGV]


def ended(*codes: int | None) -> Status:
    return Status(state="ended", exit_codes=codes)


def test_codes_say_more_than_lines() -> None:
    # torchrun within a rank: its own code is 1.
    own = classify(ended(1), [BLOCK.format(-9, 9, "SIGKILL")], False)
    assert (own.outcome, own.cause) == ("node", "traceback : Signal 9 (SIGKILL) received by PID 71")
    # srun tells of the peers that it killed, after one whose code is known.
    killed = "srun: error: n1: task 1: Killed"
    assert classify(ended(1, None), ["", ""], False, killed).outcome == "failed"
    assert classify(ended(None, None), ["", ""], False, killed).outcome == "node"
    # A crash while it is taken down, of which its own code tells.
    log = "Connection reset by peer\nFatal Python error: Segmentation fault"
    assert classify(ended(-11, 1), [log, ""], False).outcome == "nccl"
