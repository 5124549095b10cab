"""Variables of a rank, by its layout and its card, set before torch is imported.

Modules: launcher.workers.process.environment, launcher.workers.process.driver, launcher.nvml.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from launcher.workers.process import driver, environment
from tests.launcher.workers import ranks

HOPPER, BLACKWELL = (9, 0), (10, 0)


@pytest.mark.parametrize(
    ("layout", "capability", "connections"),
    [
        ({}, HOPPER, None),
        ({"tp": 2}, HOPPER, "1"),
        ({"tp": 2, "sequence_parallel": False}, HOPPER, "1"),
        ({"cp": 2}, HOPPER, "1"),
        ({"pp": 2}, HOPPER, None),
        ({"zero": 2}, HOPPER, None),
        ({"zero": 3}, HOPPER, None),
        ({"tp": 2, "zero": 3}, HOPPER, None),
        ({"tp": 2}, None, "1"),
        ({"tp": 2}, (8, 0), "1"),
        ({"tp": 2}, BLACKWELL, None),
        ({"cp": 2}, BLACKWELL, None),
    ],
)
def test_hardware_queues_by_layout(
    layout: dict[str, Any], capability: tuple[int, int] | None, connections: str | None
) -> None:
    spec = ranks.spec(2, cluster__accelerator__name="h100", layout=layout)
    variables = environment.of_rank(spec, {}, capability)
    assert variables.get("CUDA_DEVICE_MAX_CONNECTIONS") == connections
    own = environment.of_rank(spec, {"CUDA_DEVICE_MAX_CONNECTIONS": "8"}, capability)
    assert "CUDA_DEVICE_MAX_CONNECTIONS" not in own


@pytest.mark.parametrize(
    ("accelerator", "given", "variables"),
    [
        ("cpu", {}, {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}),
        ("cpu", {"CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "4", "DS_ACCELERATOR": "cpu"},
         {"CUDA_VISIBLE_DEVICES": ""}),
        ("h100", {"CUDA_VISIBLE_DEVICES": "3"},
         {"DS_ACCELERATOR": "cuda", "OMP_NUM_THREADS": "1", "NCCL_NVLS_ENABLE": "0",
          "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}),
        ("h100", {"NCCL_NVLS_ENABLE": "1", "PYTORCH_ALLOC_CONF": "a:1"},
         {"DS_ACCELERATOR": "cuda", "OMP_NUM_THREADS": "1"}),
    ],
)  # fmt: skip
def test_variables_of_every_run(
    accelerator: str, given: dict[str, str], variables: dict[str, str]
) -> None:
    assert environment.for_import(accelerator, given) == variables


def test_tensor_parallelism_on_the_cpu_asks_for_no_queues() -> None:
    variables = environment.of_rank(ranks.spec(2, layout__tp=2), {}, None)
    assert "CUDA_DEVICE_MAX_CONNECTIONS" not in variables


def test_kernels_are_kept_per_rank_on_the_node() -> None:
    spec = ranks.spec(cluster__accelerator__name="h100")
    given = {"SLURM_TMPDIR": "/scratch/17", "LOCAL_RANK": "3", "TORCHINDUCTOR_CACHE_DIR": "/mine"}
    variables = environment.of_rank(spec, given, HOPPER)
    folder = f"/scratch/17/megalaunch-kernels-{os.getuid()}/rank3"
    assert variables["TRITON_CACHE_DIR"] == f"{folder}/triton"
    assert "TORCHINDUCTOR_CACHE_DIR" not in variables
    elsewhere = environment.of_rank(spec, {"LOCAL_RANK": "0"}, HOPPER)
    folder = f"{tempfile.gettempdir()}/megalaunch-kernels-{os.getuid()}/rank0"
    assert elsewhere["TORCHINDUCTOR_CACHE_DIR"] == f"{folder}/inductor"
    on_cpu = environment.of_rank(ranks.spec(), {}, None)
    assert "TRITON_CACHE_DIR" not in on_cpu


def test_the_variables_of_a_spec_come_before_those_of_the_user() -> None:
    chosen = {"NCCL_NVLS_ENABLE": 1, "PYTORCH_ALLOC_CONF": "max_split_size_mb:64", "MINE": 2}
    spec = ranks.spec(2, cluster__accelerator__name="h100", cluster__environment=chosen)
    given = {"NCCL_NVLS_ENABLE": "0", "NCCL_DEBUG": "INFO", "HOME": "/root", "NCCL_API_KEY": "x"}
    variables = environment.of_rank(spec, given, HOPPER)
    set_here = {"DS_ACCELERATOR": "cuda", "OMP_NUM_THREADS": "1"}
    caches = environment.CACHES.keys()
    assert {name: value for name, value in variables.items() if name not in caches} == {
        **{name: str(value) for name, value in chosen.items()},
        **set_here,
    }
    record = environment.recorded(spec, given | variables)
    assert {name: value for name, value in record.items() if name not in caches} == {
        "MINE": "2",
        "NCCL_DEBUG": "INFO",
        "NCCL_NVLS_ENABLE": "1",
        "PYTORCH_ALLOC_CONF": "max_split_size_mb:64",
    }


@pytest.mark.parametrize("accelerator", ["cpu", "h100"])
def test_determinism_wins_over_what_is_set(accelerator: str) -> None:
    """The values of Megatron-LM's megatron/training/determinism.py."""
    needed = {
        "NCCL_ALGO": "Ring",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "NVTE_ALLOW_NONDETERMINISTIC_ALGO": "0",
    }
    spec = ranks.spec(cluster__accelerator__name=accelerator, train__deterministic=True)
    variables = environment.of_rank(spec, {"NCCL_ALGO": "Tree"}, HOPPER)
    assert {name: variables[name] for name in needed} == needed
    plain = ranks.spec(cluster__accelerator__name=accelerator)
    assert not needed.keys() & environment.of_rank(plain, {}, HOPPER).keys()


def test_a_run_has_its_variables_and_records_them(tmp_path: Path, cache: Path) -> None:
    spec = ranks.spec(train__steps=3, cluster__environment={"NCCL_ALGO": "Ring", "MINE": 2})
    show = "import os; print('MINE is', os.environ['MINE'])"
    ended = ranks.train(spec, tmp_path / "run", cache, patch=show)
    result = ended.folder.result()
    assert result and "MINE is 2\n" in ended.log()
    assert result["environment"].items() >= {"MINE": "2", "NCCL_ALGO": "Ring"}.items()


SPY = """
import os, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" and "torch" not in sys.modules:
            print("torch comes with", os.environ.get("CUDA_DEVICE_MAX_CONNECTIONS"))
sys.meta_path.insert(0, Spy())
from launcher.workers import train
train.main()
"""
"""Program of a rank that prints a variable when torch is imported."""


@pytest.mark.parametrize(
    ("zero", "given", "connections"),
    [(1, {}, "1"), (3, {}, "None"), (1, {"CUDA_DEVICE_MAX_CONNECTIONS": "8"}, "8")],
)
def test_it_is_set_before_torch_is_imported(
    tmp_path: Path, cache: Path, zero: int, given: dict[str, str], connections: str
) -> None:
    spec = ranks.spec(2, cluster__accelerator__name="h100", layout__tp=2, layout__zero=zero)
    ended = ranks.train(spec, tmp_path / "run", cache, program=SPY, env=given, all_ranks=True)
    assert f"torch comes with {connections}\n" in ended.log()
    assert "wants a h100, torch finds 0 cards here" in ended.log(), "there is one: test on it"


@pytest.mark.parametrize(
    ("double", "capability"),
    [({}, (9, 0)), ({"capability": [10, 3]}, (10, 3)), ({"init_fails": True}, None)],
)
def test_the_driver_tells_the_compute_capability(
    monkeypatch: pytest.MonkeyPatch, double: dict[str, Any], capability: tuple[int, int] | None
) -> None:
    class Failure(Exception):
        pass

    class Nvml:
        NVMLError = Failure

        @staticmethod
        def nvmlInit() -> None:
            if double.get("init_fails"):
                raise Failure

        @staticmethod
        def nvmlDeviceGetHandleByIndex(index: int) -> int:
            return index

        @staticmethod
        def nvmlDeviceGetCudaComputeCapability(handle: int) -> list[int]:
            return list(double.get("capability", [9, 0]))

    monkeypatch.setitem(sys.modules, "pynvml", Nvml)
    assert driver.compute_capability() == capability
