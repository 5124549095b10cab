"""Two sweeps of one grid: differences that are more than noise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import analysis
from analysis.comparison import ERROR, band
from launcher.errors import ConfigError
from launcher.results.run_folder import RunFolder
from tests.analysis.grids import LAYOUTS, made, point, run


@pytest.mark.parametrize(("noise", "drift"), [(0.0, 0.0), (0.02, 0.005), (0.1, 0.02)])
def test_nothing_changed(tmp_path: Path, noise: float, drift: float) -> None:
    for seed in range(6):
        a = analysis.load(made(tmp_path / f"a{seed}", 2 * seed, noise, drift))
        b = analysis.load(made(tmp_path / f"b{seed}", 2 * seed + 1, noise, drift))
        text = str(analysis.compare(a, b))
        beginning = (
            f"8 points in both a{seed} and b{seed}: no difference beyond noise, which is up to "
        )
        assert text.startswith(beginning) and len(text.splitlines()) == 1


@pytest.mark.parametrize("factor", [1.1, 1 / 1.1])
def test_a_layout_that_became_slower_is_found(tmp_path: Path, factor: float) -> None:
    a = analysis.load(made(tmp_path / "a", 1))
    for number in (0, 3, 7):
        b = analysis.load(made(tmp_path / f"b{number}", 2 + number, slower={number: factor}))
        comparison = analysis.compare(a, b, names=("before", "after"))
        (row,) = comparison.changed.to_dict(orient="records")
        layout = LAYOUTS[number]
        assert (row["tp"], row["zero"], row["micro_batch"]) == (
            layout.tp,
            layout.zero,
            layout.micro_batch,
        )
        assert row["ratio"] == pytest.approx(1 / factor, rel=0.03)
        first, second = str(comparison).splitlines()
        assert first == "8 points in both before and after, 1 with a difference beyond noise"
        word = "slower" if factor > 1 else "faster"
        assert f"tp {layout.tp} zero {layout.zero} micro_batch {layout.micro_batch}: " in second
        assert word in second


def test_a_copy_with_one_slowed_down(tmp_path: Path) -> None:
    """As somebody would try it: the same files, and one of them edited."""
    a, b = made(tmp_path / "a", 1, noise=0.05), made(tmp_path / "b", 1, noise=0.05)
    slow = RunFolder(b / point(LAYOUTS[5]).name)
    times = [1.1 * line["step_ms"] for line in slow.steps()]
    run(b, point(LAYOUTS[5]), times)
    (row,) = analysis.compare(analysis.load(a), analysis.load(b)).changed.to_dict(orient="records")
    assert row["ratio"] == pytest.approx(1 / 1.1)


def test_all_of_them_slower(tmp_path: Path) -> None:
    a = analysis.load(made(tmp_path / "a", 1))
    b = analysis.load(made(tmp_path / "b", 2, slower=dict.fromkeys(range(8), 1.15)))
    text = str(analysis.compare(a, b))
    assert "all together b is 13." in text and "slower" in text
    assert "0 with a difference" in text


@pytest.mark.parametrize(("slow", "points"), [(2, 5), (3, 8), (4, 8), (6, 13), (8, 32)])
def test_many_changed_at_once(slow: int, points: int) -> None:
    """All of one value of an axis, say; those that did not change are not said to have."""
    chance = np.random.default_rng(slow)
    detected = wrong = 0
    for _ in range(100):
        ratios = chance.normal(0, 0.01, points)
        ratios[:slow] -= np.log(1.3)
        low, high = band(ratios, np.full(points, 0.01))
        differs = (ratios < low) | (ratios > high)
        detected += int(differs[:slow].sum())
        wrong += int(differs[slow:].sum())
    assert detected >= 0.95 * 100 * slow and wrong <= 4


def test_one_of_two(tmp_path: Path) -> None:
    low, high = band(np.array([0.0, -0.2]), np.full(2, 0.01))
    assert low[0] < 0 < high[0] and low[1] > -0.2


def test_no_points_at_all(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a"), tmp_path / "b"
    (b / "x").mkdir(parents=True)
    (b / "x" / "spec.json").write_text("{")
    text = str(analysis.compare(analysis.load(a), analysis.load(b)))
    assert text == "0 points in both a and b\nonly in a: 8 points\nonly in b: 1 point"


def test_points_of_one_alone_and_other_ends(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", 1), made(tmp_path / "b", 2)
    extra = point(replace(LAYOUTS[0], pp=2))
    run(b, extra, [70.0] * 64)
    failed = RunFolder(b / point(LAYOUTS[6]).name)
    status = failed.status()
    assert status
    failed.write_status(replace(status, exit_codes=(1,) * 8))
    (failed.path / "result.json").unlink()
    failed.log(0).write_text("torch.OutOfMemoryError: CUDA out of memory.\n")
    comparison = analysis.compare(analysis.load(a), analysis.load(b))
    assert "ok -> oom" in str(comparison) and str(comparison).endswith("only in b: 1 point")
    assert list(comparison.only["b"]["pp"]) == [2] and comparison.only["a"].empty


def test_another_loss_is_said(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", 1), made(tmp_path / "b", 1)
    folder = RunFolder(b / point(LAYOUTS[1]).name)
    folder.metrics.write_text(folder.metrics.read_text().replace('"loss": 6.36', '"loss": 6.76'))
    (row,) = analysis.compare(analysis.load(a), analysis.load(b)).changed.to_dict(orient="records")
    assert row["change"] == "loss 6.3600 -> 6.7600"


def test_a_comparison_takes_two(tmp_path: Path) -> None:
    a = analysis.load(made(tmp_path / "a"))
    with pytest.raises(ConfigError, match=r"^compare: takes two sweeps or more, not 1$"):
        analysis.compare(a)
    with pytest.raises(ConfigError, match=r"^compare: 1 names for 2 sweeps$"):
        analysis.compare(a, a, names=["x"])


def test_three_at_once(tmp_path: Path) -> None:
    a, b, c = (analysis.load(made(tmp_path / name, seed)) for seed, name in enumerate("abc"))
    table = analysis.compare(a, b, c).table
    assert list(table["sweep"]) == ["b"] * 8 + ["c"] * 8


@pytest.mark.parametrize("points", [4, 8, 40])
@pytest.mark.parametrize("times", [0.3, 1.0, 2.0])
def test_false_alarms_are_as_rare_as_they_say(points: int, times: float) -> None:
    """Also where the noise is a third, or twice, of what was expected."""
    chance = np.random.default_rng(points)
    alarms = 0
    for _ in range(400):
        ratios = chance.normal(0, 0.03 * times, points)
        low, high = band(ratios, np.full(points, 0.03))
        alarms += bool(((ratios < low) | (ratios > high)).any())
    assert alarms <= 4 * ERROR * 400
