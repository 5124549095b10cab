"""A spec: its id is that of its content, and its arithmetic names the keys that disagree.

Modules: launcher.spec.run, launcher.spec.cluster, launcher.spec.sampling.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from launcher.decode import encode, fingerprint
from launcher.errors import ConfigError, RequestError
from launcher.spec.batch_ramp import BatchRamp
from launcher.spec.layout import ParallelLayout
from launcher.spec.optimizer import Optimizer
from launcher.spec.run import RunSpec, decode_spec
from launcher.spec.sampling import Sampling
from tests.conftest import spec


@pytest.mark.parametrize(
    "run", [spec(), spec(ParallelLayout(tp=2), optimizer=Optimizer(lr=1e-3))], ids=["dp", "tp"]
)
def test_the_id_is_that_of_the_content(run: RunSpec) -> None:
    assert run.id == fingerprint(run)
    assert decode_spec(json.loads(json.dumps(encode(run)))) == run
    assert decode_spec(encode(run)).id == run.id


def test_sources_in_another_order_are_another_spec() -> None:
    """The id is the same, but samples are drawn in the order in which sources are named."""
    blend = {"b": 1.0, "a": 1.0}
    run = replace(spec(), data=replace(spec().data, blend=blend))
    assert list(decode_spec(encode(run)).data.blend) == ["b", "a"]
    sorted_data = encode(run) | {"data": encode(run.data) | {"blend": dict(sorted(blend.items()))}}
    assert list(decode_spec(sorted_data).data.blend) == ["a", "b"]


BAD: list[tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = [
    (lambda data: [], "spec: expected a mapping, got []"),  # type: ignore[return-value,arg-type]
    (lambda data: data | {"modle": 1}, "spec.modle: no such key; did you mean 'spec.model'?"),
    (lambda data: data | {"backend": 1}, "spec.backend: expected a text, got 1"),
    (
        lambda data: data | {"layout": {"tp": 0}},
        "spec.layout.tp: 0 is below 1",
    ),
]


@pytest.mark.parametrize(("edit", "message"), BAD)
def test_what_is_no_spec(edit: Callable[[dict[str, Any]], dict[str, Any]], message: str) -> None:
    for _ in range(2):  # what failed once is not remembered as decoded
        with pytest.raises(ConfigError) as caught:
            decode_spec(edit(encode(spec())), "spec")
        assert str(caught.value) == message


def test_only_what_decides_the_losses_decides_the_trajectory() -> None:
    run = spec()
    model = replace(run.model, name="renamed")
    for variant in (
        replace(run, layout=ParallelLayout(tp=2)),
        replace(run, backend="deepspeed"),
        replace(run, model=model),
        replace(run, train=replace(run.train, untimed_steps=1, tokens=10**9)),
        replace(run, train=replace(run.train, deterministic=True)),
    ):
        assert variant.trajectory == run.trajectory and variant.id != run.id
    in_bf16 = replace(run, train=replace(run.train, precision="bf16"))
    said = replace(in_bf16, train=replace(in_bf16.train, reduce_precision="fp32"))
    assert said.trajectory == in_bf16.trajectory, "null is fp32"
    rounded = replace(in_bf16, train=replace(in_bf16.train, reduce_precision="bf16"))
    assert rounded.trajectory != in_bf16.trajectory
    for train in ({"seed": 1}, {"global_batch": 16}, {"optimizer": Optimizer(lr=1e-3)}):
        assert replace(run, train=replace(run.train, **train)).trajectory != run.trajectory  # type: ignore[arg-type]


RAMP = BatchRamp(start=2, increment=2, samples=400)

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"untimed_steps": 4}, "train.untimed_steps: 4 leaves none of train.steps 4 to measure"),
    (
        {"precision": "fp32", "reduce_precision": "bf16"},
        "train.reduce_precision: bf16 would round the gradients of train.precision fp32",
    ),
    (
        {"optimizer": Optimizer(lr=1e-4, min_lr=2e-4)},
        "train.optimizer.min_lr: 0.0002 is above train.optimizer.lr 0.0001",
    ),
    (
        {"batch_ramp": RAMP},
        "train.batch_ramp.samples: 400 is not below the 8 sequences of all train.steps 4:"
        " the batch never gets to train.global_batch",
    ),
]


@pytest.mark.parametrize(("train", "message"), REFUSED)
def test_refused(train: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        spec(**train).check()
    assert str(caught.value) == message


SAMPLING: list[tuple[Sampling, int | None, str | None]] = [
    (Sampling(prompts=("",)), 10, None),
    (Sampling(prompts=()), 10, None),  # validation losses alone
    (Sampling(prompts=("",)), None, "sampling: follows checkpoints; give checkpoint_every"),
    (
        Sampling(prompts=(), validation_sequences=0),
        10,
        "sampling.prompts: is empty, and so is validation_sequences 0",
    ),
]


@pytest.mark.parametrize(("sampling", "every", "message"), SAMPLING)
def test_sampling(sampling: Sampling, every: int | None, message: str | None) -> None:
    if message is None:
        sampling.check(every)
        return
    with pytest.raises(ConfigError) as caught:
        sampling.check(every)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("layout", "changes", "message"),
    [
        (
            ParallelLayout(micro_batch=2),
            {"probe_micro_batches": 3},
            "train.probe_micro_batches: 3 is more than the 2 of train.global_batch 8 at micro_batch"
            " 2 x dp 2",
        ),
        (
            ParallelLayout(pp=2, vpp=2),
            {"probe_micro_batches": 3},
            "pp 2 does not divide the 3 micro batches of a step, which vpp 2 needs",
        ),
        (
            ParallelLayout(),
            {
                "probe_micro_batches": 1,
                "batch_ramp": BatchRamp(start=4, increment=4, samples=8),
                "steps": 9,
            },
            "train.probe_micro_batches: 1 is for a trial of one global batch, not for"
            " train.batch_ramp",
        ),
    ],
)
def test_a_trial_has_some_of_the_micro_batches(
    layout: ParallelLayout, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        spec(layout, **changes).check()
    assert str(caught.value) == message


def test_a_trial_trains_a_smaller_batch_under_its_own_name() -> None:
    whole, trial = spec(), spec(probe_micro_batches=2)
    trial.check()
    assert whole.trained is whole and whole.id != trial.id
    assert trial.trained.id == spec(global_batch=4).id
    assert trial.tokens_per_step == whole.tokens_per_step
    assert trial.scaling_group == whole.scaling_group
