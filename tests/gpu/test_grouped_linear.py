"""Torch's grouped product on a card, against one product after the other."""

import pytest
import torch

from launcher.workers.model.grouped_linear import GROUPED, LOOPED, PRODUCTS, GroupedLinear

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch.cuda is not available on this machine"
)

SIZES = [[300, 5, 1000, 77], [0, 400, 0, 2, 0], [0, 0, 0]]
"""Rows of each matrix."""


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values_and_gradients_are_those_of_single_products(sizes: list[int]) -> None:
    """The memory that gradients get is full of other numbers before."""
    torch.manual_seed(1)
    data = torch.randn(sum(sizes), 256), torch.randn(len(sizes), 512, 256)
    ends = torch.tensor(sizes, device="cuda").cumsum(0, dtype=torch.int32)
    results = []
    for product in (GROUPED, LOOPED):
        dirt = torch.full((len(sizes), 512, 256), torch.nan, dtype=torch.bfloat16, device="cuda")
        del dirt
        rows, matrices = (values.to("cuda", torch.bfloat16).requires_grad_() for values in data)
        output = GroupedLinear.apply(rows, matrices, ends, PRODUCTS[product])
        output.square().sum().backward()
        results.append((output, rows.grad, matrices.grad))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(
            ours,
            expected,
            rtol=2e-2,
            atol=2e-2 * float(expected.abs().max() if expected.numel() else 0),
        )
