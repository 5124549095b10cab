"""Labels and remarks: which words tell the points of a sweep apart."""

from dataclasses import dataclass, replace

import pytest

from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from sweeps.labels import NONE, differences, labels, remarks
from tests.conftest import shape, spec


def blend(**weights: float) -> RunSpec:
    return replace(spec(), data=replace(spec().data, blend=weights))


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], []),
        ([spec(ParallelLayout(tp=1)), spec(ParallelLayout(tp=2))], ["tp 1", "tp 2"]),
        (
            [spec(ParallelLayout(tp=2)), spec(ParallelLayout(pp=2), backend="deepspeed")],
            ["megatron tp 2 pp 1", "deepspeed tp 1 pp 2"],
        ),
        ([spec(), replace(spec(), model=shape(name="b"))], ["test", "b"]),
        ([blend(a=1.0), blend(a=2.0, b=1.0)], ["a 1.0", "a 2.0 b 1.0"]),
    ],
)
def test_labels(points: list[RunSpec], expected: list[str]) -> None:
    assert list(labels(points).values()) == expected


def test_a_point_alone_is_labelled_by_its_name() -> None:
    assert labels([spec()]) == {spec().name: spec().name}


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], []),
        ([spec(ParallelLayout(tp=1)), spec(ParallelLayout(tp=2))], []),  # has a column
        ([spec(seed=1), spec(seed=2)], ["seed 1", "seed 2"]),
        # Offload is told of every point that has it, also where all have.
        ([spec(ParallelLayout(offload=True))], ["offload"]),
        (
            [spec(ParallelLayout(offload=True), seed=1), spec(seed=2)],
            ["offload, seed 1", "seed 2"],
        ),
        # A model is told by its name, unless one model is varied by hand.
        ([spec(), replace(spec(), model=shape(name="b", hidden=128))], []),
        ([spec(), replace(spec(), model=shape(hidden=128))], ["hidden 64", "hidden 128"]),
    ],
)
def test_remarks(points: list[RunSpec], expected: list[str]) -> None:
    assert list(remarks(points).values()) == expected


@dataclass(frozen=True)
class Inner:
    x: int
    options: dict[str, int]


@dataclass(frozen=True)
class Outer:
    a: int
    inner: Inner


def test_differences_are_dotted_and_name_what_is_missing() -> None:
    points = [Outer(1, Inner(1, {"p": 1})), Outer(1, Inner(2, {"p": 1, "q": 3}))]
    assert differences(points) == {
        "inner.x": [1, 2],
        "inner.options.p": [1, 1],
        "inner.options.q": [NONE, 3],
    }
    assert differences(points[:1]) == {} and differences([]) == {}
