"""Gradients that are summed over tensor parallel ranks; the losses are test_parity.py's."""

from types import SimpleNamespace

import pytest
import torch

from launcher.workers.engines import duplicate_sums
from launcher.workers.engines.duplicate_sums import DuplicateSums

GROUP = SimpleNamespace(size=lambda: 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_sum_is_made_once_a_step_in_fp32(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    reduced = []

    def all_reduce(tensor: torch.Tensor, group: object) -> None:
        """Add the same gradient of another rank."""
        assert group is GROUP
        reduced.append(tensor.dtype)
        tensor.mul_(2)

    monkeypatch.setattr(duplicate_sums.dist, "all_reduce", all_reduce)
    norm = torch.nn.Parameter(torch.ones(2, dtype=dtype))
    norm.sequence_parallel = True  # type: ignore[attr-defined]
    matrix = torch.nn.Parameter(torch.ones(2, dtype=dtype))
    sums = DuplicateSums([norm, matrix], GROUP)
    # 256 + 1 is 256 in bf16: added up there, the three of a step would be 256, not 258.
    for gradients in ([256.0, 1.0, 1.0], [2.0, 3.0]):
        norm.grad = matrix.grad = None
        sums.begin(len(gradients))
        for gradient in gradients:
            (gradient * (norm + matrix)).sum().backward()
        assert norm.grad is not None and matrix.grad is not None
        assert norm.grad.tolist() == [2 * sum(gradients)] * 2
        assert norm.grad.dtype == dtype
    assert matrix.grad.tolist() == [5.0] * 2, "each rank has a part of its own"
    assert reduced == [torch.float32] * 2


def test_one_rank_has_nothing_to_sum() -> None:
    norm = torch.nn.Parameter(torch.ones(2))
    norm.sequence_parallel = True  # type: ignore[attr-defined]
    DuplicateSums([norm], SimpleNamespace(size=lambda: 1))
    norm.sum().backward()
    assert norm.grad is not None and norm.grad.tolist() == [1.0] * 2
