"""Experts of a rank as stacked matrices, which a grouped product multiplies by the tokens of each.

megatron-core's SequentialMLP reads the number of tokens of each expert on the host, and launches a
product for each; its grouped variants need Transformer Engine or the package grouped_gemm.
"""

from typing import Any

import torch
from megatron.core.fusions.fused_bias_swiglu import weighted_bias_swiglu_impl
from megatron.core.tensor_parallel.random import CheckpointWithoutOutput
from megatron.core.transformer.module import MegatronModule

from launcher.spec.run import RunSpec
from launcher.workers.model.grouped_linear import PRODUCTS, GroupedLinear, product_name
from launcher.workers.model.groups import expert_tensor_parallel


def product_of(spec: RunSpec) -> str | None:
    """Name of the product that a run's experts are computed with; None for a dense model."""
    model = spec.model
    if not model.experts:
        return None
    width = model.ffn // expert_tensor_parallel(spec.layout)
    return product_name(model.hidden, width, 2 if spec.train.precision == "bf16" else 4)


class StackedExperts(MegatronModule):
    """Experts of a rank, with one parameter for the first matrices of all and one for the second.

    It has the interface of megatron-core's experts. Neither adds a bias, and tokens are exchanged
    by the dispatcher alone, also between the ranks that split one expert.
    """

    def __init__(self, num_local_experts: int, config: Any, pg_collection: Any, **_: Any) -> None:
        super().__init__(config)
        self.num_local_experts = num_local_experts
        hidden = config.hidden_size
        width = config.moe_ffn_hidden_size // pg_collection.expt_tp.size()
        pieces = 2 if config.gated_linear_unit else 1  # gate and up
        self.linear_fc1 = self._stack(pieces * width, hidden)
        self.linear_fc2 = self._stack(hidden, width)
        name = product_name(hidden, width, config.params_dtype.itemsize)
        self._product = PRODUCTS[name]
        self._recomputes_activation = (
            config.recompute_granularity == "selective" and "moe_act" in config.recompute_modules
        )

    def _stack(self, rows: int, columns: int) -> Any:
        shape, config = (self.num_local_experts, rows, columns), self.config
        device = torch.cuda.current_device()
        parameter = torch.nn.Parameter(torch.empty(shape, device=device, dtype=config.params_dtype))
        # By this mark both engines know whose gradients to sum over fewer ranks.
        parameter.allreduce = config.expert_model_parallel_size == 1
        return parameter

    def forward(
        self, permuted_local_hidden_states: Any, tokens_per_expert: Any, permuted_probs: Any
    ) -> tuple[Any, None]:
        """Compute each expert's output for its tokens, weighted by the router.

        Args:
            permuted_local_hidden_states: [tokens, hidden], those of the first expert first.
            tokens_per_expert: [experts]; megatron's dispatchers have it on the host.
            permuted_probs: [tokens], weight of each.
        """
        hidden, weights = permuted_local_hidden_states, permuted_probs
        if self.config.moe_apply_probs_on_input:
            hidden = (weights.unsqueeze(-1) * hidden).to(hidden.dtype)
            weights = torch.ones_like(weights)
        ends = tokens_per_expert.cumsum(0, dtype=torch.int32)
        ends = ends.to(hidden.device, non_blocking=True)  # to a card, which nobody waits for
        inner = self._multiply(hidden, self.linear_fc1, ends)
        if not self._recomputes_activation:
            return self._multiply(self._activate(inner, weights), self.linear_fc2, ends), None
        again = CheckpointWithoutOutput()
        activated = again.checkpoint(self._activate, inner, weights)
        output = self._multiply(activated, self.linear_fc2, ends)
        again.discard_output_and_register_recompute(output)
        return output, None

    def _multiply(self, rows: Any, matrices: Any, ends: Any) -> Any:
        return GroupedLinear.apply(rows, matrices, ends, self._product)

    def _activate(self, inner: Any, weights: Any) -> Any:
        """Activation function and the weight of each token, as megatron-core's MLP does it."""
        config, weights = self.config, weights.unsqueeze(-1)
        if config.bias_activation_fusion and config.gated_linear_unit:
            return weighted_bias_swiglu_impl(inner, None, weights)
        if config.gated_linear_unit:
            gate, up = inner.chunk(2, dim=-1)
            activated = config.activation_func(gate) * up
        else:
            activated = config.activation_func(inner)
        return (activated * weights).to(activated.dtype)
