"""Core attention on torch's scaled_dot_product_attention, and a norm for sequence parallelism."""

from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import parallel_state
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from megatron.core.transformer.module import MegatronModule


class RMSNorm(torch.nn.RMSNorm):
    """torch's RMSNorm, usable under sequence parallelism (WrappedTorchNorm refuses it)."""

    def __init__(self, config: Any, hidden_size: int, eps: float = 1e-5, **_: Any) -> None:
        device, dtype = torch.cuda.current_device(), config.params_dtype
        super().__init__(hidden_size, eps=eps, device=device, dtype=dtype)
        # Each TP rank sees a part of the sequence: megatron sums such gradients over TP.
        self.weight.sequence_parallel = config.sequence_parallel


class CausalAttention(MegatronModule):
    """Causal attention, with grouped queries and context parallelism.

    Under context parallelism each rank holds two pieces of the sequence, number r and number
    2 cp - 1 - r of 2 cp, so that causal work is balanced. Keys and values are gathered over
    the group; the gradient comes back by a reduce-scatter.
    """

    def __init__(
        self,
        config: Any,
        layer_number: int,
        attn_mask_type: Any,
        attention_type: str,
        pg_collection: Any = None,
        **_: Any,
    ) -> None:
        super().__init__(config)
        if pg_collection is not None and hasattr(pg_collection, "cp"):
            self.group = pg_collection.cp
        else:
            self.group = parallel_state.get_context_parallel_group()

    def forward(
        self, query: Any, key: Any, value: Any, attention_mask: Any = None, **_: Any
    ) -> Any:
        """Attend; all tensors are [sequence / cp, batch, heads, head_dim].

        Returns [sequence / cp, batch, heads x head_dim].
        """
        if self.config.context_parallel_size == 1:
            attended = _attend(query, key, value)
        else:
            attended = self._attend_pieces(query, key, value)
        return attended.reshape(attended.size(0), attended.size(1), -1)

    def _attend_pieces(self, query: Any, key: Any, value: Any) -> Any:
        # The queries are pieces r and 2 cp - 1 - r: each sees the keys up to its own end.
        size, rank, piece = self.group.size(), self.group.rank(), query.size(0) // 2
        key, value = (self._gather(tensor, size, piece) for tensor in (key, value))
        first, second = query.split(piece)
        first_keys, second_keys = (rank + 1) * piece, (2 * size - rank) * piece
        return torch.cat(
            [
                _attend(first, key[:first_keys], value[:first_keys]),
                _attend(second, key[:second_keys], value[:second_keys]),
            ]
        )

    def _gather(self, tensor: Any, size: int, piece: int) -> Any:
        """Gather the keys or values of the full sequence, in the order of their positions."""
        gathered = gather_from_sequence_parallel_region(tensor.contiguous(), group=self.group)
        pieces = gathered.split(piece)
        early = [pieces[2 * rank] for rank in range(size)]
        late = [pieces[2 * rank + 1] for rank in reversed(range(size))]
        return torch.cat(early + late)


def _attend(query: Any, key: Any, value: Any) -> Any:
    """Causal attention of the last ``query.size(0)`` positions of ``key``; [s, b, h, d]."""
    mask = None
    if query.size(0) != key.size(0):
        from torch.nn.attention.bias import causal_lower_right

        # is_causal would align the mask to the upper left; the flash kernels know this one too.
        mask = causal_lower_right(query.size(0), key.size(0))
    grouped = query.size(2) != key.size(2)
    if grouped and _needs_a_head_each(query):
        heads = query.size(2) // key.size(2)
        key, value = (tensor.repeat_interleave(heads, dim=2) for tensor in (key, value))
        grouped = False
    query, key, value = (tensor.permute(1, 2, 0, 3) for tensor in (query, key, value))
    attended = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped
    )
    return attended.permute(2, 0, 1, 3)


def _needs_a_head_each(query: Any) -> bool:
    """True in fp32 on a card: flash attention is for half precision, and the other kernel that
    keeps no scores in memory has no grouped queries. torch would write all scores."""
    return bool(query.is_cuda and query.dtype == torch.float32)
