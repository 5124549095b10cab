"""Names that sheets have for models and machines, and those of ours that they mean."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from launcher.sheets.spelling import bare
from launcher.spec.cluster import Cluster
from launcher.spec.shape import ModelShape

MODEL_ALIASES: Mapping[str, str] = {
    "llama33b": "llama30b", "gpt175b": "gpt3175b", "bloom": "bloom176b",
    "qwen27b": "qwen257b", "qwen272b": "qwen2572b", "deepseekllm67b": "deepseek67b",
    "tinyllama11b": "llama1b", "qwen330b": "qwen330ba3b", "qwen3moe30b": "qwen330ba3b",
    "qwen3moe30ba3b": "qwen330ba3b", "qwen3235b": "qwen3235ba22b", "qwen3moe235b": "qwen3235ba22b",
}  # fmt: skip
"""Other names of models, as letters and digits."""

NEAREST_CARD: Mapping[str, str] = {"gb200": "b200", "b300": "b200", "gb300": "b200"}
"""Hardware of which there is no cluster, and what is nearer to it than an H100."""

EXPERTS = re.compile(
    r"\d+x\d+(\.\d+)?\s?b|(?<![a-z])a\d+(\.\d+)?[bm]|(?<![a-z\d.])\d+e(?![a-z\d])|moe|deepseek[\W_]*(coder[\W_]*)?[vr]\d|mixtral|kimi"
    r"|gpt[\W_]*oss|dbrx|grok|llama[\W_]*4(?!\d)|glm[\W_]*(4[\W_]*[5-9]|5)(?!\d)|arctic|switch|gshard|moonlight"
    r"|qwen3[\W_]*next|minimax|ernie[\W_]*4|glam\b|hunyuan[\W_]*large|\bling\b|bailing|dots[\W_]*llm"
    r"|step[\W_]*3(?!\d)"
)
"""Names of models with experts, in lower case."""

NO_DECODER = re.compile(
    r"mamba|jamba|rwkv|hyena|nemotron[\W_]*(v?3(?!\d)|h\b|nano|super|ultra)|(?<![a-z])(u|m|flan-?)?t5"
    r"|resnet|\bvit\b|diffusion|unet|flux|whisper|wan\b|\bdit\b"
)
"""Names of models that are made of other layers too, in lower case."""

TPU = re.compile(r"\btpu|trillium|\bv\d+[a-z]?-\d+")
"""Slices of TPUs: what stands before them counts slices."""

_NODES = re.compile(r"(\d+)\s*(?:机|台|nodes?\b|machines?\b|servers?\b)")
_CARDS = re.compile(r"(\d+)\s*(?:卡|gpus?\b|cards?\b|chips?\b)(?!\s*(?:/|per))")
_NODES_BY_CARDS = re.compile(r"(?:^|\()\s*(\d+)\s*[x*\u00d7]\s*(\d+)\s*(?:\)|$)")

_CARDS_OF_A_NODE = re.compile(r"gb-(\d+)\b")
"""Cards of a machine of a cloud: ``2x A3 (h100-80gb-8)`` are 16 on 2 nodes."""
_DGX = re.compile(r"(\d+)\s*[x*\u00d7]\s*(?:nvidia\s*)?dgx(?!.*gb\d)")
CARDS_OF_A_DGX = 8

LARGEST_GB = 300
"""More than any card has: of a node, or of its CPU, as in "GH200 480GB"."""

NVL_GB = 94.0
"""Memory of an H100 NVL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """A cell of hardware taken apart: ``8xA100-40GB``, ``NVIDIA H100 80GB HBM3``."""

    cards: float | None
    """Number of cards, 8 of "8xA100"; None where none is stated."""
    names: tuple[str, ...]
    """Letters before a number, with it: ``a100``, ``hbm3``; most are names of no card."""
    memory_gb: float | None
    """Memory of a card, as sold; None where it is not stated."""
    slower: bool
    """A PCIe or NVL card, whose peaks are below those of the SXM card of the same name."""
    nodes: float | None = None
    """Number of nodes, 4 of "H100 (4x8)"; None where none is stated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Cluster that a cell of hardware is taken for."""

    cluster: Cluster
    memory_gb: float | None
    """Memory of a card where it is another than the cluster's; as sold, in GB."""
    cards: float | None
    """Number of cards, 8 of "8xA100"; None where none is stated."""
    nodes: float | None
    """Number of nodes that these cards are on; None where none is stated."""
    assumed: str | None
    """Name of the cluster where the hardware is not known and this one is assumed, else None."""


def model(name: str, models: Mapping[str, ModelShape]) -> ModelShape | None:
    """Model that a name means: ``LLAMA3.1_70B``, ``meta-llama/Llama-2-7b-hf``, ``GPT-175B``.

    Args:
        name: what the sheet says.
        models: by their names as letters and digits.
    """
    plain = re.sub(r"\(.*?\)|\[.*?\]", " ", _plain(name))
    plain = re.sub(r"(llama[\W_]*3)[._][013](?=[\W_])", r"\1", plain)
    plain = re.sub(r"llama[\W_]*[12](?=[\s_-]+\d)", "llama", plain)
    words = re.findall(r"[a-z0-9]+", plain)
    spans = sorted(
        ((i, j) for i in range(len(words)) for j in range(i + 1, len(words) + 1)),
        key=lambda span: span[0] - span[1],
    )
    for i, j in spans:
        joined = "".join(words[i:j])
        shape = models.get(MODEL_ALIASES.get(joined, joined))
        if shape and (j - i == len(words) or re.search(r"\d", joined)):
            return shape
    return None


def _plain(name: str) -> str:
    """Name in lower case, with the letter x for the sign of multiplication."""
    return name.lower().replace("\u00d7", "x")


def by_bare_name(models: Mapping[str, ModelShape]) -> dict[str, ModelShape]:
    """Models by their names as letters and digits."""
    return {bare(name): shape for name, shape in models.items()}


def billions(name: str) -> float | None:
    """Parameters that a name tells, in billions: 13 of ``our 13B``, 0.35 of ``GPT-350m``."""
    match = re.search(r"(\d+(?:[.,]\d+)?)\s*([bm])(?![a-z])", name.lower())
    return float(match[1].replace(",", ".")) / (1000 if match[2] == "m" else 1) if match else None


def sounds_like_experts(name: str) -> bool:
    """True where a name is that of a model with experts: ``8x7B``, ``30B-A3B``, ``DeepSeek-V3``."""
    return bool(EXPERTS.search(_plain(name)))


def is_no_decoder(name: str) -> bool:
    """True where a name is that of a model whose layers are not those of a decoder."""
    return bool(NO_DECODER.search(name.lower()))


def guess(
    params_b: float | None, layers: float | None = None, hidden: float | None = None
) -> tuple[float, float]:
    """Layers L and hidden h of a GPT with so many parameters.

    It has 12 L h^2 of them, and h = 128 L where one of the two or the parameters are not known.
    """
    params = 1e9 * (params_b or 0)
    if layers:
        exact = (params / (12 * layers)) ** 0.5 or 128 * layers
        return layers, max(round(exact / 128), 1) * 128.0
    if hidden:
        return max(float(round(params / (12 * hidden**2) or hidden / 128)), 1.0), hidden
    layers = max(float(round((params / (12 * 128**2)) ** (1 / 3))), 1.0)
    return layers, 128 * layers


def parse_hardware(text: str) -> Hardware:
    """Take a cell of hardware apart."""
    text = unicodedata.normalize("NFKC", text).lower()
    grid, nodes, counted = (p.search(text) for p in (_NODES_BY_CARDS, _NODES, _CARDS))
    of_node, dgx = _CARDS_OF_A_NODE.search(text), _DGX.match(text)
    prefix = re.match(r"\s*(?:(\d+)\s*[x*\u00d7]\s*)*", text)
    assert prefix  # it matches nothing as well
    text = text[prefix.end() :]
    suffix = re.search(r"(?:gb|[\d\s])[x*\u00d7]\s*(\d+)\s*$", text)
    cards = prefix[1] or (suffix[1] if suffix else None) or (counted[1] if counted else None)
    on_nodes = float(grid[1]) if grid else float(nodes[1]) if nodes else None
    if grid:
        cards = str(int(grid[1]) * int(grid[2]))
    elif TPU.search(text):
        cards = None
    elif prefix[1] and (of_node or dgx):
        on_nodes = float(prefix[1])
        cards = str(int(prefix[1]) * (int(of_node[1]) if of_node else CARDS_OF_A_DGX))
    names = tuple(bare(name) for name in re.findall(r"[a-z]+[ -]?\d+", text))
    nvl = "nvl" in text and ("pcie" in text or "h100" in names)
    sizes = [float(size) for size in re.findall(r"(\d+(?:\.\d+)?)\s*gi?b?\b", text)]
    memory_gb = next((size for size in sizes if size < LARGEST_GB), None)
    return Hardware(
        cards=float(cards) if cards else None,
        names=names,
        memory_gb=NVL_GB if memory_gb is None and nvl else memory_gb or None,
        slower="pcie" in text or nvl,
        nodes=on_nodes,
    )


def machine(text: str, clusters: Mapping[str, Cluster]) -> Machine:
    """Return the cluster whose accelerator a cell means; an H100 where none is near to it."""
    hardware = parse_hardware(text)
    stated_cluster = _named_cluster(hardware, clusters)
    cluster = stated_cluster or _nearest_cluster(hardware, clusters)
    return Machine(
        cluster=cluster,
        memory_gb=None
        if stated_cluster and _as_sold(stated_cluster, hardware.memory_gb)
        else hardware.memory_gb,
        cards=hardware.cards,
        nodes=hardware.nodes,
        assumed=None if stated_cluster and not hardware.slower else cluster.name,
    )


def _named_cluster(hardware: Hardware, clusters: Mapping[str, Cluster]) -> Cluster | None:
    """The cluster of a card of that name; one of that memory, ``a100_40gb``, prefix the others."""
    size = hardware.memory_gb
    with_size = [f"{name}_{size:g}gb" for name in hardware.names] if size else []
    return next(
        (clusters[name] for name in (*with_size, *hardware.names) if name in clusters), None
    )


def _nearest_cluster(hardware: Hardware, clusters: Mapping[str, Cluster]) -> Cluster:
    nearest = (NEAREST_CARD[name] for name in hardware.names if name in NEAREST_CARD)
    return clusters[next((name for name in nearest if name in clusters), "h100")]


def _as_sold(cluster: Cluster, memory_gb: float | None) -> bool:
    """True where a card of so much memory, give or take 10 %, is the accelerator of a cluster."""
    sold = re.search(r"(\d+)GB", cluster.accelerator.name)
    return bool(sold and memory_gb and abs(memory_gb / float(sold[1]) - 1) < 0.1)
