"""Which model and which machine of ours a sheet means by a name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from launcher.sheets.spelling import bare
from launcher.spec.cluster import Cluster
from launcher.spec.shape import ModelShape

SAME: Mapping[str, str] = {
    "llama33b": "llama30b", "gpt175b": "gpt3175b", "bloom": "bloom176b",
    "qwen27b": "qwen257b", "qwen272b": "qwen2572b", "deepseekllm67b": "deepseek67b",
    "tinyllama11b": "llama1b",
}  # fmt: skip
"""Other names of models, as letters and digits."""

LIKE: Mapping[str, str] = {"gb200": "b200", "b300": "b200", "gb300": "b200"}
"""Hardware of which there is no cluster, and what is nearer to it than an H100."""

LARGEST_GB = 300
"""More than any card has: of a node, or of its CPU, as in "GH200 480GB"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What a sheet's hardware is taken for."""

    cluster: Cluster
    memory_gb: float | None
    """That of the card where it is another than the cluster's; as sold, in GB."""
    cards: float | None
    """8 of "8xA100"."""
    assumed: str | None
    """What it was taken for, if it is not known."""


def model(name: str, models: Mapping[str, ModelShape]) -> ModelShape | None:
    """The model that a name means: ``LLAMA3.1_70B``, ``meta-llama/Llama-2-7b-hf``, ``GPT-175B``.

    Args:
        name: what the sheet says.
        models: by their names as letters and digits.
    """
    plain = re.sub(r"\(.*?\)|\[.*?\]", " ", name.lower())
    plain = re.sub(r"(llama[\W_]*3)[._][013](?=[\W_])", r"\1", plain)
    plain = re.sub(r"llama[\W_]*[12](?=[\s_-]+\d)", "llama", plain)
    words = re.findall(r"[a-z0-9]+", plain)
    spans = sorted(
        ((i, j) for i in range(len(words)) for j in range(i + 1, len(words) + 1)),
        key=lambda span: span[0] - span[1],
    )
    for i, j in spans:
        joined = "".join(words[i:j])
        found = models.get(SAME.get(joined, joined))
        if found and (j - i == len(words) or re.search(r"\d", joined)):
            return found
    return None


def by_bare_name(models: Mapping[str, ModelShape]) -> dict[str, ModelShape]:
    """Models by their names as letters and digits."""
    return {bare(name): shape for name, shape in models.items()}


def billions(name: str) -> float | None:
    """Parameters that a name tells, in billions: 13 of ``our 13B``, 0.35 of ``GPT-350m``."""
    found = re.search(r"(\d+(?:[.,]\d+)?)\s*([bm])(?![a-z])", name.lower())
    return float(found[1].replace(",", ".")) / (1000 if found[2] == "m" else 1) if found else None


def sounds_like_experts(name: str) -> bool:
    """Whether a model of that name has experts: ``8x7B``, ``30B-A3B``, ``DeepSeek-V3``."""
    return bool(re.search(r"\d+x\d|-?a\d+(\.\d+)?b|moe|deepseek[\W_]*[vr]\d", name.lower()))


def guess(
    params_b: float | None, layers: float | None = None, hidden: float | None = None
) -> tuple[float, float]:
    """Layers L and hidden h of a GPT: 12 L h^2 parameters, and h = 128 L where one of them or the
    parameters are not known."""
    params = 1e9 * (params_b or 0)
    if layers:
        exact = (params / (12 * layers)) ** 0.5 or 128 * layers
        return layers, max(round(exact / 128), 1) * 128.0
    if hidden:
        return max(float(round(params / (12 * hidden**2) or hidden / 128)), 1.0), hidden
    layers = max(float(round((params / (12 * 128**2)) ** (1 / 3))), 1.0)
    return layers, 128 * layers


def machine(said: str, clusters: Mapping[str, Cluster]) -> Machine:
    """The cluster whose accelerator a sheet means: ``A100-40GB``, ``NVIDIA H100 80GB HBM3``."""
    before = re.match(r"\s*(?:(\d+)\s*[x*\u00d7]\s*)*", said.lower())
    text = said.lower()[before.end() if before else 0 :]
    count = (before and before[1]) or "".join(
        re.findall(r"(?:gb|[\d\s])[x*\u00d7]\s*(\d+)\s*$", text)
    )
    words = [bare(word) for word in re.findall(r"[a-z]+[ -]?\d+", text)]
    other = "pcie" in text or ("h100" in words and "nvl" in text)
    sizes = [float(size) for size in re.findall(r"(\d+(?:\.\d+)?)\s*gi?b?\b", text)]
    size = next(
        (size for size in sizes if size < LARGEST_GB), 94.0 if "nvl" in text and other else 0
    )
    names = [*(f"{word}_{size:g}gb" for word in words), *words]
    name = next((name for name in names if name in clusters), None)
    like = next((LIKE[word] for word in words if LIKE.get(word) in clusters), "h100")
    cluster = clusters[name or like]
    usual = re.search(r"(\d+)GB", cluster.accelerator.name)
    same = name and usual and abs(size / float(usual[1]) - 1) < 0.1
    return Machine(
        cluster=cluster,
        memory_gb=None if same or not size else size,
        cards=float(count) if count else None,
        assumed=None if name and not other else cluster.name,
    )
