"""Asking whether to apply an update, from inside DeepSpeed, whose step also clips and updates."""

from collections.abc import Callable
from typing import Any


class UpdateGate:
    """Asks before the torch optimizer first steps, at which time DeepSpeed knows the gradient norm.

    An update is not applied by taking the gradients away: AdamW leaves a parameter without one as
    it is, its moments and its count of steps too. Afterwards the gradients are put back, as with
    offload they are buffers that DeepSpeed allocates only once.
    """

    def __init__(self, optimizer: Any) -> None:
        self._ask: Callable[[], bool] | None = None
        self._open = True
        self._gradients: list[tuple[Any, Any]] = []
        """Parameters and the gradients taken away from them, during an update not applied."""
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def arm(self, ask: Callable[[], bool]) -> None:
        """Have ``ask`` called once in the step that follows, by every rank."""
        self._ask, self._open = ask, True

    def end_step(self) -> None:
        """Ask now if the step made no update: DeepSpeed drops one whose norm is not finite."""
        self._decide()

    def _before(self, optimizer: Any, *_: Any) -> None:
        self._decide()
        if not self._open:
            parameters = [
                parameter for group in optimizer.param_groups for parameter in group["params"]
            ]
            self._gradients = [(parameter, parameter.grad) for parameter in parameters]
            for parameter in parameters:
                parameter.grad = None

    def _after(self, *_: Any) -> None:
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        self._gradients = []

    def _decide(self) -> None:
        ask, self._ask = self._ask, None
        if ask is not None:
            self._open = ask()
