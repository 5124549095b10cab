"""Updates that the gate holds back; in DeepSpeed's engines by test_spike_guard.py."""

import pytest
import torch

from launcher.workers.engines.update_gate import UpdateGate


@pytest.mark.parametrize("applied", [True, False])
def test_all_of_a_step_is_applied_or_nothing(applied: bool) -> None:
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = torch.optim.AdamW(weights)
    gate, questions = UpdateGate(optimizer), []

    def ask() -> bool:
        questions.append(len(optimizer.state))
        return applied

    for weight in weights:
        weight.grad = torch.full((3,), 0.5)
    gate.arm(ask)
    optimizer.step()
    optimizer.step()  # DeepSpeed steps once for each group: that is one question all the same
    gate.end_step()
    assert questions == [0], "asked once, before the first update"
    assert all(bool((weight == 1).all()) is not applied for weight in weights)
    assert len(optimizer.state) == (2 if applied else 0)
    assert all(weight.grad is not None for weight in weights), "the gradients are back"


def test_a_step_without_an_update_is_asked_for_too() -> None:
    gate, questions = UpdateGate(torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))])), []
    gate.arm(lambda: not questions.append("asked"))
    gate.end_step()
    assert questions == ["asked"]
