"""Attention of cards in fp32, forced here: grouped keys and values are repeated for each head.

Modules: launcher.workers.model.attention
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from launcher.workers.model import attention


def _attend(keys: int) -> list[torch.Tensor]:
    """Attend with 8 heads on 2 groups; return what comes of it, and all gradients."""
    generator = torch.Generator().manual_seed(1)
    tensors = [
        torch.randn(rows, 2, heads, 16, generator=generator, requires_grad=True)
        for rows, heads in ((6, 8), (keys, 2), (keys, 2))
    ]
    attended = attention._attend(*tensors)
    attended.square().sum().backward()
    return [attended.detach(), *(tensor.grad for tensor in tensors if tensor.grad is not None)]


@pytest.mark.parametrize("keys", [6, 12])
def test_repeated_groups_are_the_same_attention(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grouped = _attend(keys)
    monkeypatch.setattr(attention, "_needs_a_head_each", lambda query: True)
    repeated = _attend(keys)
    assert len(repeated) == len(grouped) == 4
    for one, other in zip(repeated, grouped, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_each_head_has_keys_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    attend = F.scaled_dot_product_attention

    def recorded(*tensors: torch.Tensor, **options: Any) -> torch.Tensor:
        calls.append({"heads": [tensor.size(1) for tensor in tensors], **options})
        return attend(*tensors, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", recorded)
    monkeypatch.setattr(attention, "_needs_a_head_each", lambda query: True)
    _attend(6)
    assert calls[0]["heads"] == [8, 8, 8] and not calls[0]["enable_gqa"]


@pytest.mark.parametrize(
    ("device", "dtype", "expected"),
    [("cuda", torch.float32, True), ("cuda", torch.bfloat16, False), ("cpu", torch.float32, False)],
)
def test_only_fp32_on_cards_needs_it(device: str, dtype: torch.dtype, expected: bool) -> None:
    class Query:
        is_cuda = device == "cuda"

    query = Query()
    query.dtype = dtype  # type: ignore[attr-defined]
    assert attention._needs_a_head_each(query) is expected
