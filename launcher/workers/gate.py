"""Whether the update of a step is applied: asked inside DeepSpeed, which clips and steps in one."""

from collections.abc import Callable
from typing import Any


class Gate:
    """Asks before the first torch optimizer of a step, when the gradient norm is known.

    AdamW leaves a parameter without a gradient as it is, its moments and its count of steps too.
    """

    def __init__(self, optimizer: Any) -> None:
        self._ask: Callable[[], bool] | None = None
        self._open = True
        optimizer.register_step_pre_hook(self._before)

    def arm(self, ask: Callable[[], bool]) -> None:
        """``ask`` is called once in the step that follows, by every rank."""
        self._ask, self._open = ask, True

    def passed(self) -> None:
        """The step is over; DeepSpeed drops one of its own accord whose norm is not finite."""
        self._decide()

    def _before(self, optimizer: Any, *_: Any) -> None:
        self._decide()
        if not self._open:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None

    def _decide(self) -> None:
        ask, self._ask = self._ask, None
        if ask is not None:
            self._open = ask()
