"""Numbers that two ranks print into each other, that have no end, or that are none."""

import json
from pathlib import Path

import pytest

from launcher import foreign
from launcher.foreign.logs.lines import number, whole_number
from tests.launcher.foreign.made import read, source

STEP = (
    " iteration {0}/ 4 | consumed samples: {0}8 | elapsed time per iteration (ms): {1} |"
    " global batch size: {2} | lm loss: {3} | grad norm: {4} | number of skipped iterations: {5} |"
)
FINE = ("100.0", "8", "2.5", "1.0", "0")


@pytest.mark.parametrize(
    ("text", "value"),
    [("4.04", 4.04), ("1.234.", 1.234), ("4.04.0", None), ("1.2.3.4", None), ("5,756", 5756),
     ("9" * 5000, float("inf")), ("", None)],
)  # fmt: skip
def test_number(text: str, value: float | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["nan", "inf", "1e400", "9" * 5000, "None", "1e15"])
def test_no_count(text: str) -> None:
    assert whole_number(text) is None


@pytest.mark.parametrize("odd", ["nan", "inf", "1e400", "4.04.0", "9" * 5000, "-1", "0"])
@pytest.mark.parametrize("field", range(5))
def test_one_odd_number_of_megatron(tmp_path: Path, odd: str, field: int) -> None:
    values = [*FINE[:field], odd, *FINE[field + 1 :]]
    text = "\n".join(
        [
            f"--- arguments ---\n  seq_length .... 16\n  tensor_model_parallel_size ... {odd}",
            "  num_layers ... " + odd,
            "----- end of arguments -----".rjust(40),
            *(STEP.format(n, *FINE) for n in (1, 2, 3)),
            STEP.format(4, *values),
            f"[Rank 0] (after 4 iterations) memory (MB) | max reserved: {odd}",
        ]
    )
    run = read(tmp_path, text)
    assert run.imported.figures.steps == 4
    json.dumps(run.lines, allow_nan=False)


@pytest.mark.parametrize("odd", ["4.04.0", "1.234.", "nan", "inf", "9" * 5000])
@pytest.mark.parametrize(
    "lines",
    [
        "steps: 10 loss: 2.0 iter time (s): {} samples/sec: {}\n",
        "step=10, skipped=0, lr=[{}]\n[config.py:1:print] world_size ... {}\n",
        "global_step=10, RunningAvgSamplesPerSec={}, CurrSamplesPerSec={}, Mem\n",
        "step:  10  loss:  2.0  memory:  {}GiB(1%)  tps: {}  tflops: {}\n",
        "Training epoch 0, iteration 9/19 | global_step: {} | reduced_train_loss: {}\n",
        " 10%|# | 10/100 [00:10<01:00, {}s/it]\n{{'loss': 2.0, 'grad_norm': {}}}\n",
    ],
)  # fmt: skip
def test_one_odd_number_of_others(tmp_path: Path, lines: str, odd: str) -> None:
    run = read(tmp_path, lines.format(*[odd] * lines.count("{}")))
    json.dumps(run.lines, allow_nan=False)


def test_a_pipeline_step_that_ends_its_sentence(tmp_path: Path) -> None:
    run = read(tmp_path, "steps: 10 loss: 2.0 iter time (s): 1.234.\n")
    assert run.lines[0]["step_ms"] == 1234


@pytest.mark.parametrize("odd", ["1e400", "9" * 5000, "nan", "inf", "-1"])
def test_one_odd_number_of_a_sheet(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(f"gpus,tp,global_batch,step_s,tokens/s/gpu\n{odd},{odd},{odd},{odd},{odd}\n")
    (run,) = foreign.read(source(path))
    assert run.imported.known.tp is None
