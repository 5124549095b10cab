"""Texts that tell the points of a sweep apart."""

from dataclasses import replace
from typing import Any

import pytest

from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from sweeps.labels import NONE, differences, labels, remarks
from tests.conftest import spec

BASE = spec()


def layout(**changes: Any) -> RunSpec:
    return replace(BASE, layout=ParallelLayout(**changes))


@pytest.mark.parametrize(
    ("points", "texts"),
    [
        ([BASE], [BASE.name]),  # nothing to tell it from
        ([layout(tp=1), layout(tp=2)], ["tp 1", "tp 2"]),
        (
            [layout(tp=1), replace(layout(tp=2), backend="deepspeed")],
            ["megatron tp 1", "deepspeed tp 2"],
        ),
        (
            [layout(recompute_modules=names) for names in (("mlp",), ("layernorm", "mlp"))],
            ["recompute_modules mlp", "recompute_modules layernorm+mlp"],
        ),
        (
            [layout(), layout(recompute="full"), layout(recompute="full", recompute_layers=2)],
            ["recompute none", "recompute full", "recompute full recompute_layers 2"],
        ),
        (
            [replace(BASE, train=replace(BASE.train, steps=steps)) for steps in (3, 4)],
            ["steps 3", "steps 4"],
        ),
    ],
)
def test_labels_are_the_fields_that_differ(points: list[RunSpec], texts: list[str]) -> None:
    assert labels(points) == dict(zip([point.name for point in points], texts, strict=True))


@pytest.mark.parametrize(
    ("points", "texts"),
    [
        ([layout(tp=1), layout(tp=2)], []),  # a column of the table
        ([layout(zero=1), layout(zero=1, offload=True)], ["offload"]),
        (
            [layout(overlap_p2p=False), layout(overlap_p2p=True)],
            ["overlap_p2p False", "overlap_p2p True"],
        ),
    ],
)
def test_remarks_are_those_without_a_column(points: list[RunSpec], texts: list[str]) -> None:
    assert list(remarks(points).values()) == texts


def test_a_blend_is_told_with_all_its_sources() -> None:
    code, both = ({"bundled/code": 1.0}, {"bundled/code": 1.0, "bundled/prose": 2.0})
    points = [replace(BASE, data=replace(BASE.data, blend=blend)) for blend in (code, both)]
    assert differences(points) == {
        "data.blend.bundled/code": [1.0, 1.0],
        "data.blend.bundled/prose": [NONE, 2.0],
    }
    assert list(labels(points).values()) == [
        "bundled/code 1.0",
        "bundled/code 1.0 bundled/prose 2.0",
    ]
