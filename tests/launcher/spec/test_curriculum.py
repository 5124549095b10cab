"""Specs of a curriculum's stages: steps, schedules, positions in the data, and its refusals.

Modules: launcher.spec.curriculum, launcher.spec.batch_ramp.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.campaign.stage_history import trained_or_to_train
from launcher.decode import decode, encode
from launcher.errors import ConfigError
from launcher.results.run_folder import RunFolder
from launcher.results.sweep_folder import SweepFolder
from launcher.spec.batch_ramp import BatchRamp, Phase
from launcher.spec.curriculum import Curriculum, most_samples, stage_specs
from launcher.spec.run import Data, RunSpec
from tests.conftest import spec

BASE = replace(spec(), train=replace(spec().train, steps=99))


def stages(*plans: dict[str, Any], base: RunSpec = BASE, **settings: Any) -> list[RunSpec]:
    plans_by_name = {f"s{number}": plan for number, plan in enumerate(plans, 1)}
    curriculum = decode(Curriculum, {"name": "test", "stages": plans_by_name, **settings})
    return stage_specs(curriculum, base, as_it_is)


def as_it_is(data: Data, where: str) -> Data:
    return data


def test_steps_go_on_from_stage_to_stage() -> None:
    """8 sequences of 32 tokens are a step; tokens are rounded up to whole steps."""
    first, second, third = stages(
        {"tokens": 2560}, {"tokens": 2561, "sequence": 64}, {"tokens": 1, "global_batch": 4}
    )
    assert [(s.first, s.last, s.train.steps) for s in (first, second, third)] == [
        (0, 10, 10),
        (10, 16, 6),
        (16, 17, 1),
    ]
    assert [s.tokens_through(s.last) for s in (first, second, third)] == [2560, 5632, 5760]
    assert [s.name for s in (first, second, third)] == ["1-s1", "2-s2", "3-s3"]
    assert second.stage and second.stage.parent == first.trajectory
    assert second.samples_through(12) == 16 and second.samples_through(10) == 0


def test_a_layout_leaves_the_trajectory_alone() -> None:
    (reference,) = stages({"tokens": 2560})
    for plan in (
        {"layout": {"tp": 2}},
        {"nodes": 2},
        {"backend": "deepspeed"},
        {"gpus_per_node": 1},
    ):
        (elsewhere,) = stages({"tokens": 2560, **plan})
        assert elsewhere.trajectory == reference.trajectory and elsewhere.id != reference.id
    (longer,) = stages({"tokens": 2816})
    assert longer.trajectory != reference.trajectory


SCHEDULES: list[tuple[list[dict[str, Any]], dict[int, float]]] = [
    # One cosine over both stages: 20 steps, 2 of warm-up, 2e-3 to 2e-4.
    ([{}, {}], {1: 1e-3, 2: 2e-3, 11: 1.1e-3, 20: 2e-4}),
    # The second goes on where the first ended, which has decayed by then.
    ([{}, {"decay": "constant"}], {10: 2e-4, 11: 2e-4, 20: 2e-4}),
    # It warms up again from there.
    ([{}, {"lr": 1e-3, "warmup_steps": 4, "decay": "linear", "min_lr": 0.0}],
     {10: 2e-4, 11: 4e-4, 14: 1e-3, 17: 5e-4, 20: 0.0}),
    # It jumps.
    ([{}, {"lr": 1e-3, "decay": "constant"}], {10: 2e-4, 11: 1e-3, 20: 1e-3}),
    # Warm-up, stable and decay of its own.
    ([{}, {"lr": 1e-3, "decay": "linear", "decay_steps": 2, "min_lr": 0.0}],
     {11: 1e-3, 18: 1e-3, 19: 5e-4, 20: 0.0}),
]  # fmt: skip


@pytest.mark.parametrize(("schedules", "expected"), SCHEDULES)
def test_schedules(schedules: list[dict[str, Any]], expected: dict[int, float]) -> None:
    optimizer = replace(BASE.train.optimizer, lr=2e-3, min_lr=2e-4, warmup_steps=2)
    base = replace(BASE, train=replace(BASE.train, optimizer=optimizer))
    plans = [
        {"tokens": 2560, "schedule": schedule} if schedule else {"tokens": 2560}
        for schedule in schedules
    ]
    spec_of_step = {
        step: stage
        for stage in stages(*plans, base=base)
        for step in range(stage.first + 1, stage.last + 1)
    }
    for step, rate in expected.items():
        spec_of_step[step].check()
        assert spec_of_step[step].rate(step) == pytest.approx(rate, rel=1e-6), step


@pytest.mark.parametrize(
    ("ramp", "batch", "phases"),
    [
        ((8, 8, 48), 24, [(8, 0, 0), (16, 3, 24), (24, 5, 56)]),  # 24 each: 3 steps, 2 steps
        ((4, 4, 8), 8, [(4, 0, 0), (8, 2, 8)]),
        ((4, 4, 9), 8, [(4, 0, 0), (8, 3, 12)]),
        ((1, 1, 3), 4, [(1, 0, 0), (2, 1, 1), (4, 2, 3)]),  # two at once: no step of three
    ],
)  # fmt: skip
def test_a_batch_that_grows(ramp: tuple[int, int, int], batch: int, phases: list[Any]) -> None:
    batch_ramp = BatchRamp(start=ramp[0], increment=ramp[1], samples=ramp[2])
    assert batch_ramp.phases(batch) == tuple(Phase(*phase) for phase in phases)


def test_tokens_of_a_batch_that_grows() -> None:
    """24 + 32 sequences in 5 steps, then 24 a step: 2560 tokens are 80 sequences, 6 steps."""
    ramp = {"start": 8, "increment": 8, "samples": 48}
    (stage,) = stages({"tokens": 2560, "global_batch": 24, "batch_ramp": ramp})
    assert stage.train.steps == 6
    assert [stage.batch_at(step) for step in range(1, 7)] == [8, 8, 8, 16, 16, 24]
    assert [stage.samples_through(step) for step in range(7)] == [0, 8, 16, 24, 40, 56, 80]
    stage.check()


@pytest.mark.parametrize(
    ("ramp", "message"),
    [
        ((24, 8, 48), "train.batch_ramp.start: 24 is not below train.global_batch 24"),
        ((8, 5, 48), "train.batch_ramp.increment: 5 does not divide the 16 between"
         " train.batch_ramp.start 8 and train.global_batch 24"),
        ((3, 7, 48), "train.batch_ramp.start: 3 is not a multiple of micro_batch 1 x dp 2 (2)"),
    ],
)  # fmt: skip
def test_ramps_that_are_refused(ramp: tuple[int, int, int], message: str) -> None:
    settings = dict(zip(("start", "increment", "samples"), ramp, strict=True))
    (stage,) = stages({"tokens": 2560, "global_batch": 24, "batch_ramp": settings})
    stage = replace(stage, layout=replace(stage.layout, micro_batch=1))
    with pytest.raises(ConfigError) as error:
        stage.check()
    assert str(error.value) == message


def test_a_source_goes_on_where_earlier_stages_stopped() -> None:
    """Sequences of another length are other sequences; their tokens count all the same."""
    blends = [{"a": 1.0}, {"a": 3.0, "b": 1.0}, {"a": 1.0}, {"a": 1.0}]
    plans = [{"tokens": 2560, "blend": blend} for blend in blends]
    plans[2]["sequence"] = 64
    places = [stage.stage for stage in stages(*plans)]
    assert [place and place.samples_before for place in places] == [
        {"a": 0},
        {"a": 81, "b": 0},
        {"a": 0},
        {"a": 81 + 62},
    ]
    tokens_of_a = [place and place.source_tokens["a"] for place in places]
    assert tokens_of_a == [0, 81 * 32, (81 + 62) * 32, (81 + 62) * 32 + 41 * 64]


def test_one_tokenizer_for_all_stages() -> None:
    trained = replace(BASE, data=replace(BASE.data, tokenizer="bpe"))
    plans = [{"tokens": 1, "blend": {"bundled/code": 1.0}}, {"tokens": 1}]
    for stage in stages(*plans, base=trained):
        assert stage.data.tokenizer_texts == ("bundled/code", "bundled/prose")
    for stage in stages(*plans):
        assert stage.data.tokenizer_texts == ()


def test_most_samples_is_enough() -> None:
    (stage,) = stages({"tokens": 2560, "blend": {"a": 0.9, "b": 0.1}})
    assert most_samples(stage) == {"a": 74, "b": 10}
    assert sum(most_samples(stage).values()) >= stage.samples_through(stage.last)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"s1": {"tokens": 2560, "blend": {"a": 0.5}}},
     "curriculum.stages.s1: is finished and cannot change: data.blend.a 1.0 -> 0.5"),
    ({"s1": {"tokens": 2816, "blend": {"a": 1.0}}},
     "curriculum.stages.s1: is finished and cannot change: train.steps 10 -> 11; its schedule spans later stages: give the first of them"
     " that changes one of its own"),
    ({"s2": {"tokens": 5120, "blend": {"b": 1.0}}},
     "curriculum.stages.s1: is finished and cannot change: stage.schedule_steps 20 -> 30; its"
     " schedule spans later stages: give the first of them that changes one of its own"),
    ({"s2": {"tokens": 2560, "blend": {"c": 1.0}}},
     "curriculum.stages.s2: is begun and cannot change: data.blend.b 1.0 -> None,"
     " data.blend.c None -> 1.0"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "message"), REFUSED)
def test_what_is_trained_cannot_change(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    plans = {
        "s1": {"tokens": 2560, "blend": {"a": 1.0}},
        "s2": {"tokens": 2560, "blend": {"b": 1.0}},
    }
    trained(stages(*plans.values()), tmp_path)
    with pytest.raises(ConfigError) as error:
        list(trained_or_to_train(stages(*(plans | changed).values()), SweepFolder(tmp_path)))
    assert str(error.value) == f"{message}; a new run needs another name="


def test_what_is_to_come_can_change(tmp_path: Path) -> None:
    """The budget of a stage with a schedule of its own, layouts, and what has not begun."""
    constant = {"tokens": 2560, "schedule": {"decay": "constant"}}
    trained_stages = stages(constant, constant, constant)
    trained(trained_stages, tmp_path)
    edited = stages(
        {**constant, "layout": {"tp": 2}},
        {**constant, "layout": {"tp": 2}},
        {**constant, "tokens": 5120},
    )
    to_train = list(trained_or_to_train(edited, SweepFolder(tmp_path)))
    assert to_train[0] == trained_stages[0], "a finished stage has the layout it was trained at"
    assert to_train[1:] == edited[1:]
    with pytest.raises(ConfigError) as error:
        list(trained_or_to_train(stages(constant), SweepFolder(tmp_path)))
    assert str(error.value) == (
        f"curriculum.stages: 2-s2 has been trained in {tmp_path} and is not among them;"
        " give another name=, or move its folder away"
    )


def trained(all_stages: list[RunSpec], folder: Path) -> None:
    """Write the folders of stages: the first is finished, the second has a checkpoint."""
    for stage in all_stages:
        run = RunFolder(folder / stage.name)
        run.create(stage)
        assert run.spec() == stage
    RunFolder(folder / all_stages[0].name).write_result({})
    (folder / all_stages[1].name / "checkpoints" / "step-00000012").mkdir(parents=True)


def test_stages_are_written_and_read(tmp_path: Path) -> None:
    ramp = {"start": 4, "increment": 4, "samples": 8}
    for stage in stages({"tokens": 2560, "batch_ramp": ramp}, {"tokens": 1}):
        assert decode(RunSpec, json.loads(json.dumps(encode(stage)))) == stage
        assert not math.isnan(stage.rate(stage.last))
