"""The size of a decoder-only transformer, and what follows from it: parameters and FLOPs.

The FLOPs definition of this project, stated once (docs/flops.md compares it with others):

* *model FLOPs* per token: 6 per active matmul parameter, the LM head included and the input
  embedding (a lookup) not, plus ``6 * layers * sequence * heads * head_dim`` for the attention
  scores and their product with V, halved for causality, forward and backward. Recomputation is
  not counted. MFU = model FLOPs per second / peak.
* *hardware FLOPs* add what activation checkpointing computes again. HFU = hardware / peak.

Source: Megatron-LM ``num_floating_point_operations`` (causal halving since core 0.12), which
counts the same; PaLM (arXiv:2204.02311, appendix B) and torchtitan do not halve attention.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from launcher.decode import Count, Positive, Whole

Recompute = Literal["none", "selective", "full"]
RecomputedModule = Literal["core_attn", "layernorm", "mlp", "moe", "moe_act"]
"""Parts of a layer that megatron-core can compute again by themselves, of those built here."""
CORE_ATTENTION: tuple[RecomputedModule, ...] = ("core_attn",)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """A Llama-like decoder: RMSNorm, RoPE, no biases, dense or mixture of experts."""

    name: str
    """Its name in tables; has no effect on what is built."""
    layers: Count
    """Transformer layers."""
    hidden: Count
    """Width of the residual stream."""
    ffn: Count
    """Inner width of the feed-forward block; of each expert's, where there are experts."""
    heads: Count
    """Query heads."""
    kv_heads: Count
    """Key and value heads (GQA); equal to heads for multi-head attention."""
    vocab: Count
    """Token ids the model knows, before padding."""
    sequence: Count
    """Tokens per training sample."""
    head_width: Count | None = None
    """Width of one head; hidden / heads where not given."""
    experts: Whole = 0
    """Experts per layer; 0 is a dense model."""
    top_k: Count = 2
    """Experts each token visits; of no meaning for a dense model."""
    gated: bool = True
    """SwiGLU (three matrices); false is GELU (two)."""
    tied: bool = False
    """The LM head shares the input embedding's weights."""
    vocab_multiple: Count = 128
    """The vocabulary is padded to a multiple of this, whatever TP is (so TP cannot change
    the mathematics: NVIDIA/Megatron-LM#1754)."""
    rope_theta: Positive = 10000.0
    """Base of the rotary position embedding."""
    norm_eps: Positive = 1e-5
    """Epsilon of RMSNorm."""

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.head_width or self.hidden // self.heads

    @property
    def padded_vocab(self) -> int:
        """Rows of the embedding that is built."""
        return -(-self.vocab // self.vocab_multiple) * self.vocab_multiple

    @property
    def attention_params(self) -> int:
        """Matmul parameters of one attention block: Q, K, V and the output projection."""
        return 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)

    @property
    def expert_params(self) -> int:
        """Matmul parameters of one feed-forward block (one expert's, where there are experts)."""
        return (3 if self.gated else 2) * self.hidden * self.ffn

    @property
    def router_params(self) -> int:
        """Matmul parameters of one router."""
        return self.hidden * self.experts

    @property
    def embedding_params(self) -> int:
        """Parameters of one embedding matrix, padding included."""
        return self.padded_vocab * self.hidden

    @property
    def params(self) -> int:
        """Every parameter that is built, vocabulary padding included."""
        feed_forward = self.router_params + max(self.experts, 1) * self.expert_params
        per_layer = self.attention_params + feed_forward + 2 * self.hidden  # two norms
        embeddings = self.embedding_params * (1 if self.tied else 2)
        return self.layers * per_layer + embeddings + self.hidden  # the final norm

    @property
    def active_params(self) -> int:
        """Parameters one token meets; equal to `params` for a dense model."""
        idle = max(self.experts - self.top_k, 0)
        return self.params - self.layers * idle * self.expert_params

    @property
    def layer_matmul_params(self) -> int:
        """Matmul parameters of one layer that one token meets."""
        visits = min(self.top_k, self.experts) if self.experts else 1
        return self.attention_params + self.router_params + visits * self.expert_params

    @property
    def flops_per_token(self) -> int:
        """Model FLOPs per token, forward and backward (definition: the module's docstring)."""
        matmul = self.layers * self.layer_matmul_params + self.embedding_params
        return 6 * matmul + 3 * self.layers * self._attention_flops

    def hardware_flops_per_token(
        self,
        recompute: Recompute,
        modules: Collection[RecomputedModule] = CORE_ATTENTION,
        layers: int | None = None,
    ) -> int:
        """Model FLOPs plus those that activation checkpointing computes a second time.

        Args:
            recompute: kind of activation checkpointing.
            modules: those of every layer that selective checkpointing repeats.
            layers: those that full checkpointing repeats; None is all of them.
        """
        feed_forward = 2 * (self.layer_matmul_params - self.attention_params)
        of_module = {
            "core_attn": self._attention_flops,
            "layernorm": 0,  # no matrix product
            "mlp": feed_forward,
            "moe": feed_forward,
            "moe_act": 0,
        }
        forward = 2 * self.layer_matmul_params + self._attention_flops
        recomputed = {
            "none": 0,
            "selective": self.layers * sum(of_module[module] for module in modules),
            "full": (self.layers if layers is None else layers) * forward,
        }
        return self.flops_per_token + recomputed[recompute]

    @property
    def _attention_flops(self) -> int:
        """Forward FLOPs per token and layer of QK^T and its product with V, causal."""
        return 2 * self.sequence * self.heads * self.head_dim
