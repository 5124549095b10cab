"""A staged run whose layout, engine and ranks change at every boundary, against one rank alone.

Modules: launcher.campaign.resume.
"""

from pathlib import Path

from launcher.results.run_folder import RunFolder
from tests.conftest import Launch

STAGES = {
    "a": "layout: {tp: 2, zero: 0}",
    "b": "layout: {pp: 2, zero: 0}",
    "c": "layout: {zero: 1}, global_batch: 16, batch_ramp: {start: 8, increment: 4, samples: 24}",
    "d": "layout: {zero: 3}, backend: deepspeed, sequence: 32, batch_ramp: {start: 4, increment: 4, samples: 12}",
    "e": "gpus_per_node: 1",
}
"""TP 2, PP 2, DP 2 with ZeRO 1 and DeepSpeed ZeRO 3, both while the batch grows, one rank."""

ALONE = {
    "a": "", "b": "",
    "c": "global_batch: 16, batch_ramp: {start: 8, increment: 4, samples: 24}",
    "d": "sequence: 32, batch_ramp: {start: 4, increment: 4, samples: 12}", "e": "",
}  # fmt: skip

LR = "train.optimizer.lr=3e-4"
"""Learning rate of real runs. At ten times that, rounding alone grows to 9e-6 in these 37 steps."""

TOLERANCE = 1e-5


def test_layouts_take_over_at_every_boundary(launch: Launch, tmp_path: Path) -> None:
    losses = {}
    for name, stages, ranks in (("many", STAGES, 2), ("alone", ALONE, 1)):
        written = ", ".join(
            f"{stage}: {{tokens: 3000, blend: {{bundled/prose: {weight}, bundled/code: 1.0}}, {overrides}}}"
            for (stage, overrides), weight in zip(
                stages.items(), (3.0, 1.0, 0.5, 2.0, 1.0), strict=True
            )
        ).replace(", }", "}")
        process = launch(
            f"curriculum={{name: {name}, stages: {{{written}}}}}",
            f"cluster.gpus_per_node={ranks}",
            "checkpoint_every=4",
            "train.global_batch=8",
            "train.untimed_steps=0",
            LR,
        )
        assert process.returncode == 0, process.stderr
        folder = tmp_path / "runs" / name
        runs = [RunFolder(folder / f"{number}-{stage}") for number, stage in enumerate(stages, 1)]
        losses[name] = [(line["step"], line["loss"]) for run in runs for line in run.steps()]
    steps = [step for step, _ in losses["alone"]]
    assert steps == list(range(1, len(steps) + 1))
    assert [step for step, _ in losses["many"]] == steps
    worst = max(abs(a[1] / b[1] - 1) for a, b in zip(losses["many"], losses["alone"], strict=True))
    print(f"largest relative difference of a loss: {worst:.1e}")
    assert worst < TOLERANCE
