"""Engines on a card: the same curves as on the CPU, and running out of memory."""

from pathlib import Path
from typing import Any

import pytest
import torch

from launcher.spec.sampling import Sampling
from tests.launcher.workers import ranks

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch.cuda is not available on this machine"
)

DS = {"backend": "deepspeed"}
CARD = {"cluster__accelerator__name": "the card of this machine"}
ENGINES: list[dict[str, Any]] = [
    {"layout__zero": 0},
    {"layout__zero": 1},
    {"layout__zero": 1, "layout__recompute": "full"},
    {**DS, "layout__zero": 1},
    {**DS, "layout__zero": 2, "layout__offload": True},
    {**DS, "layout__zero": 3},
]
MODELS: list[dict[str, Any]] = [{}, {"model__experts": 4, "train__moe_aux_loss": 0.05}]


def name(changes: dict[str, Any]) -> str:
    """Name of a case, for pytest."""
    return ",".join(f"{key.split('__')[-1]}={value}" for key, value in changes.items()) or "dense"


@pytest.mark.parametrize("model", MODELS, ids=name)
@pytest.mark.parametrize("changes", ENGINES, ids=name)
def test_fp32_losses_are_those_of_the_cpu(
    changes: dict[str, Any], model: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    card = ranks.train(ranks.spec(1, **CARD, **changes, **model), tmp_path / "card", cache)
    host = ranks.train(ranks.spec(1, **changes, **model), tmp_path / "host", cache)
    assert card.codes == host.codes == [0], card.log() + host.log()
    assert max(abs(a - b) for a, b in zip(card.losses, host.losses, strict=True)) < 1e-3
    assert abs(card.losses[0] - host.losses[0]) < 1e-5, "the initial weights differ"
    result = card.folder.result()
    assert result is not None and result["memory_kind"] == "cuda reserved"
    last = card.steps[-1]
    assert 0 < last["mem_allocated_max_gib"] <= last["mem_max_gib"]
    assert last["power_max_w"] is None or 20 < last["power_max_w"] < 1500


@pytest.mark.parametrize("changes", ENGINES, ids=name)
def test_evaluations_are_those_of_the_cpu(
    changes: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    sampling = Sampling(prompts=("The language",), tokens=8, validation_sequences=3)
    options: dict[str, Any] = {"every": 4, "sampling": sampling}
    changes = {"data__held_out": 0.1, "layout__micro_batch": 2} | changes
    card = ranks.train(ranks.spec(1, **CARD, **changes), tmp_path / "card", cache, **options)
    host = ranks.train(ranks.spec(1, **changes), tmp_path / "host", cache, **options)
    assert card.codes == host.codes == [0], card.log() + host.log()
    assert [sampled.step for sampled in card.samples] == [4, 8]
    for of_card, of_host in zip(card.samples, host.samples, strict=True):
        (first,), (second,) = of_card.validation.values(), of_host.validation.values()
        assert first.tokens == second.tokens == 3 * ranks.TINY.sequence
        assert first.loss is not None and second.loss is not None
        assert abs(first.loss - second.loss) < 1e-3
        assert of_card.prompts[0].tokens == 8


@pytest.mark.parametrize("model", MODELS, ids=name)
@pytest.mark.parametrize("changes", ENGINES[1:], ids=name)
def test_bf16_follows_fp32(
    changes: dict[str, Any], model: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    half = ranks.spec(1, train__precision="bf16", **CARD, **changes, **model)
    bf16 = ranks.train(half, tmp_path / "a", cache)
    fp32 = ranks.train(ranks.spec(1, **CARD, **changes, **model), tmp_path / "b", cache)
    assert bf16.codes == fp32.codes == [0], bf16.log() + fp32.log()
    assert max(abs(a - b) for a, b in zip(bf16.losses, fp32.losses, strict=True)) < 0.05


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("changes", ENGINES[1:], ids=name)
def test_a_deterministic_run_has_the_same_bits_twice(
    changes: dict[str, Any], precision: str, tmp_path: Path, cache: Path
) -> None:
    wanted = {"train__deterministic": True, "train__precision": precision}
    spec = ranks.spec(1, **wanted, **CARD, **changes)
    first, second = (ranks.train(spec, tmp_path / name, cache) for name in "ab")
    assert first.codes == second.codes == [0], first.log() + second.log()
    assert first.losses == second.losses


@pytest.mark.parametrize("backend", ["megatron", "deepspeed"])
def test_out_of_memory_says_so(backend: str, tmp_path: Path, cache: Path) -> None:
    spec = ranks.spec(
        1,
        **CARD,
        backend=backend,
        model__hidden=16384,
        model__ffn=65536,
        model__layers=48,
        layout__zero=1,
        train__precision="bf16",
    )
    run = ranks.train(spec, tmp_path, cache)
    assert run.codes == [1]
    assert "CUDA out of memory" in run.log()
    assert run.folder.result() is None
