"""Every model, cluster of cards and train file of conf/: what is planned to run fits its limits."""

import itertools
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from launcher.campaign import preflight
from launcher.campaign.plan import Plan
from launcher.request.compose import compose
from launcher.request.request import Request
from launcher.results.hanging import hang_seconds
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
