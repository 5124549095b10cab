"""Layouts that a framework cannot run, or runs silently wrong, are refused with the reason.

Modules: launcher.backends, launcher.backends.megatron, launcher.backends.deepspeed,
launcher.backends.worker_command.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.backends import BACKENDS, check
from launcher.backends.worker_command import Execution
from launcher.decode import decode
from launcher.errors import LayoutError
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from launcher.spec.sampling import Sampling
from tests.conftest import shape, spec

DENSE, TIED, MOE = shape(), shape(tied=True), shape(experts=4)
DS = "deepspeed"


def small(backend: str, layout: ParallelLayout, model: object = DENSE, **train: object) -> RunSpec:
    return replace(spec(layout, gpus=4, backend=backend, **train), model=model)  # type: ignore[arg-type]


REFUSED = [
    (small("megatron", ParallelLayout(zero=2)),
     "zero 2 needs backend deepspeed: megatron-core's distributed optimizer is zero 1"),
    (small("megatron", ParallelLayout(offload=True)),
     "offload true needs backend deepspeed, backend is megatron"),
    (small("megatron", ParallelLayout(pp=2, vpp=2, overlap_p2p=False)),
     "vpp 2 with pp 2 needs overlap_p2p true: batched sends and receives between the same two"
     " stages get mixed up, and the loss is silently wrong"),
    (small("megatron", ParallelLayout(tp=2, sequence_parallel=False), MOE),
     "tp 2 with experts 4 needs sequence_parallel true"),
    (small(DS, ParallelLayout(pp=2, vpp=2)),
     "vpp 2 needs backend megatron: DeepSpeed's pipeline has no interleaved schedule"),
    (small(DS, ParallelLayout(pp=2, cp=2)),
     "cp 2 with pp 2 needs backend megatron: DeepSpeed's pipeline has no context parallel axis"),
    (small(DS, ParallelLayout(pp=2), TIED),
     "pp 2 with model.tied true needs backend megatron: DeepSpeed's pipeline would train the LM"
     " head as weights of its own"),
    (small(DS, ParallelLayout(pp=2, zero=2)),
     "zero 2 with pp 2: DeepSpeed's pipeline needs zero <= 1"),
    (small(DS, ParallelLayout(pp=2, pipeline="E|t*4L")),
     "pipeline 'E|t*4L' with zero 1 needs backend megatron: DeepSpeed hangs where a stage has the"
     " embedding alone, and no norm; zero 0 is right"),
    (small(DS, ParallelLayout(zero=0, offload=True)), "offload true needs zero >= 1, zero 0"),
    (small(DS, ParallelLayout(ep=2, zero=0), MOE),
     "ep 2 with zero 0: DeepSpeed clips by a norm that differs between ranks, which is silently"
     " wrong; zero 1 and 2 are right"),
    (small(DS, ParallelLayout(ep=2, zero=3), MOE),
     "ep 2 with zero 3: DeepSpeed has experts at zero 1 and 2"),
    (small(DS, ParallelLayout(ep=2, pp=2), MOE), "ep 2 with pp 2 needs backend megatron"),
    (small(DS, ParallelLayout(zero=0), precision="bf16"),
     "zero 0 with precision bf16: DeepSpeed's FP16_UnfusedOptimizer takes one step on empty"
     " gradients first, which is silently wrong"),
    (small(DS, ParallelLayout(tp=2, sequence_parallel=False), MOE),
     "tp 2 with experts 4 needs sequence_parallel true"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"), REFUSED, ids=[f"{r[0].backend} {r[1][:30]}" for r in REFUSED]
)
def test_refused(wrong: RunSpec, message: str) -> None:
    with pytest.raises(LayoutError) as caught:
        check(wrong)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "right",
    [
        small("megatron", ParallelLayout(pp=2, vpp=2)),
        small("megatron", ParallelLayout(pp=4, vpp=1, overlap_p2p=False)),
        small("megatron", ParallelLayout(tp=2, ep=2), MOE),
        small("megatron", ParallelLayout(pp=2), TIED),
        small(DS, ParallelLayout(zero=3, cp=2)),
        small(DS, ParallelLayout(zero=3, offload=True)),
        small(DS, ParallelLayout(zero=2, ep=2), MOE),
        small(DS, ParallelLayout(zero=0, pp=2), precision="bf16"),
        small(DS, ParallelLayout(zero=1, pp=2), MOE),
    ],
)
def test_accepted(right: RunSpec) -> None:
    check(right)


def test_a_rank_is_told_what_to_sample() -> None:
    execution = Execution(cache=Path("cache"), hang_after=1.0)
    assert "--sampling" not in BACKENDS["megatron"].command(Path("run"), execution)
    sampling = Sampling(prompts=('a "b"\n', "日本"), script="japanese")
    *_, option, word = BACKENDS["megatron"].command(
        Path("run"), replace(execution, sampling=sampling)
    )
    assert (option, word.isascii()) == ("--sampling", True)
    assert decode(Sampling, json.loads(word)) == sampling
