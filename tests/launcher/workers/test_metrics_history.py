"""Metrics that a resumed run starts with, put together from those of its attempts."""

import json
from pathlib import Path

import pytest

from launcher.results.run_folder import RunFolder
from launcher.workers import metrics_history


@pytest.mark.parametrize(
    ("step", "attempts", "current", "attempt_of_lines"),
    [
        (2, {1: [1, 2, 3], 2: [3, 4]}, None, "1 1"),  # only the first has them all
        (3, {1: [1, 2, 3], 2: [1, 2, 3, 4]}, None, "2 2 2"),
        (3, {2: [1, 2, 3], 10: [1, 2, 3]}, None, "10 10 10"),
        (2, {1: [1, 2]}, [1, 2, 3], "0 0"),  # not set aside: the newest
        (3, {1: [1], 2: []}, None, "1"),  # the rest is lost
        (0, {1: [1, 2]}, [1], ""),
        (0, {}, None, None),
    ],
)  # fmt: skip
def test_the_metrics_before_a_checkpoint(
    step: int,
    attempts: dict[int, list[int]],
    current: list[int] | None,
    attempt_of_lines: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = RunFolder(tmp_path)
    for number, steps in attempts.items():
        lines(tmp_path / "attempts" / str(number) / "metrics.jsonl", steps, number)
    if current is not None:
        lines(folder.metrics, current, 0)
    metrics_history.restart(folder, 0, step)
    assert folder.metrics.exists() is (attempt_of_lines is not None)
    expected = [int(number) for number in (attempt_of_lines or "").split()]
    assert [line["of"] for line in folder.steps()] == expected
    lost = step - len(expected)
    message = f"WARNING metrics of {lost} of the {step} steps so far are lost\n" if lost else ""
    assert capsys.readouterr().out == message


def lines(path: Path, steps: list[int], attempt: int) -> None:
    """Write the metrics of an attempt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps({'step': n, 'of': attempt})}\n" for n in steps))
