"""Initial weights: shards of one full matrix, whatever splits it."""

import math

import pytest
import torch

from launcher.workers.model import initial_weights
from tests.launcher.workers import ranks

FC1 = "decoder.layers.1.mlp.linear_fc1.weight"
FC2 = "decoder.layers.1.mlp.linear_fc2.weight"
QKV = "decoder.layers.1.self_attention.linear_qkv.weight"


def filled(
    name: str, shape: tuple[int, ...], shard: initial_weights.Shard, seed: int = 1
) -> torch.Tensor:
    weight = torch.full(shape, math.nan)
    initial_weights.fill(weight, name, ranks.TINY, seed, shard)
    return weight


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(("name", "dim", "pieces"), [(QKV, 0, 1), (FC2, 1, 1), (FC1, 0, 2)])
def test_shards_make_up_the_whole(name: str, dim: int, pieces: int, size: int) -> None:
    split = initial_weights.split_of(name, ranks.TINY)
    assert split == initial_weights.Split(dim, pieces)
    matrix = filled(name, (32, 16), initial_weights.Shard(split))
    shape = (32 // size, 16) if dim == 0 else (32, 16 // size)
    shards = [filled(name, shape, initial_weights.Shard(split, rank, size)) for rank in range(size)]
    parts = [shard.chunk(pieces, dim) for shard in shards]
    joined = torch.cat([part[piece] for piece in range(pieces) for part in parts], dim)
    assert torch.equal(joined, matrix)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = filled(QKV, (32, 16), initial_weights.Shard(None))
    monkeypatch.setattr(initial_weights, "CHUNK_ELEMENTS", 40)  # two rows and a half
    assert torch.equal(filled(QKV, (32, 16), initial_weights.Shard(None)), matrix)


def test_numbers_are_normal() -> None:
    numbers = initial_weights.normal(torch.arange(1 << 20), key=12345)
    assert abs(float(numbers.mean())) < 0.004  # 4 standard errors of 2**20 samples
    assert abs(float(numbers.std()) - 1) < 0.003
    assert abs(float((numbers.abs() < 1).double().mean()) - 0.6827) < 0.002
    pairs = numbers[:-1] * numbers[1:]
    assert abs(float(pairs.mean())) < 0.004
    assert torch.isfinite(numbers).all()


def test_extreme_bits_are_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    for bits in (0, (1 << 52) - 1):
        monkeypatch.setattr(initial_weights, "_shift", lambda *_, bits=bits: torch.tensor(bits))
        assert torch.isfinite(initial_weights.normal(torch.tensor(0), key=0))


def test_seed_and_name_matter() -> None:
    first = filled(QKV, (8, 8), initial_weights.Shard(None))
    assert not torch.equal(first, filled(QKV, (8, 8), initial_weights.Shard(None), seed=2))
    assert not torch.equal(
        first, filled(QKV.replace("1", "2"), (8, 8), initial_weights.Shard(None))
    )


def test_values_stay_what_they_are() -> None:
    """Golden values: a run that is repeated a year from now must start from the same weights."""
    numbers = initial_weights.normal(torch.arange(3), key=42)
    expected = torch.tensor(GOLDEN, dtype=torch.float64)
    assert torch.allclose(numbers, expected, rtol=0, atol=1e-12)


GOLDEN = [0.39537179405719586, 0.6481773613288518, -0.9948262318051995]


def test_residual_outputs_are_smaller() -> None:
    assert initial_weights.deviation(QKV, ranks.TINY) == 0.02
    assert initial_weights.deviation(FC2, ranks.TINY) == pytest.approx(0.02 / math.sqrt(8))


def test_unknown_parameter_is_an_error() -> None:
    with pytest.raises(KeyError, match="linear_q_down_proj"):
        initial_weights.split_of(
            "decoder.layers.0.self_attention.linear_q_down_proj.weight", ranks.TINY
        )
