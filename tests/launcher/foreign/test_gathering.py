"""Folders and files that are one run, and those that are several.

Modules: launcher.foreign.gathering, launcher.foreign.logs.parts,
launcher.foreign.logs.programs.program.
"""

from pathlib import Path

import pytest

from launcher import foreign
from launcher.foreign import gathering
from launcher.foreign.logs.parts import is_one_run, read_part
from launcher.foreign.logs.read import KINDS
from launcher.foreign.source import SourceRun
from tests.launcher.foreign.made import source

ARGUMENTS = (
    "------------------------ arguments ------------------------\n"
    "  tensor_model_parallel_size ...... {tp}\n  world_size ...... 8\n  seq_length ...... 128\n"
    "  global_batch_size ...... 16\n  train_iters ...... {total}\n  rank ...... {rank}\n"
    "-------------------- end of arguments ---------------------\n"
)


def arguments(tp: int = 2, total: int = 3, rank: int = 0) -> str:
    return ARGUMENTS.format(tp=tp, total=total, rank=rank)


def steps(*numbers: int, total: int = 3, loss: float = 3.0, ms: float = 100.0) -> str:
    return "".join(
        f" iteration {number:8d}/{total:8d} | elapsed time per iteration (ms): {ms} | lm loss: {loss / number:E} |"
        " number of skipped iterations:   0 | number of nan iterations:   0 |\n"
        for number in numbers
    )


def speeds(*tflops: float) -> str:
    speed = "Step Time : 0.10s GPU utilization: {}MODEL_TFLOP/s/GPU\n"
    return "".join(speed.format(value) for value in tflops)


OOM = (
    "[rank3]: Traceback (most recent call last):\n"
    "[rank3]: torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
)
PEER = "[rank0]: RuntimeError: [../gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.1]\n"
OWN = "[rank2]: ValueError: Size mismatch between a and b\n"
TITAN = (
    "[rank{0}]:[titan] 2025-11-25 19:44:58,838 - root - INFO - Trainer is initialized with local batch size 8,"
    " global batch size 64, gradient accumulation steps 1, sequence length 2048, total steps 2 (warmup 2)\n"
    "[rank{0}]:[titan] 2025-11-25 19:45:01,441 - root - INFO - step:  1  loss:  8.0  memory:  1.{0}GiB(1%)  tps: 5,75{0}\n"
    "[rank{0}]:[titan] 2025-11-25 19:45:02,441 - root - INFO - step:  2  loss:  7.0  memory:  1.{0}GiB(1%)  tps: 5,75{0}\n"
)


def put(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def one(folder: Path) -> SourceRun:
    (run,) = foreign.read(source(folder))
    return run


ONE_RUN: list[tuple[dict[str, str], str, str | None]] = [
    ({"rank_0.log": arguments(), "rank_7.log": steps(1, 2, 3)}, "ok", None),
    ({"0/rank_0/stdout.log": arguments(), "0/rank_7/stdout.log": steps(1, 2), "0/rank_3/stderr.log": OOM}, "oom",
     "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
    ({"log_node0.txt": arguments() + steps(1, 2) + PEER, "log_node1.txt": OWN}, "failed",
     "ValueError: Size mismatch between a and b"),
    ({"log_node0.txt": OWN, "log_node1.txt": arguments() + steps(1, 2) + PEER}, "failed",
     "ValueError: Size mismatch between a and b"),
    ({f"{rank}.log": TITAN.format(rank) for rank in range(4)}, "ok", None),
    ({"7.out": arguments() + steps(1, 2, 3), "7.err": "+ NNODES=2\nsome warning\n"}, "ok", None),
    ({"out.0": arguments(), "out.1": steps(1, 2, 3), "out.2": steps(1, 2, 3)}, "ok", None),
    ({"out.0": arguments() + steps(1, 2), "out.1": steps(1, 2, 3)}, "ok", None),
    ({"only.log": arguments() + steps(1, 2, 3)}, "ok", None),
    ({"run.log": arguments() + steps(1, 2), "README.txt": OOM, ".hidden.log": OOM, "empty.log": ""}, "failed",
     "the log ends at iteration 2 of 3 without saying why"),
    ({"deepspeed.err": "[INFO] [launch.py:1:main] Process 7 exits successfully.\n", "7.out": arguments() + steps(1, 2, 3)},
     "ok", None),
]  # fmt: skip


@pytest.mark.parametrize(("files", "outcome", "cause"), ONE_RUN, ids=range(len(ONE_RUN)))
def test_a_folder_that_is_one_run(
    tmp_path: Path, files: dict[str, str], outcome: str, cause: str | None
) -> None:
    (run,) = gathering.in_folder(put(tmp_path / "run_7", files), KINDS)
    assert run.path == tmp_path / "run_7"
    imported = one(run.path).imported
    assert (imported.outcome, imported.cause) == (outcome, cause)
    assert (imported.source, imported.figures.steps is not None) == ("run_7", True)


def test_ranks_that_print_the_same_steps_count_once(tmp_path: Path) -> None:
    run = one(put(tmp_path, {f"{rank}.log": TITAN.format(rank) for rank in range(4)}))
    assert [line["step"] for line in run.lines] == [1, 2]
    assert run.imported.figures.steps == 2 and run.imported.remark is None


def test_arguments_of_one_rank_and_steps_of_another(tmp_path: Path) -> None:
    run = one(put(tmp_path, {"0.log": arguments(), "7.log": steps(1, 2, 3)}))
    assert (run.imported.known.tp, run.imported.known.gpus) == (2, 8)
    assert run.lines[-1]["tokens_per_s"] == 16 * 128 / 0.1
    assert run.total == 3


def test_speeds_of_rank_0_and_steps_of_the_last(tmp_path: Path) -> None:
    files = {
        "0.log": arguments() + speeds(500.5, 510.5, 520.5),
        "7.log": steps(10, 20, 30, total=30),
    }
    run = one(put(tmp_path, files))
    assert [line["stated_tflops_per_gpu"] for line in run.lines] == [500.5, 510.5, 520.5]
    assert run.imported.known.backend == "megatron-bridge"


def test_speeds_of_other_steps_are_not_taken(tmp_path: Path) -> None:
    files = {"0.log": arguments() + speeds(500.5), "7.log": steps(1, 2, ms=900.0)}
    assert one(put(tmp_path, files)).lines[0]["stated_tflops_per_gpu"] is None


SEVERAL: list[tuple[dict[str, str], list[str]]] = [
    # other losses of the same step
    ({"a.log": arguments() + steps(1, 2), "b.log": steps(1, 2, loss=4.0)}, ["a.log", "b.log"]),
    # other arguments
    ({"a.log": arguments() + steps(1, 2), "b.log": arguments(tp=4) + steps(1, 2)}, ["a.log", "b.log"]),
    # steps of which they share none
    ({"a.log": arguments() + steps(1, 2), "b.log": steps(3)}, ["a.log", "b.log"]),
    # two starts, one of which came to no step
    ({"a.log": arguments() + steps(1, 2), "b.log": arguments() + OOM}, ["a.log", "b.log"]),
    # two jobs
    ({"a.log": "SLURM_JOB_ID=1\n" + steps(1), "b.log": "SLURM_JOB_ID=2\n" + steps(1)}, ["a.log", "b.log"]),
    # two programs
    ({"a.log": steps(1), "b.log": TITAN.format(0)}, ["a.log", "b.log"]),
    # a folder for each, of several ranks
    ({"x/0.log": arguments(), "x/7.log": steps(1, 2), "y/0.log": arguments(tp=4), "y/7.log": steps(1, 2, loss=9.0)},
     ["x", "y"]),
    # two that did no step, of other sizes
    ({"a.log": arguments() + OOM, "b.log": arguments(tp=4) + OOM}, ["a.log", "b.log"]),
    # what differs in its suffix only belongs together
    ({"1.out": arguments() + steps(1, 2), "1.err": OOM, "2.out": arguments(tp=4) + steps(1, 2, loss=9.0), "2.err": "x\n"},
     ["1.out", "2.out"]),
    ({"x/1.log": arguments() + steps(1), "2.log": arguments(tp=4) + steps(1, loss=9.0), "notes.txt": "hello\n"},
     ["x", "2.log"]),
]  # fmt: skip


@pytest.mark.parametrize(("files", "names"), SEVERAL, ids=range(len(SEVERAL)))
def test_a_folder_of_several_runs(tmp_path: Path, files: dict[str, str], names: list[str]) -> None:
    runs = gathering.in_folder(put(tmp_path, files), KINDS)
    assert [str(run.path.relative_to(tmp_path)) for run in runs] == names


def test_an_error_of_another_file_with_the_same_stem(tmp_path: Path) -> None:
    first, second = gathering.in_folder(put(tmp_path, SEVERAL[8][0]), KINDS)
    assert [path.name for path in first.files] == ["1.out", "1.err"]
    assert [path.name for path in second.files] == ["2.out", "2.err"]


def test_a_folder_without_logs(tmp_path: Path) -> None:
    assert gathering.in_folder(put(tmp_path, {"notes.txt": "hello\n", "x.json": "{}"}), KINDS) == []


@pytest.mark.parametrize(
    ("files", "together"),
    [
        ({"a.log": arguments(), "b.log": steps(1, 2, 3)}, True),
        ({"a.log": arguments(total=9), "b.log": steps(1, 2, 3)}, False),
        ({"a.log": arguments(), "b.log": arguments() + steps(1, 2, 3)}, False),
        ({"a.log": steps(1, 2), "b.log": steps(1, 2)}, False),
        ({"a.log": arguments(total=9) + "SLURM_JOB_ID=1\n", "b.log": steps(1) + "SLURM_JOB_ID=1\n"}, True),
        ({"a.log": arguments() + "SLURM_JOB_ID=1\n", "b.log": steps(1) + "SLURM_JOB_ID=2\n"}, False),
        ({"a.log": arguments(), "b.log": steps(1), "c.log": arguments(tp=4)}, False),
        ({"x/a.log": arguments(), "y/b.log": steps(1, 2, 3)}, False),
    ],
)  # fmt: skip
def test_files_that_were_named_one_by_one(
    tmp_path: Path, files: dict[str, str], together: bool
) -> None:
    put(tmp_path, files)
    parts = [read_part(tmp_path / name, KINDS) for name in files]
    runs = gathering.complementary(parts)
    assert (len(runs) == 1) is together
    assert sum(len(run.parts) for run in runs) == len(files)


def test_files_of_which_none_is_known_are_no_contradiction(tmp_path: Path) -> None:
    put(tmp_path, {"a.log": "hello\n", "b.log": "bye\n"})
    assert is_one_run([read_part(tmp_path / name, KINDS) for name in ("a.log", "b.log")])


def test_bars_on_stderr_and_dicts_on_stdout(tmp_path: Path) -> None:
    bars = "".join(f" 33%|###   | {n}/4 [00:{10 * n}<00:20, 10.00s/it]\n" for n in (1, 2, 3, 4))
    files = {
        "rank_0/stderr.log": f"***** Running training *****\n  Total optimization steps = 4\n{bars}",
        "rank_0/stdout.log": "{'loss': 7.0, 'learning_rate': 0.5}\n{'loss': 6.0, 'learning_rate': 0.5}\n"
        "{'train_runtime': 40.0, 'epoch': 1.0}\n",
    }
    run = one(put(tmp_path, files))
    assert [(line["step"], line["loss"], line["step_ms"]) for line in run.lines] == [
        (1, None, None),
        (2, 7.0, 10000.0),
        (3, None, 10000.0),
        (4, 6.0, 10000.0),
    ]
    assert run.imported.outcome == "ok"
