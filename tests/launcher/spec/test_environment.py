"""Variables that a spec gives to ranks: in its identity, and refused where they would break it.

Modules: launcher.spec.environment.
"""

from dataclasses import replace

import pytest

from launcher.decode import encode
from launcher.errors import ConfigError
from launcher.spec.run import RunSpec, decode_spec
from tests.conftest import spec


def with_variables(**environment: str | int) -> RunSpec:
    run = spec()
    return replace(run, cluster=replace(run.cluster, environment=environment))


OURS = "the launcher sets it for each rank; leave it out"
AT_START = "is read when a process starts, before a spec is; export it where you call launch"
SECRET = "looks like a secret, which files would keep; export it where you call launch"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RANK", 1, OURS),
        ("MASTER_ADDR", "a", OURS),
        ("OMP_NUM_THREADS", 4, OURS),
        ("CUDA_VISIBLE_DEVICES", 0, OURS),
        ("MEGALAUNCH_ATTEMPT", 1, OURS),
        ("SLURM_PROCID", 1, OURS),
        ("LD_PRELOAD", "a.so", AT_START),
        ("PYTHONPATH", "a", AT_START),
        ("HF_TOKEN", "a", SECRET),
        ("WANDB_API_KEY", "a", SECRET),
        ("NCCL_ALGO", True, "expected a text or a whole number, got True"),
        ("NCCL_ALGO", "a\0b", "expected a text or a whole number, got 'a\\x00b'"),
    ],
)
def test_refusals(name: str, value: str | int, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        with_variables(**{name: value})
    assert str(refused.value) == f"cluster.environment.{name}: {message}"


def test_a_name_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"cluster\.environment: 'A B' is no name of a variable"):
        with_variables(**{"A B": 1})


def test_they_are_part_of_the_id_and_no_part_of_the_trajectory() -> None:
    run, off = spec(), with_variables(NCCL_NVLS_ENABLE=0)
    assert off.id != with_variables(NCCL_NVLS_ENABLE=1).id != run.id
    assert with_variables().id == run.id, "ids of before stay"
    assert off.trajectory == run.trajectory, "either goes on from the other's checkpoints"
    assert decode_spec(encode(off)) == off and hash(off.cluster) == hash(run.cluster)


def test_a_deterministic_run_needs_its_variables() -> None:
    run = with_variables(NCCL_ALGO="Tree")
    run.check()
    with pytest.raises(ConfigError) as refused:
        replace(run, train=replace(run.train, deterministic=True)).check()
    key = "cluster.environment.NCCL_ALGO"
    assert str(refused.value) == f"{key}: Tree, train.deterministic true needs Ring"
    same = with_variables(NCCL_ALGO="Ring", NVTE_ALLOW_NONDETERMINISTIC_ALGO=0)
    replace(same, train=replace(same.train, deterministic=True)).check()
