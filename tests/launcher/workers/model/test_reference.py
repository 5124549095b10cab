"""Model, optimizer and schedule of each engine against a Llama written out in plain PyTorch.

Modules: launcher.workers.model.attention, launcher.workers.model.gpt,
launcher.workers.model.weights.
"""

from pathlib import Path

import pytest
import torch

from launcher.spec.optimizer import learning_rate
from launcher.spec.run import RunSpec
from launcher.spec.shape import ModelShape
from launcher.workers.model import initial_weights
from tests.benchmarks.plain import Llama
from tests.launcher.workers import ranks
from tests.launcher.workers.data.test_dataset import samples


@pytest.mark.parametrize("backend", ["megatron", "deepspeed"])
def test_an_engine_trains_a_llama(backend: str, tmp_path: Path, cache: Path) -> None:
    spec = ranks.spec(1, backend=backend, model__head_width=24, train__optimizer__decay="linear")
    run = ranks.train(spec, tmp_path / "run", cache)
    assert run.codes == [0], run.log()
    expected = curve(spec, samples(spec, tmp_path / "samples", cache))
    for step, line in zip(expected, run.steps, strict=True):
        assert abs(step[0] - line["loss"]) < 1e-5
        assert abs(step[1] - line["grad_norm"]) < 1e-4


def curve(spec: RunSpec, served: list[list[int]]) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step."""
    net, settings, size = filled(spec), spec.train.optimizer, spec.train.global_batch
    matrices = [p for p in net.parameters() if p.dim() > 1]
    norms = [p for p in net.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": norms, "weight_decay": 0.0},
        ],
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
    )
    losses_and_norms = []
    for step in range(1, spec.train.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, spec.train.steps)
        batch = torch.tensor(served[(step - 1) * size : step * size])
        loss = net(batch[:, :-1], batch[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip_grad)
        optimizer.step()
        losses_and_norms.append((loss.item(), norm.item()))
    return losses_and_norms


@torch.no_grad()
def filled(spec: RunSpec) -> Llama:
    """Plain model with the weights that every engine starts from."""
    net = Llama(spec.model)
    fill(net.embedding.weight, "embedding.word_embeddings.weight", spec)
    fill(net.head.weight, "output_layer.weight", spec)
    for number, block in enumerate(net.blocks):
        layer = f"decoder.layers.{number}"
        fill(block.qkv.weight, f"{layer}.self_attention.linear_qkv.weight", spec)
        block.qkv.weight.copy_(block.qkv.weight[heads_in_order(spec.model)])
        fill(block.out.weight, f"{layer}.self_attention.linear_proj.weight", spec)
        fill(block.up.weight, f"{layer}.mlp.linear_fc1.weight", spec)
        fill(block.down.weight, f"{layer}.mlp.linear_fc2.weight", spec)
    return net


def fill(weight: torch.Tensor, name: str, spec: RunSpec) -> None:
    initial_weights.fill(weight, name, spec.model, spec.train.seed, initial_weights.Shard(None))


def heads_in_order(model: ModelShape) -> torch.Tensor:
    """Rows of megatron's QKV matrix (per group: its queries, key, value) as all Q, all K, all V."""
    per_group = model.heads // model.kv_heads
    rows = torch.arange((model.heads + 2 * model.kv_heads) * model.head_dim)
    groups = rows.view(model.kv_heads, per_group + 2, model.head_dim)
    query, key, value = groups.split([per_group, 1, 1], dim=1)
    return torch.cat([query.flatten(), key.flatten(), value.flatten()])
