"""From a sweep as YAML gives it to its points."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from launcher.decode import decode
from launcher.errors import ConfigError
from launcher.spec.run import RunSpec
from sweeps import Sweep, choices, pinned, specs, unique
from tests.conftest import spec

BASE = spec()


def points(**sweep: Any) -> list[RunSpec]:
    return unique(specs(decode(Sweep, sweep), BASE))


def layouts(**sweep: Any) -> list[tuple[int, int]]:
    return [(point.layout.tp, point.layout.pp) for point in points(**sweep)]


def test_axes_multiply_in_the_order_they_are_listed() -> None:
    assert layouts(axes={"layout": {"tp": [1, 2], "pp": [1, 2]}}) == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]


def test_zipped_axes_move_together_and_multiply_with_the_others() -> None:
    specs = points(
        axes={"layout": {"zero": [0, 1]}}, zip=[{"layout": {"tp": [1, 2], "pp": [4, 2]}}]
    )
    assert [(p.layout.zero, p.layout.tp, p.layout.pp) for p in specs] == [
        (0, 1, 4), (0, 2, 2), (1, 1, 4), (1, 2, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["layout.tp == 2"], [(2, 1), (2, 2)]),
        (["layout.tp * layout.pp <= 2", "layout.pp != 2"], [(1, 1), (2, 1)]),
        (["layout.tp in [2, 4] or cluster.nodes > 1"], [(2, 1), (2, 2)]),
        (["not (layout.tp > 1 and layout.pp > 1)"], [(1, 1), (1, 2), (2, 1)]),
        (["model.hidden / layout.tp >= 64 and backend == 'megatron'"], [(1, 1), (1, 2)]),
    ],
)
def test_conditions_leave_points_out(where: list[str], expected: list[tuple[int, int]]) -> None:
    assert layouts(axes={"layout": {"tp": [1, 2], "pp": [1, 2]}}, where=where) == expected


def test_variables_of_the_environment_are_axes_one_by_one_or_together() -> None:
    axes = {"cluster": {"environment": {"NCCL_ALGO": ["Ring", "Tree"], "NCCL_NVLS_ENABLE": [0]}}}
    by_name = [point.cluster.environment for point in points(axes=axes)]
    assert by_name == [
        {"NCCL_ALGO": "Ring", "NCCL_NVLS_ENABLE": 0},
        {"NCCL_ALGO": "Tree", "NCCL_NVLS_ENABLE": 0},
    ]
    together = points(axes={"cluster": {"environment": by_name}})
    assert [point.cluster.environment for point in together] == by_name
    (picked,) = points(points=[{"cluster": {"environment": {"NCCL_ALGO": "Ring"}}}])
    assert picked.cluster.environment == {"NCCL_ALGO": "Ring"}


def test_hand_picked_points_are_beside_the_axes_or_alone() -> None:
    picked = [{"layout": {"tp": 2}}, {"layout": {"tp": 4, "pp": 2}}]
    assert layouts(points=picked) == [(2, 1), (4, 2)]
    assert layouts(axes={"layout": {"pp": [1, 2]}}, points=picked) == [
        (1, 1), (1, 2), (2, 1), (4, 2),
    ]  # fmt: skip


def test_conditions_are_for_the_axes_alone() -> None:
    sweep = {"axes": {"layout": {"tp": [1, 2]}}, "points": [{"layout": {"tp": 4}}]}
    assert layouts(**sweep, where=["layout.tp == 1"]) == [(1, 1), (4, 1)]


def test_a_path_may_be_written_with_dots() -> None:
    assert layouts(axes={"layout.tp": [1, 2], "layout": {"pp": [3]}}) == [(1, 3), (2, 3)]


def test_a_point_listed_twice_runs_once() -> None:
    assert layouts(axes={"layout": {"tp": [1, 2, 1]}}) == [(1, 1), (2, 1)]


def test_an_axis_can_be_any_field() -> None:
    specs = points(
        axes={
            "model": [
                {
                    "name": "other",
                    "layers": 2,
                    "hidden": 64,
                    "ffn": 64,
                    "heads": 2,
                    "kv_heads": 2,
                    "vocab": 300,
                    "sequence": 32,
                }
            ],
            "cluster": {"nodes": [1, 2]},
            "backend": ["megatron", "deepspeed"],
            "data": {"blend": [{"bundled/code": 1.0}]},
        }
    )
    assert [(p.model.name, p.cluster.nodes, p.backend) for p in specs] == [
        ("other", 1, "megatron"), ("other", 1, "deepspeed"),
        ("other", 2, "megatron"), ("other", 2, "deepspeed"),
    ]  # fmt: skip
    assert {tuple(p.data.blend) for p in specs} == {("bundled/code",)}


def test_a_field_of_a_group_beats_the_group_it_is_in() -> None:
    group = {"name": "other", "layers": 2, "hidden": 64, "ffn": 64, "heads": 2, "kv_heads": 2,
             "vocab": 300, "sequence": 32}  # fmt: skip
    specs = points(axes={"model": [group]}, zip=[{"model": {"sequence": [64, 128]}}])
    assert [(p.model.name, p.model.sequence) for p in specs] == [("other", 64), ("other", 128)]


def test_a_pinned_field_is_no_axis_any_more() -> None:
    sweep = decode(
        Sweep,
        {"axes": {"layout": {"tp": [1, 2], "pp": [1, 2]}}, "zip": [{"layout": {"zero": [0, 1]}}]},
    )
    assert pinned(sweep, ["layout", "tp"]).axes == {"layout": {"pp": [1, 2]}}
    assert pinned(sweep, ["layout", "zero"]).zip == ()
    assert pinned(sweep, ["train", "steps"]) == sweep
    assert pinned(sweep, ["layout"]) == sweep  # another file of the group, the axes stay
    picked = decode(Sweep, {"points": [{"layout": {"tp": 2, "pp": 2}}, {"layout": {"tp": 4}}]})
    assert pinned(picked, ["layout", "tp"]).points == ({"layout": {"pp": 2}}, {})
    assert pinned(pinned(sweep, ["layout", "tp"]), ["layout", "pp"]).axes == {}


def test_a_value_that_follows_from_the_other_fields_of_the_point() -> None:
    specs = points(
        axes={
            "layout": {"micro_batch": [1, 2]},
            "train": {"global_batch": [24, "= 24 * layout.micro_batch / 2"]},
        },
        zip=[{"cluster": {"nodes": [1, 3]}, "layout": {"tp": ["= cluster.nodes", 1]}}],
        where=["train.global_batch < 24 or layout.tp * cluster.nodes > 1"],
    )
    assert [
        (p.layout.micro_batch, p.train.global_batch, p.cluster.nodes, p.layout.tp) for p in specs
    ] == [(1, 24, 3, 1), (1, 12, 1, 1), (1, 12, 3, 1), (2, 24, 3, 1)]
    assert [
        p.train.global_batch for p in points(axes={"train": {"global_batch": ["= 6 * dp"]}})
    ] == [6 * BASE.dp]
    (picked,) = points(points=[{"layout": {"tp": 4, "pp": "= layout.tp"}}])
    assert picked.layout.pp == BASE.layout.tp * 4


@pytest.mark.parametrize("expression", ["9**9**9 > 1", "'a' * 10**10 == ''", "layout.__class__"])
def test_a_condition_cannot_run_away_or_reach_out(expression: str) -> None:
    with pytest.raises(ConfigError, match=r"^sweep\.where: "):
        points(where=[expression])


def test_a_condition_cannot_change_the_point() -> None:
    with pytest.raises(ConfigError, match="no field 'pop'"):
        points(axes={"layout": {"tp": [1, 2]}}, where=["layout.pop('tp') > 0"])


def test_axes_of_one_part_need_not_stand_together() -> None:
    axes = {"layout.tp": [1, 2], "train.steps": [5, 6], "layout.zero": [0, 1]}
    product = [(p.layout.tp, p.train.steps, p.layout.zero) for p in points(axes=axes)]
    assert product == list(itertools.product([1, 2], [5, 6], [0, 1]))


def test_the_words_of_one_point() -> None:
    sweep = Sweep(
        axes={"layout": {"tp": [1, 2]}, "model": ["llama_7b"]},
        zip=({"train": {"global_batch": [8, 16], "optimizer.lr": [1e-3, 2e-3]}},),
    )
    base = spec()
    words = choices(sweep, base)
    assert words == [
        f"layout.tp={base.layout.tp}",
        f"model={base.model.name}",
        f"train.global_batch={base.train.global_batch}",
        f"train.optimizer.lr={base.train.optimizer.lr}",
    ]
    flags = Sweep(axes={"layout": {"sequence_parallel": [None, True], "offload": [False]}})
    assert choices(flags, base) == ["layout.sequence_parallel=null", "layout.offload=false"]
    modules = Sweep(axes={"layout.recompute_modules": [["mlp"], None]})
    layout = replace(base.layout, recompute="selective", recompute_modules=("mlp", "layernorm"))
    some = replace(base, layout=layout)
    assert choices(modules, some) == ["layout.recompute_modules=[mlp,layernorm]"]
    assert choices(Sweep(axes={"data.blend": [{"a": 1.0}]}), base) is None
