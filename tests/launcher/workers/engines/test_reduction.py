"""Collectives of a step, counted: each engine at each stage of ZeRO sends what the ideal sends.

Modules: launcher.workers.engines.deepspeed_setup, launcher.workers.engines.megatron.
"""

from pathlib import Path

import pytest

from launcher.spec.run import RunSpec
from tests.launcher.workers import ranks
from tests.launcher.workers.engines import collectives

KINDS = {
    ("megatron", 0): "all-reduce",
    ("megatron", 1): "reduce-scatter",
    ("deepspeed", 0): "all-reduce",
    ("deepspeed", 1): "reduce",
    ("deepspeed", 2): "reduce",
    ("deepspeed", 3): "reduce-scatter",
}
"""Collective that an engine reduces gradients by."""


def name(spec: RunSpec) -> str:
    """Name of a case, for pytest."""
    return f"{spec.backend}-zero{spec.layout.zero}-{spec.train.reduces_in}"


@pytest.mark.parametrize("spec", collectives.specs(dp=2), ids=name)
def test_a_step_sends_what_the_stage_of_zero_needs(
    spec: RunSpec, tmp_path: Path, cache: Path
) -> None:
    counted = collectives.count(spec, tmp_path, cache)
    gradients, weights = counted.of("gradients"), counted.of("weights")
    expected = (KINDS[spec.backend, spec.layout.zero], spec.train.reduces_in)
    assert [(row.kind, row.dtype) for row in gradients] == [expected]
    assert counted.ratio("gradients") == pytest.approx(1, abs=0.01)
    if spec.layout.zero == 0:
        assert not weights
    else:
        assert [row.dtype for row in weights] == ["bf16"]
        assert counted.ratio("weights") == pytest.approx(1, abs=0.01)


def test_zero_1_of_a_pipeline_reduces_to_the_owner_too(tmp_path: Path, cache: Path) -> None:
    spec = ranks.spec(
        4,
        backend="deepspeed",
        layout__zero=1,
        layout__pp=2,
        train__precision="bf16",
        train__steps=collectives.COUNTED_STEP,
    )
    counted = collectives.count(spec, tmp_path, cache)
    kinds = {(row.kind, row.dtype) for row in counted.of("gradients")}
    assert kinds == {("reduce", "fp32")}
