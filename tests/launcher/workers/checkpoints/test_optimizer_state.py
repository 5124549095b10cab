"""Slices of optimizers; those of megatron and DeepSpeed are tested in test_layouts.py."""

from types import SimpleNamespace

import torch

from launcher.workers.checkpoints.optimizer_state import OptimizerSlice, class_names


def test_adam_that_counts_in_its_groups() -> None:
    """Count steps as Transformer Engine and apex do; torch counts for each tensor."""

    class Fused(torch.optim.Optimizer):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            pass

    master = torch.ones(6)
    for optimizer in (Fused([master], {}), torch.optim.AdamW([master], fused=True)):
        in_optimizer = OptimizerSlice(
            start=2, stop=5, optimizer=optimizer, master=master, offset=1, sharded=True
        )
        in_optimizer.prepare(9)
        assert in_optimizer.steps == 9
        in_optimizer.tensor("exp_avg").fill_(3)
        assert optimizer.state[master]["exp_avg"].tolist() == [0, 3, 3, 3, 0, 0]
        assert ("step" in optimizer.param_groups[0]) is isinstance(optimizer, Fused)


def test_the_classes_that_step_are_named_with_their_library() -> None:
    """A name of a wrapped optimizer shows which library's it is, in each of the engines' shapes."""
    adam = torch.optim.AdamW([torch.ones(1)])
    fused = type("FusedAdam", (torch.optim.Optimizer,), {"__module__": "apex.optimizers.fused"})
    apex = fused([torch.ones(1)], {})
    distributed = type("DistributedOptimizer", (), {})
    dense, experts, empty = (distributed() for _ in range(3))
    dense.optimizer, experts.optimizer, empty.optimizer = apex, apex, None
    chained = SimpleNamespace(chained_optimizers=[dense, experts, empty])
    assert class_names(adam) == "torch.AdamW"
    assert class_names(chained) == "DistributedOptimizer(apex.FusedAdam)"
