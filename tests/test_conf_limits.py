"""Every model, cluster of cards and train file of conf/: what is planned to run fits its limits."""

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from launcher.campaign import preflight
from launcher.campaign.chooser import Chooser
from launcher.campaign.plan import Plan
from launcher.request.compose import compose
from launcher.request.request import Request
from launcher.results.hanging import hang_seconds
from launcher.spec.batch_ramp import BatchRamp
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from tests.conftest import ROOT

LAYOUTS = [
    ParallelLayout(tp=tp, pp=pp, vpp=vpp, zero=1, micro_batch=micro_batch)
    for (tp, pp, vpp), micro_batch in itertools.product(
        [(1, 1, 1), (8, 1, 1), (8, 2, 1), (8, 4, 2), (4, 8, 1), (8, 16, 1)], [1, 4]
    )
]


def stems(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


@cache
def choice(group: str, name: str) -> Any:
    request = compose([f"{group}={name}", "scheduler.name=slurm"], multirun=False)
    return getattr(request, group)


def sweep_of(models: list[str], cluster: str, nodes: int, train: str) -> Plan:
    """Plan of some layouts of every model, the probe's batch being that of the cluster's ranks."""
    request = compose(
        [
            "sweep=parallelism_grid",
            f"cluster={cluster}",
            f"cluster.nodes={nodes}",
            f"train={train}",
        ],
        multirun=False,
    )
    (base,) = preflight.settled([request.spec])
    specs = [
        replace(base, model=choice("model", model), layout=layout)
        for model in models
        for layout in LAYOUTS
    ]
    return plan_of(request, specs)


def plan_of(request: Request, specs: list[RunSpec]) -> Plan:
    refusal = preflight.refusals(request)
    return Plan(
        request=request,
        points={spec.name: spec for spec in specs},
        refusals={spec.name: reason for spec in specs if (reason := refusal(spec))},
        remarks={},
    ).within_limits()


@pytest.mark.parametrize("nodes", [1, 4, 16])
@pytest.mark.parametrize("train", stems("train"))
@pytest.mark.parametrize("cluster", [name for name in stems("cluster") if "local" not in name])
def test_what_is_planned_to_run_fits_its_limits(cluster: str, train: str, nodes: int) -> None:
    models = stems("model")
    plan = sweep_of(models, cluster, nodes, train)
    assert len(plan.candidates) > len(models)
    too_long = [name for name, reason in plan.refusals.items() if "time_limit" in reason]
    if train == "pretrain":  # of the others a step is short, and the whole of it is run
        assert {plan.points[name].model.name for name in too_long} <= {"llama3_405b"}
    for spec in plan.candidates:
        step = (plan.predictions[spec.name].trial_step_ms or 0) / 1000
        assert 0 < step * spec.train.steps <= plan.request.time_limit, spec
        assert hang_seconds(step) >= max(300, 5 * step)
        assert spec.train.global_batch == plan.request.train.global_batch
        probe = spec.train.probe_micro_batches
        assert probe is None or 2 * spec.layout.pp <= probe < spec.accumulation, spec


def large(tmp_path: Path, *words: str) -> tuple[Request, RunSpec]:
    """A request whose trials would take hours, and the spec of one."""
    request = compose(
        ["sweep=parallelism_grid", "model=llama3_70b", "cluster=h100", "cluster.nodes=4",
         "train=pretrain", f"output={tmp_path}", *words],
        multirun=False,
    )  # fmt: skip
    (base,) = preflight.settled([request.spec])
    return request, replace(base, layout=ParallelLayout(tp=8, pp=4, zero=1))


def changed(spec: RunSpec, **train: Any) -> RunSpec:
    return replace(spec, train=replace(spec.train, **train))


def probes(plan: Plan) -> list[int | None]:
    return [spec.train.probe_micro_batches for spec in plan.points.values()]


def test_a_step_that_somebody_has_said_stays(tmp_path: Path) -> None:
    request, spec = large(tmp_path)
    ramp = BatchRamp(start=768, increment=768, samples=1536)
    plan = plan_of(request, [spec, changed(spec, probe_micro_batches=24),
                             changed(spec, batch_ramp=ramp)])  # fmt: skip
    chosen, said, ramped = probes(plan)
    assert chosen and chosen != 24 and (said, ramped) == (24, None)


def test_what_has_been_started_goes_on_as_it_is(tmp_path: Path) -> None:
    request, spec = large(tmp_path)
    other = changed(spec, seed=7)
    first = plan_of(request, [spec, other])
    chosen = probes(first)[0]
    assert chosen and chosen == probes(first)[1]
    earlier = changed(spec, probe_micro_batches=2 * chosen)  # other constants had chosen it
    first.folder.run(earlier.name).create(earlier)
    first.folder.run(other.name).create(other)  # by a version that always did the whole step
    again = plan_of(request, [spec, other])
    assert probes(again) == [2 * chosen, None]
    assert not again.refusals, "what was started shows by itself how long it takes"
    (tmp_path / "new").mkdir()
    limited = plan_of(replace(request, output=str(tmp_path / "new"), time_limit=1.0), [spec, other])
    assert all("time_limit: 1 s, but 12 steps" in reason for reason in limited.refusals.values())
    assert len(limited.refusals) == 2


def test_rungs_of_halving_are_one_point_whatever_their_micro_batches(tmp_path: Path) -> None:
    request, spec = large(tmp_path, "sweep.strategy=halving", "time_limit=1e6")
    points = [
        changed(replace(spec, layout=replace(spec.layout, micro_batch=size)), steps=steps)
        for steps in (12, 48)
        for size in (1, 2)
    ]
    plan = plan_of(request, points)
    assert len(set(probes(plan))) > 1
    assert Chooser(plan).twins.tolist() in ([0, 1, 0, 1], [1, 0, 1, 0])
