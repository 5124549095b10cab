"""Ends of logs: what is printed after the last step, and what became of the run."""

import re
from pathlib import Path

import pytest

from tests.launcher.foreign.made import read


def line(step: int, loss: str = "3.0E+00") -> str:
    return (
        f" iteration {step:8d}/     100 | elapsed time per iteration (ms): 5.0 | lm loss: {loss} |"
        " number of nan iterations:   0 |\n"
    )


OOM = (
    "Traceback (most recent call last):\n"
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
)
RUNNING = "***** Running training *****\n"
ENDS = [
    ("", "failed", "the log ends at iteration 7 of 100 without saying why"),
    (line(100), "ok", None),
    (line(100) + "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-01-01T10:00:00 ***\n", "ok", None),
    (f"{line(90)}[after training is done] datetime: 2024-01-01 10:00:00 \n", "ok", None),
    ("exiting program at iteration 7\n", "ok", None),
    ("exiting program after 340.1 minutes\n", "timeout", "exiting program after 340.1 minutes"),
    (
        "exiting program after receiving SIGTERM.\n", "preempted",
        "exiting program after receiving SIGTERM.",
    ),
    (OOM, "oom", "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
    (OOM + line(8), "oom", "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
    (
        "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-01-01T10:00:00 ***\n", "cancelled",
        "JOB 5 ON n1 CANCELLED AT 2024-01-01T10:00:00",
    ),
    (
        "slurmstepd: error: *** STEP 5.0 ON n1 CANCELLED AT 2024-01-01T10:00:00 DUE TO TIME LIMIT ***\n",
        "timeout", "STEP 5.0 ON n1 CANCELLED AT 2024-01-01T10:00:00 DUE TO TIME LIMIT",
    ),
    (
        "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-01-01T10:00:00 DUE TO PREEMPTION ***\n",
        "preempted", "JOB 5 ON n1 CANCELLED AT 2024-01-01T10:00:00 DUE TO PREEMPTION",
    ),
    (line(8, "nan") + line(9, "nan"), "diverged", "the loss is nan from step 8 on"),
    (line(8, "nan") + line(9), "failed", "the log ends at iteration 9 of 100 without saying why"),
    (line(8, "nan") + line(100, "nan"), "diverged", "the loss is nan from step 8 on"),
    (
        "ValueError: bad thing\nKilling subprocess 12\nMain process received SIGTERM, exiting\n",
        "failed", "ValueError: bad thing",
    ),
]  # fmt: skip


COMMAND = "['python', 'train.py'" + ", '--an-argument', '4096'" * 200 + "]"
ENDS += [
    # How a process died, where nothing says why.
    (f"[ERROR] [launch.py:324:sigkill_handler] {COMMAND} exits with return code = -9\n", "node",
     "exits with return code = -9 (SIGKILL)"),
    (f"[ERROR] [launch.py:324:sigkill_handler] {COMMAND} exits with return code = 1\n", "failed",
     "exits with return code = 1"),
    ("srun: error: n1: task 3: Bus error (core dumped)\n", "failed",
     "srun: error: n1: task 3: Bus error (core dumped)"),
    ("srun: error: n1: tasks 0-7: Terminated\n", "cancelled", "srun: error: n1: tasks 0-7: Terminated"),
    # What Megatron says of its own end, and a loss that is none, are more than an exit code.
    ("exiting program after 340.1 minutes\nsrun: error: n1: task 0: Exited with exit code 1\n", "timeout",
     "exiting program after 340.1 minutes"),
    (line(8, "nan") + "srun: error: n1: task 0: Exited with exit code 1\n", "diverged",
     "the loss is nan from step 8 on"),
    # What ranks say of each other once they leave as they were asked to.
    ("exiting program at iteration 7\nn1:5:9 [0] NCCL WARN socketProgress: Connection closed by remote peer"
     " n2<9>\n", "ok", None),
    # Of an earlier attempt; this one was cut off.
    ("srun: error: n1: task 0: Exited with exit code 1\n" + line(8), "failed",
     "the log ends at iteration 8 of 100 without saying why"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "outcome", "cause"), ENDS, ids=range(len(ENDS)))
def test_ends(tmp_path: Path, text: str, outcome: str, cause: str | None) -> None:
    imported = read(tmp_path, line(6) + line(7) + text).imported
    assert (imported.outcome, imported.cause) == (outcome, cause)


WARNED = "[0] transport/net_ib.cc:117 NCCL WARN Call to ibv_create_qp failed\n"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        # What a start prints, and what was long before: neither has ended a log that is cut off.
        (WARNED + line(6) + line(7), "failed"),
        ("nvidia-smi: command not found\ncp: error writing: No space left on device\n" + line(7), "failed"),
        (line(1) + WARNED + "".join(line(step) for step in range(2, 120)), "failed"),
        # Output of several streams is not in order.
        (line(6) + WARNED + line(7), "nccl"),
        (OOM + line(6) + line(7), "oom"),
        ("srun: error: n1: task 3: Out Of Memory\n" + line(6) + line(7), "oom"),
        # A launcher that starts again and prints no arguments
        (line(1) + line(2) + OOM + "".join(line(step) for step in range(1, 120)), "failed"),
    ],
)  # fmt: skip
def test_what_was_printed_before_the_last_steps(tmp_path: Path, text: str, outcome: str) -> None:
    imported = read(tmp_path, text.replace("/     100", "/     900")).imported
    assert imported.outcome == outcome, imported
    assert outcome != "failed" or "without saying why" in (imported.cause or "")


WATCHDOG = "[rank5]:[E602 11:17:52.1 ProcessGroupNCCL.cpp:632] [Rank 5] Watchdog caught collective operation timeout: ran"
DICT = "{'loss': 1.5, 'epoch': 0.1}"
DRAWN = "  2%|#  | {0}/50 [09:4{0}<7:56:45, 583.78s/it]"
NEMO_BAR = "Epoch 0:   1%| | 3/500 [00:07<04:40, reduced_train_loss=10.90]"


@pytest.mark.parametrize(
    ("text", "outcome", "cause"),
    [
        (f"{RUNNING}{DRAWN.format(1)}{DRAWN.format(2)}{WATCHDOG}\n", "nccl", "Watchdog caught"),
        (f"{RUNNING}{DRAWN.format(2)}slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-01-01T10:00:00 ***\n",
         "cancelled", "JOB 5 ON n1"),
        (f"{RUNNING}{DRAWN.format(2)}Killed\n", "node", "Killed"),
        (f"{RUNNING}{DRAWN.format(2)}^CTraceback (most recent call last):\nKeyboardInterrupt\n", "cancelled", "Keyb"),
        (f"{RUNNING}{DRAWN.format(2)}[rank1]: RuntimeError: of a bar\n", "failed", "^RuntimeError: of a bar$"),
        (f"{RUNNING}{DICT}{WATCHDOG}\n", "nccl", "Watchdog caught"),
        (f"{RUNNING}{DICT}\nMap:  2%|#  | 9/50 [09:49<7:56:45, 5.8 examples/s]RuntimeError: of a map\n", "failed",
         "^RuntimeError: of a map$"),
        (f"{NEMO_BAR}{WATCHDOG}\n", "nccl", "Watchdog caught"),
        (f"{line(7).rstrip()}{WATCHDOG}\n", "nccl", "Watchdog caught"),
        # What another stream said before the last step ended nothing.
        (f"{RUNNING}{DRAWN.format(2)}[W socket.cpp:1] Connection refused\n{DICT}\n{{'train_runtime': 3.0}}\n", "ok", None),
    ],
)  # fmt: skip
def test_what_stands_behind_a_step_on_its_line(
    tmp_path: Path, text: str, outcome: str, cause: str | None
) -> None:
    imported = read(tmp_path, text).imported
    assert imported.outcome == outcome, imported
    assert imported.cause is cause or re.search(cause or "", imported.cause or ""), imported


START = (
    "------------------------ arguments ------------------------\n  train_iters ..... 100\n"
    "-------------------- end of arguments ---------------------\n"
)


def megatron(step: int, fields: str, skipped: int = 0, nan: int = 0) -> str:
    return (
        f" iteration {step:8d}/      20 | elapsed time per iteration (ms): 5.0 | {fields}"
        f" number of skipped iterations: {skipped:3d} | number of nan iterations: {nan:3d} |\n"
    )


LOSS, NORM = "lm loss: 3.0E+00 |", "grad norm: 1.5 |"
DONE = "[after training is done] datetime: 2024-01-01 10:00:00\n"
TRAINER = "***** Running training *****\n  Total optimization steps = 4\n"
TRAINED = "{'train_runtime': 25.1, 'train_loss': 1.0, 'epoch': 1.0}\n"
BAR = "Epoch 0: :  {}%|  | {}/4 [00:0{}<00:01, reduced_train_loss={}, global_step=0.000]\n"
NEMO_DONE = "`Trainer.fit` stopped: `max_steps=4` reached.\n"
TITAN = "step: {:2d}  loss: {}  grad_norm: {}  memory: 1.2GiB(1%)  tps: 57\n"
TITAN_DONE = "Training completed\n"
DIVERGENCES = {
    "loss left out, norm nan": (
        [(1, LOSS + NORM), (2, "grad norm: nan |"), (20, "grad norm: nan |")], DONE, 2),
    "loss left out, no norm logged": ([(1, LOSS), (2, ""), (20, "")], DONE, 2),
    "loss left out, norm inf": ([(1, LOSS + NORM), (20, "grad norm: inf |")], "", 20),
    "nan iterations are counted": ([(1, LOSS), (2, "", 1, 1), (20, "", 1, 1)], DONE, 2),
    "several steps a line": ([(10, LOSS), (20, "", 0, 10)], DONE, 20),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "end", "since"), DIVERGENCES.values(), ids=DIVERGENCES)
def test_megatron_leaves_out_a_loss_that_is_not_finite(
    tmp_path: Path, lines: list[tuple[int, str]], end: str, since: int
) -> None:
    imported = read(tmp_path, "".join(megatron(*fields) for fields in lines) + end).imported
    assert (imported.outcome, imported.cause) == (
        "diverged",
        f"the loss is nan from step {since} on",
    )
    assert imported.figures.loss_last == 3.0


ENDED_WELL = {
    "the search for a loss scale": ([(1, "", 1), (2, "", 1), (3, LOSS), (20, LOSS)], DONE),
    "skipped to the end": ([(1, LOSS), (2, LOSS), (19, "", 1), (20, "", 1)], DONE),
    "a log that never has a loss": ([(1, NORM), (2, NORM), (20, NORM)], DONE),
    "a nan that passes": ([(1, LOSS), (2, "", 1, 1), (3, "grad norm: nan |"), (20, LOSS)], DONE),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "end"), ENDED_WELL.values(), ids=ENDED_WELL)
def test_a_line_without_a_loss_is_not_always_a_divergence(
    tmp_path: Path, lines: list[tuple[int, str]], end: str
) -> None:
    imported = read(tmp_path, "".join(megatron(*fields) for fields in lines) + end).imported
    assert (imported.outcome, imported.cause) == ("ok", None)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        # Trainer: a loss that its filter has replaced by 0, though the norm shows it.
        (
            TRAINER + "{'loss': 2.5, 'grad_norm': 1.4, 'epoch': 0.5}\n"
            "{'loss': 0.0, 'grad_norm': nan, 'epoch': 0.8}\n"
            "{'loss': 0.0, 'grad_norm': nan, 'epoch': 1.0}\n" + TRAINED,
            "diverged",
        ),
        (TRAINER + "{'loss': 2.5, 'grad_norm': 'nan', 'epoch': 0.5}\n" + TRAINED, "ok"),
        (TRAINER + "{'loss': 0.0, 'grad_norm': 0.01, 'epoch': 1.0}\n" + TRAINED, "ok"),
        (BAR.format(25, 1, 1, "9.1") + BAR.format(99, 4, 4, "nan.0") + NEMO_DONE, "diverged"),
        (BAR.format(25, 1, 1, "nan.0") + BAR.format(99, 4, 4, "9.10") + NEMO_DONE, "ok"),
        (TITAN.format(1, 8.0, 1.4) + TITAN.format(2, "nan", "nan") + TITAN_DONE, "diverged"),
        (TITAN.format(1, 8.0, 1.4) + TITAN.format(2, "inf", "inf") + TITAN_DONE, "diverged"),
        (TITAN.format(1, 8.0, "inf") + TITAN.format(2, 7.0, 1.0) + TITAN_DONE, "ok"),
        ("[INFO] [logging.py:1:log_dist] [Rank 0] DeepSpeed info: version=0.19\n"
         "steps: 10 loss: 2.1 iter time (s): 0.5 samples/sec: 16\n"
         "steps: 20 loss: nan iter time (s): 0.5 samples/sec: 16\nProcess 5 exits successfully.\n",
         "diverged"),
    ],
)  # fmt: skip
def test_divergences_of_other_programs(tmp_path: Path, text: str, outcome: str) -> None:
    assert read(tmp_path, text).imported.outcome == outcome


def test_it_fails_before_the_first_step(tmp_path: Path) -> None:
    run = read(tmp_path, START + OOM)
    assert (run.imported.format, run.imported.outcome, run.lines) == ("megatron", "oom", [])


def test_what_ended_an_earlier_start_did_not_end_this_one(tmp_path: Path) -> None:
    imported = read(tmp_path, START + line(7) + OOM + START + line(8) + line(9)).imported
    assert imported.cause == "the log ends at iteration 9 of 100 without saying why"


def test_an_end_far_behind_the_last_step(tmp_path: Path) -> None:
    noise = "".join(f"Killing subprocess {number}\n" for number in range(9000))
    imported = read(tmp_path, line(7) + OOM + noise).imported
    assert imported.outcome == "oom"
    stop = "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-01-01T10:00:00 ***\n"
    assert read(tmp_path, line(7) + noise + stop + noise[:2000]).imported.outcome == "cancelled"


def test_times_of_a_beginning_alone_are_none_of_the_run(tmp_path: Path) -> None:
    slow = line(7).replace("(ms): 5.0", "(ms): 60000.0")
    text = "[2024-01-01 10:00:00,000] a\n[2024-01-01 10:00:02,000] b\n" + slow
    assert read(tmp_path, text).imported.seconds is None
    ended = read(tmp_path, text + "[2024-01-01 10:02:00,000] c\n").imported
    assert (ended.seconds, ended.ended) == (120, 1704103320)
