"""Optimizers of Transformer Engine: their names, arguments and state, and torch's arithmetic."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch


class FusedAdam(torch.optim.Optimizer):
    """AdamW that counts its steps in its groups, as the real one, and not beside each moment."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **_: Any,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            group["step"] = group.get("step", 0) + 1
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Any, group: dict[str, Any]) -> None:
        state, (beta1, beta2), step = self.state[parameter], group["betas"], group["step"]
        for moment in ("exp_avg", "exp_avg_sq"):
            if moment not in state:
                state[moment] = torch.zeros_like(parameter, dtype=torch.float32)
        gradient = parameter.grad.float()
        state["exp_avg"].lerp_(gradient, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = (state["exp_avg_sq"] / (1 - beta2**step)).sqrt_().add_(group["eps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.addcdiv_(state["exp_avg"], root, value=-group["lr"] / (1 - beta1**step))


class FusedSGD(torch.optim.SGD):
    """SGD by the name that megatron-core imports it by."""


def multi_tensor_applier(
    function: Callable[..., Any], overflow: Any, tensors: Sequence[Sequence[Any]], *options: Any
) -> Any:
    """Call a function on all tensors at once."""
    return function(2**16, overflow, tensors, *options)


def multi_tensor_l2norm(
    chunk_size: int, overflow: Any, tensors: Sequence[Sequence[Any]], per_tensor: bool
) -> tuple[Any, None]:
    """Norm of all tensors together."""
    norms = [torch.linalg.vector_norm(tensor.float()) for tensor in tensors[0]]
    return torch.linalg.vector_norm(torch.stack(norms)).reshape(1), None


def multi_tensor_scale(
    chunk_size: int, overflow: Any, tensors: Sequence[Sequence[Any]], scale: float
) -> None:
    """Fill the second list with the first one, scaled."""
    for source, target in zip(*tensors, strict=True):
        target.copy_(source * scale)
