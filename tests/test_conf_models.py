"""Every model and cluster in conf/ decodes, and has the sizes its source states."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.decode import decode
from launcher.schedulers.options import SchedulerOptions
from launcher.spec.cluster import Cluster
from launcher.spec.shape import ModelShape

CONF = Path(__file__).parent.parent / "conf"
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
CLUSTERS = sorted(path.stem for path in (CONF / "cluster").glob("*.yaml"))

# name -> parameters, active parameters (None for a dense model), and who says so
PUBLISHED: dict[str, tuple[float, float | None, str]] = {
    "tiny": (1_311_872, None, "this project: counted by hand from the sizes"),
    "tiny_moe": (1_903_744, 1_313_920, "this project: counted by hand from the sizes"),
    "gpt_125m": (124e6, None, "https://github.com/openai/gpt-2: 124M"),
    "llama_1b": (1.10e9, None, "https://huggingface.co/TinyLlama: 1.1B params"),
    "llama_7b": (6.74e9, None, "https://huggingface.co/meta-llama/Llama-2-7b-hf: 6.74B params"),
    "llama_13b": (13.0e9, None, "arXiv:2302.13971 table 2 (same sizes as Llama 2): 13.0B"),
    "llama_70b": (69.0e9, None, "https://huggingface.co/meta-llama/Llama-2-70b-hf: 69B params"),
    "mixtral_8x7b": (46.7e9, 12.9e9, "https://mistral.ai/news/mixtral-of-experts: 46.7B, 12.9B"),
    "tanuki_8b": (
        7.51e9,
        None,
        "https://huggingface.co/team-hatakeyama-phase2/Tanuki-8B-dpo-v1.0-4k-GGUF: 7.51B params",
    ),
    "tanuki_47b": (47.0e9, None, "no dense one is published: the total of Tanuki-8x8B"),
    "tanuki_8x8b": (
        47.0e9,
        13.0e9,
        "https://huggingface.co/weblab-GENIAC/Tanuki-8x8B-dpo-v1.0: about 47B, 13B active",
    ),
    "gpt3_175b": (174.6e9, None, "arXiv:2005.14165 table 2.1, tied and without positions: 174.6B"),
    "internlm_7b": (7.32e9, None, "https://huggingface.co/internlm/internlm-7b: 7.32B params"),
    "llama3_405b": (405.85e9, None, "arXiv:2407.21783: 405B"),
    "llama3_70b": (
        70.55e9,
        None,
        "https://huggingface.co/meta-llama/Meta-Llama-3-70B: 70.6B params",
    ),
    "llama3_8b": (8.03e9, None, "https://huggingface.co/meta-llama/Meta-Llama-3-8B: 8.03B params"),
    "llama_30b": (32.5e9, None, "arXiv:2302.13971 table 2: 32.5B"),
    "llama_65b": (65.2e9, None, "arXiv:2302.13971 table 2: 65.2B"),
    "llama3_2_1b": (1.24e9, None, "https://huggingface.co/meta-llama/Llama-3.2-1B: 1.24B params"),
    "llama3_2_3b": (3.21e9, None, "https://huggingface.co/meta-llama/Llama-3.2-3B: 3.21B params"),
    "mistral_7b": (7.24e9, None, "https://huggingface.co/mistralai/Mistral-7B-v0.1: 7.24B params"),
    "mixtral_8x22b": (
        140.6e9,
        39.0e9,
        "https://mistral.ai/news/mixtral-8x22b: 141B, 39B active",
    ),
    "qwen2_5_7b": (7.61e9, None, "arXiv:2412.15115, and https://huggingface.co/Qwen/Qwen2.5-7B"),
    "qwen2_5_14b": (14.7e9, None, "https://huggingface.co/Qwen/Qwen2.5-14B: 14.7B"),
    "qwen2_5_32b": (32.5e9, None, "https://huggingface.co/Qwen/Qwen2.5-32B: 32.5B"),
    "qwen2_5_72b": (72.7e9, None, "https://huggingface.co/Qwen/Qwen2.5-72B: 72.7B"),
    "qwen3_8b": (8.2e9, None, "https://huggingface.co/Qwen/Qwen3-8B: 8.2B"),
    "qwen3_32b": (32.8e9, None, "https://huggingface.co/Qwen/Qwen3-32B: 32.8B"),
    "qwen3_235b_a22b": (235e9, 22e9, "https://huggingface.co/Qwen/Qwen3-235B-A22B: 235B, 22B"),
    "deepseek_67b": (67e9, None, "arXiv:2401.02954: 67B"),
    "gpt_neox_20b": (20.55e9, None, "arXiv:2204.06745: 20.55B"),
    "bloom_176b": (176.2e9, None, "arXiv:2211.05100: 176,247M"),
    "gpt_oss_120b": (116.8e9, 5.71e9, "model card, table 1: 116.83B; 5.13B and the embedding"),
    "qwen3_30b_a3b": (
        30.5e9,
        3.3e9,
        "https://huggingface.co/Qwen/Qwen3-30B-A3B: 30.5B in total, 3.3B active",
    ),
}


def load(group: str, name: str) -> Any:
    """One file as plain data."""
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_the_published_ones(name: str) -> None:
    model = decode(ModelShape, load("model", name), "model")
    total, active, _ = PUBLISHED[name]
    assert model.name == name
    assert model.params == pytest.approx(total, rel=0.01)
    # Active parameters are published in whole billions: "about 13B".
    assert model.active_params == pytest.approx(active or model.params, rel=0.02)


def test_every_published_figure_has_a_file() -> None:
    assert sorted(PUBLISHED) == MODELS


@pytest.mark.parametrize("name", CLUSTERS)
def test_clusters_decode(name: str) -> None:
    data = load("cluster", name)
    cluster = decode(Cluster, data["cluster"], "cluster")
    assert sorted(data) == ["cluster", "scheduler"]
    options = decode(SchedulerOptions, data["scheduler"], "scheduler")
    assert options.name == ("local" if name == "local" else "slurm")
    assert cluster.name == name
    assert (cluster.accelerator.bf16_tflops is None) == (cluster.accelerator.name == "cpu")
    assert (CONF / "cluster" / f"{name}.yaml").read_text().startswith("# @package _global_\n")
