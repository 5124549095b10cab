"""Real last words of ranks -> outcome and cause.

Messages are those that torch 2.1 to 2.13, megatron-core 0.16, DeepSpeed 0.19, NCCL, gloo, srun and
slurmstepd print; paths and addresses are made up. The files are described in data/log_tails.
Modules: launcher.results.endings.patterns, launcher.results.outcomes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from analysis import table
from launcher.results.endings.classify import LONGEST, classify, tail
from launcher.results.endings.patterns import PATTERNS
from launcher.results.outcomes import NEXT_STEP, OUTCOMES, NextStep, Outcome, advice
from launcher.results.record import RunRecord
from launcher.results.run_folder import Status
from tests.conftest import ROOT, spec

TAILS = ROOT / "tests" / "data" / "log_tails"

TRACEBACK = (
    'Traceback (most recent call last):\n  File "train.py", line 7, in <module>\n    main()\n'
)
GLOO = "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/"
CLOSED = GLOO + "pair.cc:553] Connection closed by peer [127.0.0.1]:12726"
RESET = GLOO + "pair.cc:537] Read error [127.0.0.1]:29608: Connection reset by peer"
WAITED = GLOO + "unbound_buffer.cc:78] Timed out waiting 8000ms for recv operation to complete"
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total \
capacity of 79.15 GiB of which 1.28 GiB is free."
WATCHDOG = "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=5, OpType=ALLREDUCE, \
NumelIn=1, NumelOut=1, Timeout(ms)=600000) ran for 600013 milliseconds before timing out."
BATCH = "AssertionError: Check batch related parameters. train_batch_size is not equal to \
micro_batch_per_gpu * gradient_acc_step * world_size 8 != 2 * 1 * 1"
DUMP = """HangError: no step finished within 60 s (last step 4)
Thread 0x00007f2d1c9f6700 (most recent call first):
  File "/x/CUDA out of memory.py", line 55 in AssertionError: No space left on device
Current thread 0x00007f2d9d7ff740 (most recent call first):
  File "/x/torch/distributed/distributed_c10d.py", line 3252 in all_reduce
"""
TORCHRUN = """E0227 17:39:41.936 293814 torch/distributed/elastic/multiprocessing/api.py:869] failed \
(exitcode: 1) local_rank: 0 (pid: 88) of binary: /opt/venv/bin/python3
W0227 17:39:41.936 293814 torch/distributed/elastic/multiprocessing/api.py:766] Closing process 293866 \
via signal SIGTERM
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
  <NO_OTHER_FAILURES>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2025-02-27_17:39:41
  exitcode  : 1 (pid: 88)
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
"""

# One rank's log -> what it means. Nothing is known of the exit code.
ALONE: list[tuple[str, Outcome, str]] = [
    # Memory of a card, as torch said it in 1.x, 2.1 to 2.4 and since.
    (
        "RuntimeError: CUDA out of memory. Tried to allocate 1024.00 KiB (GPU 0; 11.17 GiB total"
        " capacity; 10.90 GiB already allocated; 576.00 KiB free; 30.96 MiB cached)",
        "oom",
        "RuntimeError: CUDA out of memory. Tried to allocate 1024.00 KiB (GPU 0; 11.17 GiB total"
        " capacity; 10.90 GiB already allocated; 576.00 KiB free; 30.96 MiB cached)",
    ),
    (
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.70 GiB. GPU 0 has a"
        " total capacty of 6.00 GiB of which 0 bytes is free.",
        "oom",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.70 GiB. GPU 0 has a"
        " total capacty of 6.00 GiB of which 0 bytes is free.",
    ),
    (f"[rank0]: {TRACEBACK}[rank0]: {OOM}", "oom", OOM),
    (
        "RuntimeError: CUDA error: out of memory\nCUDA kernel errors might be asynchronously"
        " reported at some other API call\nCompile with `TORCH_USE_CUDA_DSA`",
        "oom",
        "RuntimeError: CUDA error: out of memory",
    ),
    (
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "oom",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ),
    (
        "node1:531:1762 [0] transport/nvls.cc:244 NCCL WARN Cuda failure 2 'out of memory'\n"
        "torch.distributed.DistBackendError: NCCL error in: ../NCCLUtils.hpp:317, unhandled cuda"
        " error",
        "oom",
        "Cuda failure 2 'out of memory'",
    ),
    # Memory of the machine.
    (
        "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't"
        " allocate memory: you tried to allocate 4000000000000000 bytes. Error code 12 (Cannot"
        " allocate memory)",
        "oom",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't"
        " allocate memory: you tried to allocate 4000000000000000 bytes. Error code 12 (Cannot"
        " allocate memory)",
    ),
    (f"{TRACEBACK}MemoryError", "oom", "MemoryError"),
    (
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.11 PiB for an array",
        "oom",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.11 PiB for an array",
    ),
    (
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=14604003.0 cgroup. Some of your"
        " processes may have been killed by the cgroup out-of-memory handler.",
        "oom",
        "Detected 1 oom-kill event(s) in StepId=14604003.0 cgroup. Some of your processes may have"
        " been killed by the cgroup out-of-memory handler.",
    ),
    (
        "slurmstepd: error: Detected 2 oom_kill events in StepId=9.0.",
        "oom",
        "Detected 2 oom_kill events in StepId=9.0.",
    ),
    (
        "slurmstepd: error: Exceeded job memory limit at some point.",
        "oom",
        "Exceeded job memory limit at some point.",
    ),
    ("srun: error: o0616: task 0: Out Of Memory", "oom", "task 0: Out Of Memory"),
    # The machine.
    (
        "RuntimeError: CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might",
        "node",
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
    ),
    (
        "kernel: NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, GPU has fallen off the bus.",
        "node",
        "NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, GPU has fallen off the bus.",
    ),
    (
        "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",
        "node",
        "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    ),
    (
        "slurmstepd: error: *** STEP 8.0 ON n2 CANCELLED AT 2025-01-02T03:04:05 DUE TO NODE"
        " FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***",
        "node",
        "STEP 8.0 ON n2 CANCELLED AT 2025-01-02T03:04:05 DUE TO NODE FAILURE, SEE SLURMCTLD LOG"
        " FOR DETAILS",
    ),
    # The disk.
    (
        "OSError: [Errno 28] No space left on device",
        "disk",
        "OSError: [Errno 28] No space left on device",
    ),
    (
        "OSError: [Errno 122] Disk quota exceeded: '/runs/a/log'",
        "disk",
        "OSError: [Errno 122] Disk quota exceeded: '/runs/a/log'",
    ),
    (
        "OSError: [Errno 30] Read-only file system: '/runs'",
        "disk",
        "OSError: [Errno 30] Read-only file system: '/runs'",
    ),
    (
        "PermissionError: [Errno 13] Permission denied: '/runs/a/metrics.jsonl'",
        "disk",
        "PermissionError: [Errno 13] Permission denied: '/runs/a/metrics.jsonl'",
    ),
    (
        "RuntimeError: [enforce fail at inline_container.cc:471] . PytorchStreamWriter failed"
        " writing file data/228: file write failed",
        "disk",
        "RuntimeError: [enforce fail at inline_container.cc:471] . PytorchStreamWriter failed"
        " writing file data/228: file write failed",
    ),
    (
        "RuntimeError: [enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598",
        "disk",
        "RuntimeError: [enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598",
    ),
    (
        "launcher.workers.errors.DeviceError: H100-SXM5-80GB 0 of this node: torch finds 0",
        "node",
        "DeviceError: H100-SXM5-80GB 0 of this node: torch finds 0",
    ),
    # The text.
    (
        "launcher.workers.errors.DataError: data.tokenizer: /t.json has no token <end>",
        "data",
        "DataError: data.tokenizer: /t.json has no token <end>",
    ),
    (
        "AssertionError: bad header, cannot read: /data/x.idx\n"
        f"Exception ignored in: <function IndexedDataset.__del__ at 0x7f>\n{TRACEBACK}"
        "AttributeError: 'IndexedDataset' object has no attribute 'index'",
        "data",
        "AssertionError: bad header, cannot read: /data/x.idx",
    ),
    (
        "AssertionError: One or both of the .idx and .bin files cannot be found at the path prefix"
        " /data/x",
        "data",
        "AssertionError: One or both of the .idx and .bin files cannot be found at the path prefix"
        " /data/x",
    ),
    (
        f"{TRACEBACK}Exception: expected value at line 1 column 1",
        "data",
        "Exception: expected value at line 1 column 1",
    ),
    ("IndexError: index out of range in self", "data", "IndexError: index out of range in self"),
    (
        "Indexing.cu:1308: indexSelectLargeIndex: block: [1,0,0], thread: [0,0,0] Assertion"
        " `srcIndex < srcSelectDimSize` failed.\n"
        "RuntimeError: CUDA error: device-side assert triggered",
        "data",
        "srcIndex < srcSelectDimSize` failed.",
    ),
    # Numbers.
    (
        "launcher.workers.errors.DivergedError: loss is nan at step 7",
        "diverged",
        "DivergedError: loss is nan at step 7",
    ),
    (
        "AssertionError: Rank 11: found NaN in local grad norm in backward pass before"
        " data-parallel communication collective. Device: 3",
        "diverged",
        "AssertionError: Rank 11: found NaN in local grad norm in backward pass before"
        " data-parallel communication collective. Device: 3",
    ),
    (
        "ERROR:megatron.core.rerun_state_machine:Unexpected result nan on rank 3 at iteration #3",
        "diverged",
        "Unexpected result nan on rank 3 at iteration #3",
    ),
    (
        "Exception: Current loss scale already at minimum - cannot decrease scale anymore. Exiting"
        " run.",
        "diverged",
        "Exception: Current loss scale already at minimum - cannot decrease scale anymore. Exiting"
        " run.",
    ),
    # The configuration.
    (
        "[rank1]: AssertionError: global batch size (512) is not divisible by micro batch size (3)"
        " times data parallel size (8)",
        "assertion",
        "AssertionError: global batch size (512) is not divisible by micro batch size (3)"
        " times data parallel size (8)",
    ),
    (
        "AssertionError: 6 is not divisible by 4",
        "assertion",
        "AssertionError: 6 is not divisible by 4",
    ),
    (
        "RuntimeError: world_size (2) is not divisible by 3",
        "assertion",
        "RuntimeError: world_size (2) is not divisible by 3",
    ),
    (BATCH, "assertion", BATCH),
    (
        "AssertionError: Gradient accumulation steps: 0 has to be greater than 0",
        "assertion",
        "AssertionError: Gradient accumulation steps: 0 has to be greater than 0",
    ),
    (
        "AssertionError: ZeRO-2 and ZeRO-3 are incompatible with pipeline parallelism",
        "assertion",
        "AssertionError: ZeRO-2 and ZeRO-3 are incompatible with pipeline parallelism",
    ),
    (
        'Traceback (most recent call last):\n  File "x.py", line 3, in f\n    assert a == b\n'
        "           ^^^^^^\nAssertionError",
        "assertion",
        "AssertionError: assert a == b",
    ),
    # Collectives.
    (
        f"[rank1]:[E321 02:07:08.40 ProcessGroupNCCL.cpp:607] [Rank 1] {WATCHDOG}",
        "nccl",
        WATCHDOG,
    ),
    (
        "torch.distributed.DistBackendError: NCCL error in: ../NCCLUtils.hpp:268, remote process"
        " exited or there was a network error, NCCL version 2.21.5\nncclRemoteError: A call failed",
        "nccl",
        "torch.distributed.DistBackendError: NCCL error in: ../NCCLUtils.hpp:268, remote process"
        " exited or there was a network error, NCCL version 2.21.5",
    ),
    (CLOSED, "nccl", CLOSED),
    (RESET, "nccl", RESET),
    (WAITED, "nccl", WAITED),
    # No step in time.
    (DUMP, "hang", "HangError: no step finished within 60 s (last step 4)"),
    (
        'Timeout (0:01:00)!\nThread 0x00007f2d (most recent call first):\n  File "/x/MemoryError.py"'
        ", line 3 in wait\n",
        "hang",
        "Timeout (0:01:00)!",
    ),
    # The scheduler.
    (
        (TAILS / "time_limit.txt").read_text(),
        "timeout",
        "STEP 1999616.0 ON r6i4n5 CANCELLED AT 2021-05-27T21:42:11 DUE TO TIME LIMIT",
    ),
    (
        (TAILS / "scancel.txt").read_text(),
        "cancelled",
        "JOB 1809579 ON r8i3n1 CANCELLED AT 2021-05-23T08:45:57",
    ),
    (
        "slurmstepd: error: *** STEP 63532.0 ON cn106 CANCELLED AT 2020-12-14T09:43:55 ***",
        "cancelled",
        "STEP 63532.0 ON cn106 CANCELLED AT 2020-12-14T09:43:55",
    ),
    (
        "slurmstepd: error: *** JOB 3 ON cn119 CANCELLED AT 2021-06-18T13:05:36 DUE TO PREEMPTION ***",
        "preempted",
        "JOB 3 ON cn119 CANCELLED AT 2021-06-18T13:05:36 DUE TO PREEMPTION",
    ),
    # Anything else.
    (
        f"{TRACEBACK}RuntimeError: CUDA error: an illegal memory access was encountered\n"
        "CUDA kernel errors might be asynchronously reported at some other API call",
        "failed",
        "RuntimeError: CUDA error: an illegal memory access was encountered",
    ),
    (
        "[E ProcessGroupNCCL.cpp:916] [Rank 0] NCCL watchdog thread terminated with exception:"
        " CUDA error: an illegal memory access was encountered",
        "failed",
        "CUDA error: an illegal memory access was encountered",
    ),
    (f"{TRACEBACK}ValueError: bad thing\n{TORCHRUN}", "failed", "ValueError: bad thing"),
    (
        f"{TRACEBACK}KeyError: 'x'\n/x/resource_tracker.py:254: UserWarning: resource_tracker:"
        " There appear to be 1 leaked semaphore objects\n  warnings.warn('leaked')",
        "failed",
        "KeyError: 'x'",
    ),
    (
        "UserWarning: CUDA out of memory was seen before\n\x1b[31mgiving\x07 up\x1b[0m\r\n",
        "failed",
        "last line: giving up",
    ),
    (TORCHRUN, "failed", "ended without a result, and no rank said why"),
    ("", "failed", "ended without a result, and no rank said why"),
]

# Lines that are their own cause.
LINES: list[tuple[Outcome, str]] = [
    ("node", "RuntimeError: No CUDA GPUs are available"),
    ("node", "RuntimeError: CUDA error: system not yet initialized"),
    ("node", "shared memory segment /dev/shm/nccl-a (size 9), error: No space left on device (28)"),
    ("oom", "OSError: [Errno 12] Cannot allocate memory"),
    ("oom", "std::bad_alloc"),
    ("oom", "Out of memory: Killed process 1234 (python) total-vm:99kB"),
    ("disk", "OSError: [Errno 5] Input/output error"),
    ("disk", "RuntimeError: write(): fd 29 failed with Input/output error"),
    ("disk", "OSError: [Errno 116] Stale file handle"),
    ("data", "AssertionError: Index file doesn't match expected format."),
    ("data", "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
    ("data", "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0"),
    ("assertion", "ValidationError: 1 validation error for ZeRO"),
    ("nccl", "torch.distributed.DistNetworkError: The server socket has failed: EADDRINUSE"),
    ("nccl", "Some NCCL operations have failed or timed out."),
    ("nccl", "RuntimeError: Rank 1 failed to pass monitoredBarrier in 1800000 ms"),
    ("nccl", "RuntimeError: Gloo connectFullMesh failed with timeout"),
    ("nccl", "LinkError: all-reduce of 16 MiB over 8 ranks not finished within 120 s"),
    ("nccl", "torch.distributed.DistStoreError: wait timeout after 60000ms, keys: /a"),
    ("nccl", "RuntimeError: failed to recv, got 0 bytes. Connection was likely closed."),
    ("hang", "HangError: set-up not finished within 600 s"),
    ("failed", "RuntimeError: CUDA error: unspecified launch failure"),
]


def judged(status: Status | None, tails: Sequence[str], has_result: bool) -> tuple[str, str | None]:
    """Outcome and cause."""
    verdict = classify(status, tails, has_result)
    return verdict.outcome, verdict.cause


@pytest.mark.parametrize(("outcome", "line"), LINES)
def test_a_line_that_is_its_own_cause(outcome: Outcome, line: str) -> None:
    assert judged(None, [line], False) == (outcome, line)


@pytest.mark.parametrize(("log", "outcome", "cause"), ALONE)
def test_one_rank(log: str, outcome: Outcome, cause: str) -> None:
    # torchrun's closing words and a peer's may surround the message: they change nothing.
    assert judged(None, [log], False) == (outcome, cause)
    if log and not log.startswith("E0227"):
        assert judged(None, [f"{log}\n{TORCHRUN}"], False) == (outcome, cause)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Exit codes and logs of several ranks, and what it was."""

    codes: tuple[int | None, ...] = ()
    logs: tuple[str, ...] = ("", "")
    outcome: Outcome
    cause: str | None
    kernel_oom: bool = False
    has_result: bool = False


TOGETHER = [
    Case(codes=(0, 0), has_result=True, outcome="ok", cause=None),
    Case(codes=(0, None), has_result=True, logs=(OOM, ""), outcome="ok", cause=None),
    Case(codes=(), has_result=True, outcome="ok", cause=None),
    # A root cause and what its peers say of it.
    Case(codes=(1, 1), logs=(CLOSED, OOM), outcome="oom", cause=f"rank 1: {OOM}"),
    Case(codes=(None, 1), logs=(WATCHDOG, OOM), outcome="oom", cause=f"rank 1: {OOM}"),
    Case(codes=(1, None), logs=(BATCH, RESET), outcome="assertion", cause=f"rank 0: {BATCH}"),
    Case(codes=(1, 1), logs=(OOM, DUMP), outcome="oom", cause=f"rank 0: {OOM}"),
    Case(codes=(None, 1), logs=(OOM, OOM), outcome="oom", cause=f"rank 1: {OOM}"),
    Case(
        codes=(1, 1),
        logs=(WAITED, f"{TRACEBACK}ValueError: bad thing"),
        outcome="failed",
        cause="rank 1: ValueError: bad thing",
    ),
    Case(
        codes=(1, None),
        logs=(
            "KeyError: 'x'",
            "slurmstepd: error: *** STEP 9.0 ON n1 CANCELLED AT 2025-01-02T03:04:05 ***",
        ),
        outcome="failed",
        cause="rank 0: KeyError: 'x'",
    ),
    Case(
        logs=(CLOSED, DUMP),
        outcome="hang",
        cause="rank 1: HangError: no step finished within 60 s (last step 4)",
    ),
    Case(codes=(1, 1), logs=(CLOSED, WAITED), outcome="nccl", cause=f"rank 1: {WAITED}"),
    Case(
        codes=(1, 1),
        logs=("BrokenPipeError: [Errno 32] Broken pipe", ""),
        outcome="nccl",
        cause="rank 0: BrokenPipeError: [Errno 32] Broken pipe",
    ),
    # Signals.
    Case(
        codes=(1, -9),
        logs=(CLOSED, ""),
        kernel_oom=True,
        outcome="oom",
        cause="rank 1 was killed by the kernel's memory killer",
    ),
    Case(
        codes=(1, -9),
        logs=(CLOSED, "step 3"),
        outcome="node",
        cause="rank 1 was killed by SIGKILL from outside",
    ),
    Case(codes=(None, -15), outcome="node", cause="rank 1 was killed by SIGTERM from outside"),
    Case(codes=(1, -9), logs=(OOM, ""), outcome="oom", cause=f"rank 0: {OOM}"),
    Case(codes=(-11, 1), logs=("", RESET), outcome="failed", cause="rank 0 died of SIGSEGV"),
    Case(codes=(-7, None), outcome="failed", cause="rank 0 died of SIGBUS"),
    Case(codes=(-6, -6), logs=("", WATCHDOG), outcome="nccl", cause=f"rank 1: {WATCHDOG}"),
    Case(codes=(None, -6), outcome="failed", cause="rank 1 died of SIGABRT"),
    Case(
        codes=(-6, None),
        logs=("Fatal Python error: Aborted\n", ""),
        outcome="failed",
        cause="rank 0 died of SIGABRT",
    ),
    # No reason given.
    Case(codes=(0, 3), outcome="failed", cause="rank 1 ended with exit code 3 and did not say why"),
    Case(codes=(0, 3), logs=("step 9", "bye"), outcome="failed", cause="rank 1: last line: bye"),
    Case(codes=(0, 0), outcome="failed", cause="ended without a result, and no rank said why"),
]


@pytest.mark.parametrize("case", TOGETHER)
def test_several_ranks(case: Case) -> None:
    status = Status(state="ended", exit_codes=case.codes, kernel_oom=case.kernel_oom)
    assert judged(status, case.logs, case.has_result) == (case.outcome, case.cause)


def test_what_the_scheduler_did_beats_the_logs() -> None:
    timeout = Status(state="ended", exit_codes=(None, None), stopped="timeout", time_limit=9.0)
    cancelled = Status(state="ended", exit_codes=(None, None), stopped="cancelled")
    assert judged(timeout, ["", CLOSED], False) == ("timeout", "stopped at the time limit of 9 s")
    assert judged(cancelled, ["", CLOSED], False) == ("cancelled", "cancelled on request")
    runtime = Status(state="ended", stopped="failed", reason="scheduler.container.runtime=pyxis")
    assert judged(runtime, [""], False) == ("failed", "scheduler.container.runtime=pyxis")
    assert NEXT_STEP["failed"] == "never"


def test_a_run_that_ends_without_a_word_shows_its_last_line() -> None:
    outcome, cause = judged(None, [(TAILS / "no_end.txt").read_text()], False)
    assert outcome == "failed"
    assert cause is not None and cause.startswith(
        "last line: time (ms) | forward-compute: 31888.01"
    )
    assert len(cause) == LONGEST and cause.endswith("...")


def test_every_outcome_of_a_run_has_a_row_here() -> None:
    never_run = {"rejected", "pruned"}
    assert {row[1] for row in ALONE} | {"ok"} == set(OUTCOMES) - never_run


def test_every_outcome_has_one_action() -> None:
    assert set(NEXT_STEP) == set(OUTCOMES)
    assert set(NEXT_STEP.values()) == set(get_args(NextStep))


def test_advice_names_the_key() -> None:
    assert advice("timeout", 15.0) == (
        "time_limit=15 was not enough: a larger time_limit runs it again"
    )
    assert all("retry=[oom]" in advice("oom", limit) for limit in (15.0, None))
    assert all(advice(outcome, 15.0) for outcome in OUTCOMES if outcome != "ok")


def test_a_healthy_log_matches_nothing() -> None:
    healthy = (TAILS / "no_end.txt").read_text()
    assert [p.why for p in PATTERNS if p.search(healthy)] == []


def test_every_pattern_says_who_prints_it() -> None:
    assert all(pattern.why and pattern.outcome in OUTCOMES for pattern in PATTERNS)


def test_tail_reads_whole_lines_from_the_end(tmp_path: Path) -> None:
    path = tmp_path / "rank0.txt"
    assert tail(path) == ""
    path.write_bytes(b"first\nsecond \xff\xf0\nthird")
    assert tail(path) == "first\nsecond \ufffd\ufffd\nthird"
    assert tail(path, size=10) == "third"
    assert tail(path, size=3) == "ird"


def test_every_cause_can_be_shown_in_the_table() -> None:
    causes = [*(cause for _, _, cause in ALONE), *(line for _, line in LINES)]
    records = [
        RunRecord(spec=spec(), outcome="failed", cause=cause, row=row)
        for row, cause in enumerate(causes, 1)
    ]
    text = "".join(table.render(table.frame(records), "table").split())
    assert all("".join(cause.split()) in text for cause in causes)
