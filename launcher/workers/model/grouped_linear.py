"""Products of many matrices with rows of their own each, as of experts with their tokens."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

Product = Callable[..., Any]
"""``product(a, b, offs=ends)``: of the rows of ``a`` up to each of ``ends`` and a matrix of ``b``
each; or, where ``b`` has two dimensions, of columns of ``a`` and rows of ``b``, a matrix each."""

GROUPED, LOOPED = "grouped_mm", "mm"
ALIGNMENT = 16
"""Bytes of which the rows of matrices have to be a multiple, in torch's grouped product."""
BLACKWELL = 10
"""Compute capability from which its kernel leaves the gradient of a matrix without rows as the
memory was (pytorch/pytorch#172439); on Hopper it is zero."""


def looped_mm(a: Any, b: Any, *, offs: Any) -> Any:
    """Stand in for torch's grouped product: one product after the other, by sizes on the host."""
    ends = offs.tolist()
    groups = list(zip([0, *ends[:-1]], ends, strict=True))
    if b.dim() == 3:
        product = a.new_empty(a.size(0), b.size(2))
        for (start, end), matrix in zip(groups, b, strict=True):
            torch.mm(a[start:end], matrix, out=product[start:end])
        return product
    product = a.new_empty(len(ends), a.size(0), b.size(1))
    for (start, end), matrix in zip(groups, product, strict=True):
        torch.mm(a[:, start:end], b[start:end], out=matrix)
    return product


PRODUCTS: dict[str, Product] = {LOOPED: looped_mm}
if hasattr(F, "grouped_mm"):  # torch 2.10
    PRODUCTS[GROUPED] = F.grouped_mm


def product_name(hidden: int, width: int, element_bytes: int) -> str:
    """Name, in `PRODUCTS`, of the product for experts of these sizes on this rank."""
    aligned = all(size * element_bytes % ALIGNMENT == 0 for size in (hidden, width))
    return GROUPED if aligned and GROUPED in PRODUCTS else LOOPED


class GroupedLinear(torch.autograd.Function):
    """Product of each expert's rows with the transpose of its matrix.

    Like megatron-core's linear layers it saves the parameter itself, not a view of it, which would
    keep what ZeRO-3 gathers for the forward pass.
    """

    @staticmethod
    def forward(ctx: Any, rows: Any, matrices: Any, ends: Any, product: Product) -> Any:
        """Multiply.

        Args:
            ctx: autograd's.
            rows: [tokens, columns], those of the first expert first.
            matrices: [experts, rows of the result, columns].
            ends: [experts], int32: number of the first row after those of each expert. The last is
                that of all rows: of more, torch's kernel would leave the result as the memory was.
            product: one of `PRODUCTS`.
        """
        ctx.save_for_backward(rows, matrices, ends)
        ctx.product = product
        if not rows.size(0):
            return rows.new_empty(0, matrices.size(1))
        return product(rows, matrices.transpose(1, 2), offs=ends)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> tuple[Any, Any, None, None]:
        """Gradients of rows and matrices; zero of a matrix that no row met."""
        rows, matrices, ends = ctx.saved_tensors
        if not rows.size(0):
            return torch.zeros_like(rows), torch.zeros_like(matrices), None, None
        gradient = gradient.contiguous()  # that of a sum has no strides
        of_rows = ctx.product(gradient, matrices, offs=ends)
        of_matrices = ctx.product(gradient.t(), rows, offs=ends)
        if leaves_unmet_matrices(gradient.device):
            unmet = ends.diff(prepend=ends.new_zeros(1)) == 0
            of_matrices.masked_fill_(unmet[:, None, None], 0)
        return of_rows, of_matrices, None, None


def leaves_unmet_matrices(device: Any) -> bool:
    """Return True where the product does not write the gradient of a matrix without rows."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= BLACKWELL
