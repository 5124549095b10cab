"""Whether the update of a step is applied: asked inside DeepSpeed, which clips and steps in one."""

from collections.abc import Callable
from typing import Any


class Gate:
    """Asks before the first torch optimizer of a step, when the gradient norm is known.

    AdamW leaves a parameter without a gradient as it is, its moments and its count of steps too.
    Afterwards the gradients are back: with offload they are buffers that DeepSpeed made once.
    """

    def __init__(self, optimizer: Any) -> None:
        self._ask: Callable[[], bool] | None = None
        self._open = True
        self._held: list[tuple[Any, Any]] = []
        """Parameters and their gradients, while an update is not applied."""
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def arm(self, ask: Callable[[], bool]) -> None:
        """``ask`` is called once in the step that follows, by every rank."""
        self._ask, self._open = ask, True

    def passed(self) -> None:
        """The step is over; DeepSpeed drops one of its own accord whose norm is not finite."""
        self._decide()

    def _before(self, optimizer: Any, *_: Any) -> None:
        self._decide()
        if not self._open:
            parameters = [one for group in optimizer.param_groups for one in group["params"]]
            self._held = [(one, one.grad) for one in parameters]
            for one in parameters:
                one.grad = None

    def _after(self, *_: Any) -> None:
        for one, gradient in self._held:
            one.grad = gradient
        self._held = []

    def _decide(self) -> None:
        ask, self._ask = self._ask, None
        if ask is not None:
            self._open = ask()
