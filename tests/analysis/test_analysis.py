"""The functions of the package: what a notebook calls."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import analysis
from launcher.errors import ConfigError
from tests.analysis.grids import made


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = "import sys, analysis; print([m for m in ('pandas', 'plotly') if m in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout == "[]\n", process.stderr


REFUSED: list[tuple[Callable[[Path], object], str]] = [
    (lambda sweep: analysis.load(), "load: name a folder"),
    (lambda sweep: analysis.load(sweep / "none"), "none is not a folder"),
    (lambda sweep: analysis.compare(sweep), "compare: takes two sweeps or more, not 1"),
    (lambda sweep: analysis.pareto(analysis.load(sweep)), "columns: name those to compare"),
    (lambda sweep: analysis.pareto(analysis.load(sweep), "cause"), "columns: no 'cause'"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_done_is_refused(
    call: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    sweep = made(tmp_path / "s")
    with pytest.raises(ConfigError) as raised:
        call(sweep)
    assert message in str(raised.value)


def test_axes_are_the_columns_of_a_spec(tmp_path: Path) -> None:
    table = analysis.load(made(tmp_path / "s")).table()
    assert set(analysis.AXES) < set(table.columns)
    assert {"tp", "zero", "micro_batch", "stage"} <= set(analysis.AXES)
