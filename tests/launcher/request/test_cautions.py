"""Warnings before a long run: one for each costly setting, none for usual ones."""

from dataclasses import replace
from typing import Any

import pytest

from launcher.request.cautions import LONG_TOKENS, warnings
from launcher.request.compose import compose
from launcher.spec.run import RunSpec, Stage
from launcher.spec.spike_guard import SpikeGuard
from tests.conftest import shape, spec

TOKENS = 10**12
"""Tokens of the run that is planned."""


def shipped(model: str, train: str, tokens: int | None = TOKENS) -> RunSpec:
    """A run of files below conf/."""
    request = compose([f"model={model}", f"train={train}"])
    return replace(spec(), model=request.model, train=replace(request.train, tokens=tokens))


def changed(original: RunSpec, **changes: Any) -> RunSpec:
    """Change fields of train, and the others in train.optimizer."""
    train_changes = {
        name: changes.pop(name) for name in list(changes) if hasattr(original.train, name)
    }
    optimizer = replace(original.train.optimizer, **changes)
    return replace(original, train=replace(original.train, optimizer=optimizer, **train_changes))


B7, B70, MOE = (shipped(name, "pretrain") for name in ("llama_7b", "llama3_70b", "mixtral_8x7b"))
GUARDED = changed(B70, lr=1.5e-4, min_lr=1.5e-5, spike_guard=SpikeGuard())


def on_nodes(original: RunSpec, nodes: int) -> RunSpec:
    """Run on nodes of eight ranks."""
    return replace(original, cluster=replace(original.cluster, nodes=nodes, gpus_per_node=8))


def stage(original: RunSpec, steps_before: int, schedule_after: int) -> RunSpec:
    """A stage of a schedule."""
    place = Stage(
        number=2,
        name="two",
        steps_before=steps_before,
        tokens_before=steps_before * 100,
        parent="p",
        schedule_after=schedule_after,
        schedule_steps=5000,
        samples_before={},
        source_tokens={},
        max_epochs=4.0,
    )
    return replace(original, stage=place)


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        (changed(B7, eps=1e-5), [
            "train.optimizer.eps: 1e-05 is above 1e-08 at 6.7 B parameters: gradients are smaller than that, and Adam hardly moves their weights"]),
        (changed(B7, warmup_steps=0), [
            "train.optimizer.warmup_steps: 0, from learning rate 0 to lr 0.0003, is below 100: the first steps are too large"]),
        (changed(B7, warmup_steps=99, start_lr=3e-4), [
            "train.optimizer.warmup_steps: 99, from learning rate 0 to lr 0.0003, is below 100: the first steps are too large"]),
        (changed(B7, warmup_steps=100), []),
        (stage(changed(B7, warmup_steps=0, start_lr=3e-5), 1000, 1000), [
            "train.optimizer.warmup_steps: 0, from learning rate 3e-05 to lr 0.0003, is below 100: the first steps are too large"]),
        (stage(changed(B7, warmup_steps=0, start_lr=2e-4), 1000, 1000), []),  # goes on at its level
        (stage(changed(B7, warmup_steps=0, start_lr=3e-5), 1000, 500), []),  # not its first stage
        (changed(B7, clip_grad=0.0), [
            "train.optimizer.clip_grad: 0 clips nothing: one bad batch ruins the weights; 1 is usual"]),
        (changed(B7, beta2=0.999), [
            "train.optimizer.beta2: 0.999 is 0.99 or more at 6.3 M tokens a step: the loss spikes; 0.95 is usual"]),
        (changed(B7, beta2=0.999, global_batch=128), []),
        (changed(B7, lr=9e-4), []),
        (changed(B7, lr=1e-3), [
            "train.optimizer.lr: 0.001 is 3.3 times the 0.0003 of Llama 3 8B, the nearest in size: above 3 times it is likely to diverge"]),
        (changed(GUARDED, lr=1e-3), [
            "train.optimizer.lr: 0.001 is 6.7 times the 0.00015 of Llama 3 70B, the nearest in size: above 3 times it is likely to diverge"]),
        (changed(B7, min_lr=2e-4), [
            "train.optimizer.min_lr: 0.0002 is above half of lr 0.0003: decay cosine then gains little; a tenth is usual"]),
        (changed(B7, min_lr=2e-4, decay="constant"), []),
        (B70, [
            "train.spike_guard: null at 70.6 B parameters in bf16 without QK norm and z-loss, which this model does not have: a spike that does not heal would go on unseen"]),
        (GUARDED, []),
        (MOE, [
            "train.spike_guard: null at 46.7 B parameters in bf16 without QK norm and z-loss, which this model does not have: a spike that does not heal would go on unseen",
            "train.moe_aux_loss: 0 with model.experts 8: the router may come to use a few of them alone; 0.01 is usual"]),
        (changed(MOE, moe_aux_loss=0.01, spike_guard=SpikeGuard()), []),
        (on_nodes(changed(B7, reduce_precision="bf16"), 16), [
            "train.reduce_precision: bf16 over 128 ranks, which are not below 128: sums of so many lose small gradients; fp32 is usual"]),
        (on_nodes(changed(B7, reduce_precision="bf16"), 15), []),
        (on_nodes(changed(B7, reduce_precision="fp32"), 16), []),
        (changed(GUARDED, tokens=300 * 10**9), [
            "train.tokens: 300,000,000,000 are 4.3 per parameter, below 5: a smaller model reaches the same loss for less; 20 cost least"]),
        (changed(B7, tokens=20 * 10**12), [
            "train.tokens: 20,000,000,000,000 are 2,968.1 per parameter, above 2,500: the model gets harder to tune, and a larger one is better"]),
    ],
)  # fmt: skip
def test_a_long_run(planned: RunSpec, expected: list[str]) -> None:
    assert warnings(planned, planned.train.tokens) == expected


@pytest.mark.parametrize("model", ["llama_7b", "llama3_8b", "mistral_7b", "qwen3_8b", "llama_13b"])
def test_what_is_shipped_for_pretraining_is_not_warned_of(model: str) -> None:
    assert warnings(shipped(model, "pretrain"), TOKENS) == []


def test_a_short_run_is_not_warned_of() -> None:
    wrong: dict[str, Any] = {"warmup_steps": 0, "clip_grad": 0.0, "lr": 1.0}
    assert warnings(shipped("tiny", "probe", None), None) == []
    assert warnings(changed(B7, **wrong), None) == []  # of 12 steps, 75 M tokens
    assert warnings(changed(B7, **wrong), LONG_TOKENS - 1) == []
    assert len(warnings(changed(B7, **wrong), LONG_TOKENS)) == 4  # and too few tokens
    assert len(warnings(changed(B7, **wrong, steps=160_000), None)) == 3  # its own steps are long


def test_stages_before_count() -> None:
    long = replace(spec(steps=1000, global_batch=1000), model=shape(sequence=1000))
    assert warnings(long, None)
    short = replace(long, train=replace(long.train, steps=10))
    assert warnings(short, None) == []
    later = stage(short, 10**7, 0)
    assert warnings(later, None)
