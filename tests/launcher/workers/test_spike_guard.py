"""The spike guard in training: spikes that heal are left alone, others are rolled back.

Faults are put into the weights of a real run; the rest is what training makes of them.

Modules: launcher.workers.training_loop.
"""

import json
import math
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from launcher.files import read_json
from launcher.results.run_folder import Status
from launcher.spec.run import RunSpec
from tests.launcher.workers import ranks

GUARD = {
    "window": 16,
    "patience": 15,
    "margin": 10,
    "lr_factor": 0.5,
    "lr_steps": 10,
    "norm_factor": 20.0,  # norms of so small a model vary by themselves
    "skip_factor": 20.0,
}

FAULT = """
    from launcher.workers.engines import megatron as megatron_engine, deepspeed as deepspeed_engine, deepspeed_pipeline
    import torch
    def matrices(engine):
        for named in engine._named:
            matrix = named.parameter
            if matrix.dim() == 2 and "embed" not in named.name:
                yield getattr(matrix, "main_param", matrix)
    def faulty(kind):
        real = kind.step
        def step(self, number, lr, apply):
            scale = {scales}.get(number, 1.0)
            with torch.no_grad():
                for matrix in matrices(self):
                    matrix.mul_(scale)
            def healed(rank_step):
                if {heals} and scale != 1.0:
                    with torch.no_grad():
                        for matrix in matrices(self):
                            matrix.div_(scale)
                return apply(rank_step)
            real(self, number, lr, healed)
        kind.step = step
    for kind in (megatron_engine.MegatronEngine, deepspeed_engine.DeepSpeedEngine,
                 deepspeed_pipeline.PipelineEngine):
        faulty(kind)
"""
"""Multiplies all matrices before some steps; they are what they were after backward, or never."""


def spec(size: int = 1, **changes: Any) -> RunSpec:
    guard = GUARD | changes.pop("guard", {})
    changes = {"train__steps": 90} | changes
    return ranks.spec(size, train__spike_guard=guard, **changes)


def train(run: RunSpec, folder: Path, cache: Path, patch: str = "") -> ranks.Ended:
    return ranks.train(run, folder, cache, every=10, patch=patch)


def events(run: ranks.Ended, *kinds: str) -> list[tuple[str, int]]:
    """Kind and step of the loss's events from step 20 on; before, there are hardly baselines."""
    return [
        (event["kind"], event["step"])
        for event in run.folder.events()
        if event["kind"] in kinds and event["step"] >= 20 and event.get("of") != "grad_norm"
    ]


LAYOUTS = [
    pytest.param(1, {}, id="megatron"),
    pytest.param(2, {"layout__zero": 1}, id="zero 1"),
    pytest.param(2, {"backend": "deepspeed", "layout__zero": 3}, id="deepspeed zero 3"),
    pytest.param(2, {"backend": "deepspeed", "layout__zero": 2}, id="deepspeed zero 2"),
    pytest.param(2, {"backend": "deepspeed", "layout__zero": 0}, id="deepspeed zero 0"),
    pytest.param(2, {"backend": "deepspeed", "layout__pp": 2, "layout__zero": 1}, id="pipeline"),
    pytest.param(
        2, {"backend": "deepspeed", "layout__pp": 2, "layout__zero": 0}, id="pipeline zero 0"
    ),
    pytest.param(
        2, {"backend": "deepspeed", "layout__zero": 2, "layout__offload": True}, id="offload"
    ),
    pytest.param(
        2, {"backend": "deepspeed", "layout__zero": 3, "layout__offload": True}, id="offload 3"
    ),
    pytest.param(2, {"layout__zero": 1, "train__precision": "bf16"}, id="bf16"),
    pytest.param(
        2,
        {"backend": "deepspeed", "layout__zero": 1, "train__precision": "bf16"},
        id="deepspeed bf16",
    ),
]


def test_a_spike_that_heals(tmp_path: Path, cache: Path) -> None:
    """Record it and skip its updates, but roll nothing back."""
    patch = FAULT.format(scales={50: 4.0, 51: 4.0}, heals=True)
    run = train(spec(), tmp_path, cache, patch)
    assert run.codes == [0], run.log()
    assert events(run, "loss_spike", "skip", "recovery", "rollback") == [
        ("loss_spike", 50),
        ("skip", 50),
        ("skip", 51),
        ("recovery", 52),
    ]
    assert [line["action"] for line in run.steps[48:53]] == [None, "skip", "skip", None, None]
    assert [line["step"] for line in run.steps] == list(range(1, 91))


@pytest.mark.parametrize(("size", "layout"), LAYOUTS)
def test_a_skipped_update_changes_nothing(
    size: int, layout: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    """Leave weights, moments and Adam's count of steps as they are, on every engine."""
    patch = """
        from launcher.workers import spike_guard as guard
        from launcher.spikes.ladder import GuardAction
        real = guard.Guard.decide
        def decide(self, step, figures):
            real(self, step, figures)
            return GuardAction(kind="skip" if 3 < step < 6 else "apply", reason="told to")
        guard.Guard.decide = decide
    """
    spec = ranks.spec(size, train__steps=7, train__spike_guard=GUARD, **layout)
    run = ranks.train(spec, tmp_path, cache, every=1, keep=7, patch=patch)
    assert run.codes == [0] * size, run.log()
    three, four, five, six = (hashes(run, step) for step in (3, 4, 5, 6))
    assert three == four == five != six
    assert run.losses[4] != run.losses[5]  # other samples


def hashes(run: ranks.Ended, step: int) -> dict[str, str]:
    files = read_json(run.folder.checkpoints / f"step-{step:08d}" / "manifest.json")["files"]
    return {name: part["sha256"] for name, part in files.items()}


def test_a_spike_that_does_not_heal(tmp_path: Path, cache: Path) -> None:
    """Roll back to before it and pass over its samples: the loss is then what it was."""
    calm = train(spec(), tmp_path / "calm", cache)
    patch = FAULT.format(scales={50: 4.0}, heals=False)
    run = train(spec(guard={"max_skips": 0}), tmp_path / "run", cache, patch)
    assert run.codes == [0], run.log()
    assert events(run, "divergence", "rollback") == [("divergence", 65), ("rollback", 65)]
    rollback = next(e for e in run.folder.events() if e["kind"] == "rollback")
    assert (rollback["to"], rollback["steps_lost"], rollback["tokens_lost"]) == (30, 35, 35 * 256)
    assert [line["step"] for line in run.steps] == list(range(1, 91))
    actions = {line["step"]: line["action"] for line in run.steps}
    assert [step for step, action in actions.items() if action == "skip"] == list(range(40, 66))
    pairs = zip(run.steps, calm.steps, strict=True)
    lowered = [
        line["step"] for line, calm_line in pairs if math.isclose(line["lr"], calm_line["lr"] / 2)
    ]
    assert lowered == list(range(31, 76))
    assert samples(run) == samples(calm)
    assert median(run.losses[65:]) < calm.losses[29] < min(thrown_away(run)[20:])
    assert len(thrown_away(run)) == 35


NAN = FAULT.format(scales={50: "inf"}, heals=False).replace("'inf'", "1e38 ** 2")
"""All matrices are infinite from step 50 on."""
SHORT = spec(train__steps=60)
"""A run that ends soon after that."""


@pytest.fixture(scope="module")
def rolled_back(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> ranks.Ended:
    run = train(SHORT, tmp_path_factory.mktemp("rolled_back"), cache, NAN)
    assert run.codes == [0], run.log()
    return run


@pytest.mark.parametrize("moment", ["give_up", "restart"])
def test_killed_in_a_rollback(
    moment: str, rolled_back: ranks.Ended, tmp_path: Path, cache: Path
) -> None:
    """Kill a rank before the given-up lines are moved, or after all: the rollback is done once."""
    kill = f"""
    import os, signal
    from launcher.workers import metrics_history as history
    from launcher.workers.training_loop import Run
    if os.environ.get("MEGALAUNCH_ATTEMPT") != "2":
        if "{moment}" == "give_up":
            history.give_up = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        else:
            real = Run._roll_back
            def roll_back(self, step, action):
                real(self, step, action)
                os.kill(os.getpid(), signal.SIGKILL)
            Run._roll_back = roll_back
    """
    killed = train(SHORT, tmp_path, cache, NAN + kill)
    assert killed.codes == [-9], killed.log()
    killed.folder.write_status(Status(state="ended"))
    assert killed.folder.next_attempt() == 2
    resumed = ranks.train(
        SHORT, tmp_path, cache, every=10, patch=NAN + kill, env={"MEGALAUNCH_ATTEMPT": "2"}
    )
    assert resumed.codes == [0], resumed.log()
    assert (resumed.losses, samples(resumed)) == (rolled_back.losses, samples(rolled_back))
    for run in (rolled_back, resumed):
        rollbacks = {e["step"]: e["to"] for e in run.folder.events() if e["kind"] == "rollback"}
        assert rollbacks == {50: 30}
        assert read_json(run.folder.path / "guard.json")["to"] is None


def samples(run: ranks.Ended) -> list[str]:
    return [line["samples"] for line in run.steps]


def thrown_away(run: ranks.Ended) -> list[float]:
    lines = (run.folder.path / "rolled_back" / "31-65.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_a_loss_that_is_not_finite(tmp_path: Path, cache: Path) -> None:
    """Roll back at once; the second time the budget is spent, and the run says why it ends."""
    patch = FAULT.format(scales={30: math.inf, 60: math.inf}, heals=False).replace(
        "inf", "1e38 ** 2"
    )
    run = train(spec(guard={"budget": 1}, train__steps=60), tmp_path, cache, patch)
    assert run.codes == [1], run.log()
    assert events(run, "rollback", "stop") == [("rollback", 30), ("stop", 60)]
    assert (
        "DivergedError: step 60: loss nan; all 1 rollbacks of spike_guard.budget are spent"
        in run.log()
    )
    without = ranks.spec(1, train__steps=60)
    run = train(without, tmp_path / "without", cache, patch)
    assert run.codes == [1]
    assert "DivergedError: step 30: loss nan, grad norm nan" in run.log()
    assert run.steps[-1]["loss"] == "nan" and run.steps[-1]["step"] == 30
