"""Products with a matrix for each group of rows, against one product for each group.

Modules: launcher.workers.model.grouped_linear.
"""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from launcher.workers.model import grouped_linear
from launcher.workers.model.grouped_linear import GROUPED, LOOPED, PRODUCTS, GroupedLinear

SIZES = [[3, 5, 1, 7], [0, 4, 0, 2], [6, 0, 0, 0], [0, 0, 0, 0], [9]]
"""Rows of each matrix."""
COLUMNS, WIDTH = 16, 24
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def ends_of(sizes: list[int]) -> torch.Tensor:
    return torch.tensor(sizes).cumsum(0, dtype=torch.int32)


def leaves(sizes: list[int], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows, and the matrix of each size."""
    torch.manual_seed(1)
    rows = torch.randn(sum(sizes), COLUMNS).to(dtype)
    matrices = torch.randn(len(sizes), WIDTH, COLUMNS).to(dtype)
    return rows.requires_grad_(), matrices.requires_grad_()


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values_and_gradients_are_those_of_single_products(
    sizes: list[int], dtype: torch.dtype, product: str
) -> None:
    rows, matrices = leaves(sizes, dtype)
    result = GroupedLinear.apply(rows, matrices, ends_of(sizes), PRODUCTS[product])
    assert (result.shape, result.dtype) == ((sum(sizes), WIDTH), dtype)
    weights = torch.randn(sum(sizes), WIDTH).to(dtype)
    (result * weights).sum().backward()

    other_rows, other_matrices = leaves(sizes, dtype)
    parts = [part @ matrix.t() for part, matrix in zip(other_rows.split(sizes), other_matrices)]  # noqa: B905 - mypy knows no strict=
    (torch.cat(parts) * weights).sum().backward()
    for ours, expected in (
        (result, torch.cat(parts)),
        (rows.grad, other_rows.grad),
        (matrices.grad, other_matrices.grad),
    ):
        torch.testing.assert_close(ours, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    unmet = [number for number, size in enumerate(sizes) if not size]
    assert matrices.grad is not None and not matrices.grad[unmet].any()


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_gradient_of_a_sum_has_no_strides(product: str) -> None:
    rows, matrices = leaves([2, 3], torch.float32)
    GroupedLinear.apply(rows, matrices, ends_of([2, 3]), PRODUCTS[product]).sum().backward()
    expected = torch.stack([rows[:2].sum(0), rows[2:].sum(0)])[:, None].expand(2, WIDTH, COLUMNS)
    torch.testing.assert_close(matrices.grad, expected.detach())


def test_what_a_kernel_leaves_of_a_matrix_without_rows_is_cleared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On Blackwell the gradient of such a matrix is what was in the memory before."""

    def kernel(a: torch.Tensor, b: torch.Tensor, *, offs: torch.Tensor) -> torch.Tensor:
        product = grouped_linear.looped_mm(a, b, offs=offs)
        if b.dim() == 2:
            product[offs.diff(prepend=offs.new_zeros(1)) == 0] = torch.nan
        return product

    def gradient() -> torch.Tensor:
        rows, matrices = leaves([2, 0, 3], torch.float32)
        GroupedLinear.apply(rows, matrices, ends_of([2, 0, 3]), kernel).sum().backward()
        assert matrices.grad is not None
        return matrices.grad

    assert gradient()[1].isnan().all()
    monkeypatch.setattr(grouped_linear, "leaves_unmet_matrices", lambda device: True)
    assert not gradient()[1].any() and gradient()[[0, 2]].all()


@pytest.mark.parametrize(
    ("capability", "expected"), [((8, 0), False), ((9, 0), False), ((10, 0), True)]
)
def test_cards_that_do_not_write_it(
    capability: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert grouped_linear.leaves_unmet_matrices(torch.device("cuda")) is expected
    assert not grouped_linear.leaves_unmet_matrices(torch.device("cpu"))


class Operations(TorchDispatchMode):
    """Names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("count", [4, 16])
def test_the_number_of_products_does_not_grow(count: int) -> None:
    sizes = [3] * count
    rows, matrices = leaves(sizes, torch.float32)
    with Operations() as operations:
        GroupedLinear.apply(rows, matrices, ends_of(sizes), PRODUCTS[GROUPED]).sum().backward()
    assert operations.names.count("_grouped_mm") == 3
    assert not {"mm", "_local_scalar_dense"} & {*operations.names}


def test_nothing_is_read_on_the_host() -> None:
    """Numbers of a tensor without memory cannot be read, whoever asks."""

    def run(product: str) -> torch.Tensor:
        rows, matrices = (leaf.detach().to("meta") for leaf in leaves([3, 5], torch.bfloat16))
        ends, matrices = ends_of([3, 5]).to("meta"), matrices.requires_grad_()
        GroupedLinear.apply(rows, matrices, ends, PRODUCTS[product]).sum().backward()
        assert matrices.grad is not None
        return matrices.grad

    assert run(GROUPED).shape == (2, WIDTH, COLUMNS)
    with pytest.raises((RuntimeError, NotImplementedError)):
        run(LOOPED)


@pytest.mark.parametrize(
    ("hidden", "width", "element_bytes", "expected"),
    [
        (64, 128, 2, GROUPED),
        (64, 128, 4, GROUPED),
        (64, 12, 4, GROUPED),
        (64, 12, 2, LOOPED),
        (100, 128, 2, LOOPED),
        (102, 128, 4, LOOPED),
    ],
)
def test_rows_have_to_be_aligned(
    hidden: int, width: int, element_bytes: int, expected: str
) -> None:
    assert grouped_linear.product_name(hidden, width, element_bytes) == expected


def test_a_torch_without_it_takes_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(PRODUCTS, GROUPED)
    assert grouped_linear.product_name(64, 128, 2) == LOOPED
