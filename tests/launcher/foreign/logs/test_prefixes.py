"""Prefixes of lines: what launchers, clusters and containers put before them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from launcher.foreign.logs.lines import clean
from launcher.foreign.logs.prefixes import split
from tests.launcher.foreign.made import read

STEP = (
    " iteration {0:8d}/       9 | elapsed time per iteration (ms): 5.0 | lm loss: {1}.0E+00 |"
    " number of skipped iterations:   0 | number of nan iterations:   0 |"
)
TRACEBACK = (
    "Traceback (most recent call last):",
    '  File "/work/train.py", line 3, in main',
    "    raise ValueError(message)",
    "    ^^^^^^^^^^^^^^^^^^^^^^^^^",
    "ValueError: Size mismatch between torch.Size([2]) and torch.Size([3])",
)
BEFORE = [
    "[default7]:",
    "[rank3]: ",
    "[default7]:[rank7]: ",
    "3: ",
    " 3: ",
    "0: [rank3]: ",
    "[1,3]<stderr>:",
    "[1,3]<stderr>: ",
    "Tue Jun 30 02:00:01 2025[1,3]<stderr>:",
    "[1,mpirank:3,algo-1]<stderr>:",
    "[prterun-node-77@1,3]<stderr>: ",
    "[3]<stderr>:",
    "[3] ",
    "worker-0: ",
    "10.0.0.7: ",
    "gpu01.cluster.org: ",
    "localhost: [rank3]: ",
    "head: [rank3]: ",
    "worker-1: [worker-1:3]: ",
    "(RayTrainWorker pid=4321, ip=10.0.0.2) ",
    "(main pid=12) ",
    "(ActorWorker(actor_train-1) pid=18175, ip=10.0.0.2) ",
    "[20251121 12:10:29][rank-31/32][INFO ] [--------trainer.py:2488] : ",
    "[20251121 12:10:29][rank-0/8][ERROR] [train.py:88] : ",
    "2025-06-30T02:00:01.123Z trainer/0 [default7]:",
    "2026-04-03T12:16:00.5223655Z 4-task-1-0/0 [default7]:[rank7]: ",
    "[2025-06-30T02:00:01+08:00] pretraining/0 ",
    "2025-06-30T02:00:01.123456789Z ",
    "2025-06-30T02:00:01.123456789+02:00 stderr F ",
    "[pod/trainer-0/main] ",
    "[pod/trainer-0/main] 2025-06-30T02:00:01.123456789Z ",
    "trainer-1  | ",
    "trainer_1  | 2025-06-30T02:00:01Z ",
    "2025-06-30T02:00:01.123456Z 01E ",
    '2025-06-30T02:00:01Z {app="train", pod="x-0"} ',
    "Jun 30 02:00:01 gpu-7 torchrun[4321]: ",
    "Jun  3 02:00:01 ",
    "2025-06-30T02:00:01.616-07:00 | [0]:",
    "  | 2025-06-30T02:00:01.616-07:00 | ",
    "2025-06-30 02:00:01 ",
    "\x1b[36m(TrainWorker pid=12)\x1b[0m ",
    "\x1b[34mtrainer/0\x1b[0m ",
    "\x1b[34mtrainer/0\x1b[0m 2025-06-30T02:00:01Z ",
]


@pytest.mark.parametrize("before", BEFORE)
def test_a_traceback_behind_a_prefix_gives_its_exception(tmp_path: Path, before: str) -> None:
    lines = [STEP.format(1, 3), STEP.format(2, 2), *TRACEBACK]
    run = read(tmp_path, "".join(f"{before}{line}\n" for line in lines))
    assert [line["loss"] for line in run.lines] == [3.0, 2.0]
    assert (run.imported.outcome, run.imported.cause) == ("failed", TRACEBACK[-1])


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("line", TRACEBACK)
def test_the_indentation_is_kept(before: str, line: str) -> None:
    assert clean(f"{before}{line}") == line


@pytest.mark.parametrize(
    "line",
    [
        "ValueError: Size mismatch between a and b",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        "srun: error: node-3: task 12: Out Of Memory",
        "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-01-01T10:00:00 ***",
        "bf16: True", "fp16: true and more", "step10: loss 2.0 lr 1", "node1: 5",
        "[E704 13:48:58.260494728 ProcessGroupNCCL.cpp:1746] [PG ID 0] Rank 2",
        "  1%|   | 1/1752 [00:03<1:22:01,  2.83s/it]",
        "step 10 | epoch 0 | loss 2.1", "[0] NVIDIA A100-SXM4-40GB | 30 C",
        "node-3:123:456 [0] NCCL INFO Bootstrap", "    tensor_model_parallel_size: 2",
        " [2025-06-30 02:00:01] iteration 1/ 10 |", '{"log": 3}', '{"log":"cut off',
        "layers.0.mlp: Linear of 3", "[batch=10/1000]:", "Error 802: system not yet initialized", "",
    ],
)  # fmt: skip
def test_what_is_no_prefix_stays(line: str) -> None:
    assert clean(line) == line


def test_a_record_of_docker() -> None:
    text = '{"log":"  File \\"x\\"\\n","stream":"stdout","time":"2025-06-30T02:00:01.1Z"}'
    assert split(text) == ('  File "x"', "2025-06-30T02:00:01.1Z ", None)


@pytest.mark.parametrize(
    ("before", "host"),
    [
        ("worker-0: ", "worker-0"), ("10.0.0.7: [rank3]: ", "10.0.0.7"),
        ("Jun 30 02:00:01 gpu-7 torchrun[4321]: ", "gpu-7"), ("[worker-1:3]: ", "worker-1"),
        ("[default7]:", None),
    ],
)  # fmt: skip
def test_hosts(before: str, host: str | None) -> None:
    assert split(f"{before}any message").host == host


@pytest.mark.parametrize(
    "before",
    ["2025-06-30T02:00:0{}.123456789Z ", "Mon Jun 30 02:00:0{} 2025[1,3]<stdout>:",
     "2025-06-30T02:00:0{}.1Z stdout F ", "[2025-06-30T02:00:0{}+08:00] trainer/0 "],
)  # fmt: skip
def test_times_of_prefixes_are_kept(tmp_path: Path, before: str) -> None:
    lines = [f"{before.format(1 + 2 * n)}{STEP.format(n, 3)}\n" for n in range(1, 4)]
    imported = read(tmp_path, "".join(lines)).imported
    assert imported.seconds == 4
    assert imported.ended == datetime(2025, 6, 30, 2, 0, 7, tzinfo=UTC).timestamp()


def test_a_prefix_has_the_clock_where_the_line_has_another(tmp_path: Path) -> None:
    own = " [2024-01-01 00:00:00] iteration"
    step = STEP.replace(" iteration {0:8d}", f"{own} {{0:8d}}", 1)
    before = "2025-06-30T02:00:0{}Z trainer/0 [default7]:"
    text = "".join(f"{before.format(n)}{step.format(n, 3)}\n" for n in range(1, 4))
    assert read(tmp_path, text).imported.seconds == 2


def test_hosts_of_prefixes_are_those_of_the_run(tmp_path: Path) -> None:
    text = "".join(f"worker-{n % 2}: {STEP.format(n, 3)}\n" for n in range(1, 7))
    text += "conv1: a layer, and no host\n"
    assert read(tmp_path, text).imported.hosts == ("worker-0", "worker-1")
