"""A Llama like ours in plain PyTorch: torch.compile, bf16 autocast, fused AdamW.

What somebody writes who has one card and no framework; `mfu.py` compares with it.

    python tests/benchmarks/plain.py SPEC.json      prints milliseconds of each step
"""

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from launcher.decode import decode
from launcher.files import read_json
from launcher.spec.run import RunSpec
from launcher.spec.shape import ModelShape


class Block(nn.Module):
    """Attention and SwiGLU, each after a norm."""

    def __init__(self, model: ModelShape) -> None:
        super().__init__()
        self.model, width = model, model.head_dim
        self.norm1 = nn.RMSNorm(model.hidden, eps=model.norm_eps)
        self.norm2 = nn.RMSNorm(model.hidden, eps=model.norm_eps)
        self.qkv = nn.Linear(model.hidden, (model.heads + 2 * model.kv_heads) * width, bias=False)
        self.out = nn.Linear(model.heads * width, model.hidden, bias=False)
        self.up = nn.Linear(model.hidden, 2 * model.ffn, bias=False)
        self.down = nn.Linear(model.ffn, model.hidden, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """[batch, sequence, hidden]."""
        x = x + self.attention(self.norm1(x), cos, sin)
        gate, up = self.up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)

    def attention(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Causal, with grouped queries."""
        heads, kv, width = self.model.heads, self.model.kv_heads, self.model.head_dim
        shape = (*x.shape[:2], heads + 2 * kv, width)
        q, k, v = self.qkv(x).view(shape).transpose(1, 2).split([heads, kv, kv], 1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv)
        return self.out(y.transpose(1, 2).flatten(2))


class Llama(nn.Module):
    """Tokens and labels to the mean loss."""

    def __init__(self, model: ModelShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(model.padded_vocab, model.hidden)
        self.blocks = nn.ModuleList(Block(model) for _ in range(model.layers))
        self.norm = nn.RMSNorm(model.hidden, eps=model.norm_eps)
        self.head = nn.Linear(model.hidden, model.padded_vocab, bias=False)
        powers = torch.arange(0, model.head_dim, 2) / model.head_dim
        angles = torch.outer(torch.arange(model.sequence), model.rope_theta**-powers)
        self.register_buffer("cos", torch.cat([angles, angles], -1).cos())
        self.register_buffer("sin", torch.cat([angles, angles], -1).sin())

    def forward(self, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = self.head(self.norm(x)).float()
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding."""
    a, b = x.chunk(2, -1)
    return (x * cos + torch.cat([-b, a], -1) * sin).to(x.dtype)


def main() -> None:
    """Train on random tokens (so that reading data costs nothing) and print the times."""
    spec = decode(RunSpec, read_json(Path(sys.argv[1])))
    model, cuda = spec.model, torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    net = Llama(model).to(device)
    compiled = torch.compile(net, backend="inductor" if cuda else "eager")
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    shape = (spec.layout.micro_batch, model.sequence + 1)
    for _ in range(spec.train.steps):
        began = time.perf_counter()
        for _ in range(spec.accumulation):
            tokens = torch.randint(model.vocab, shape, device=device)
            with torch.autocast(device, torch.bfloat16):
                loss = compiled(tokens[:, :-1], tokens[:, 1:])
            (loss / spec.accumulation).backward()
        nn.utils.clip_grad_norm_(net.parameters(), spec.train.optimizer.clip_grad)
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())  # waits for the card
        print((time.perf_counter() - began) * 1000, flush=True)


if __name__ == "__main__":
    main()
