"""Lines of metrics.jsonl: whole ones are read, half of one is no damage, others are named."""

import json
import math
from pathlib import Path

import pytest

from launcher.errors import ReadError
from launcher.results import metrics
from launcher.results.metrics import Brief, Line


@pytest.mark.parametrize(
    ("text", "steps", "damage"),
    [
        (None, [], None),
        ("", [], None),
        ('{"step": 1}\n{"step": 2}\n', [1, 2], None),
        ('{"step": 1, "of a later version": []}\n', [1], None),
        ('{"step": 1}\n{"step": 2', [1], None),  # a kill
        ('{"step": 1}', [], None),
        ('{"step": 1}\nnot json\n', [1], "metrics.jsonl:2 cannot be read"),
        ("{}\n" + '{"step": 2}\n', [2], "metrics.jsonl:1 cannot be read"),
        ('{"step": 1, "loss": "a"}\n', [], "metrics.jsonl:1 cannot be read"),
        ('\n{"step": 2}\n[]\n', [2], "metrics.jsonl:1 and 1 more line cannot be read"),
        ("a\nb\nc\n", [], "metrics.jsonl:1 and 2 more lines cannot be read"),
    ],
)
@pytest.mark.parametrize("kind", [Brief, Line])
def test_lines(
    kind: type[Brief], text: str | None, steps: list[int], damage: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.jsonl"
    if text is not None:
        path.write_text(text)
    contents = metrics.read(path, kind)
    assert ([line.step for line in contents.lines], contents.damage) == (steps, damage)


def test_what_is_not_finite_is_not_what_nobody_knows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    losses = [2.5, math.nan, math.inf, -math.inf, None]
    lines = [{"step": 1, "loss": metrics.encoded(loss)} for loss in losses]
    path.write_text("".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines))
    assert [line["loss"] for line in lines] == [2.5, "nan", "inf", "-inf", None]
    assert [repr(line.loss) for line in metrics.read(path, Brief).lines] == [*map(repr, losses)]
    assert [repr(metrics.number(line["loss"])) for line in lines] == [*map(repr, losses)]
    assert metrics.number("abc") is metrics.number([]) is None


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"^metrics\.jsonl: Is a directory$"):
        (tmp_path / "metrics.jsonl").mkdir()
        metrics.read(tmp_path / "metrics.jsonl", Line)
