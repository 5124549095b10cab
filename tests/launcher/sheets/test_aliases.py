"""Names of models and hardware in sheets, and those of ours that they mean."""

import pytest

from launcher.planner.points import GIB
from launcher.sheets import aliases, predictions
from tests.launcher.sheets.made import read_conf


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Llama 2 7B", "llama_7b"), ("Llama-2-7b", "llama_7b"), ("meta-llama/Llama-2-7b-hf", "llama_7b"),
        ("LLAMA 13B", "llama_13b"), ("llama1-13b", "llama_13b"), ("Llama2 70B", "llama_70b"), ("LLaMA-30B", "llama_30b"),
        ("llama 33b", "llama_30b"), ("llama-65B (ours)", "llama_65b"), ("Llama 3.1 70B", "llama3_70b"),
        ("meta-llama/Llama-3.1-8B", "llama3_8b"), ("Llama3-8B-Instruct", "llama3_8b"),
        ("LLAMA3.1_405B", "llama3_405b"), ("Llama-3.3-70B", "llama3_70b"), ("Llama 3.2 1B", "llama3_2_1b"),
        ("Mixtral-8x7B-v0.1", "mixtral_8x7b"), ("Mixtral 8x22B", "mixtral_8x22b"),
        ("mistralai/Mistral-7B-v0.1", "mistral_7b"), ("Qwen2.5-72B-Instruct", "qwen2_5_72b"),
        ("Qwen2 7B", "qwen2_5_7b"), ("Qwen3-30B-A3B", "qwen3_30b_a3b"), ("Qwen3_235B_a22B", "qwen3_235b_a22b"),
        ("GPT-175B", "gpt3_175b"), ("GPT-3 175B", "gpt3_175b"), ("deepseek-llm-67b", "deepseek_67b"),
        ("GPT-NeoX-20B", "gpt_neox_20b"), ("BLOOM", "bloom_176b"), ("tiny", "tiny"),
        ("llama 7b seq4k tp8", "llama_7b"),
        ("BLOOM-like-176B", None), ("codellama-7b", None), ("llama-3.2-70b", None), ("a tiny one", None),
        ("Llama 2 9B", None), ("", None), ("7B", None), ("DeepSeek-V3", None),
    ],
)  # fmt: skip
def test_models(text: str, name: str | None) -> None:
    shape = aliases.model(text, aliases.by_bare_name(predictions.models()))
    assert (shape.name if shape else None) == name


@pytest.mark.parametrize(
    ("text", "cluster", "memory", "cards", "noted"),
    [
        ("A100-80GB", "a100", 78.6, None, False), ("A100 SXM4 80GB", "a100", 78.6, None, False),
        ("NVIDIA A100-SXM4-40GB", "a100_40gb", 39.0, None, False), ("a100 40G", "a100_40gb", 39.0, None, False),
        ("H100-SXM5-80GB", "h100", 78.6, None, False), ("DGX H100", "h100", 78.6, None, False),
        ("DGX H100 640GB", "h100", 78.6, None, False), ("8xA100", "a100", 78.6, 8, False),
        ("8 x H100 80GB", "h100", 78.6, 8, False), ("H200", "h200", 139.3, None, False),
        ("H100 x16", "h100", 78.6, 16, False), ("NVIDIA H800", "h800", 78.6, None, False),
        ("A800-80GB", "a800", 78.6, None, False), ("NVIDIA GH200 480GB", "gh200", 94.0, None, False),
        ("GH200 144GB", "gh200", 144 * 78.6 / 80, None, False), ("B200 192GB", "b200", 177.8, None, False),
        ("H100-96GB-HBM2e", "h100", 96 * 78.6 / 80, None, False),
        ("H100 NVL", "h100", 94 * 78.6 / 80, None, True), ("A100-PCIE-40GB", "a100_40gb", 39.0, None, True),
        ("GB200 NVL72", "b200", 177.8, None, True), ("V100 32GB", "h100", 32 * 78.6 / 80, None, True),
        ("RTX 4090", "h100", 78.6, None, True), ("MI300X", "h100", 78.6, None, True), ("?", "h100", 78.6, None, True),
    ],
)  # fmt: skip
def test_machines(text: str, cluster: str, memory: float, cards: float | None, noted: bool) -> None:
    sheet = read_conf(hardware=text)
    card = predictions.clusters()[cluster].accelerator
    assert sheet.points.memory_rate[0] == (card.memory_gb_s or 0) * 1e9
    assert sheet.points.link_rate[0] == (card.link_gb_s or 0) * 1e9
    assert sheet.points.memory[0] / GIB == pytest.approx(memory)
    assert (f"hardware {cluster}" in sheet.notes[0]) == noted
    assert aliases.machine(text, predictions.clusters()).cards == cards
    assert sheet.points.gpus[0] == (cards or 8)
    assert read_conf(hardware=text, n_gpus="64").points.gpus[0] == 64


@pytest.mark.parametrize(
    ("row", "sizes"),
    [
        ({"model": "GPT-350m"}, (12, 1536)),  # 12 x 12 x 1536^2 = 0.34e9
        ({"params_b": "2,7"}, (24, 3072)),
        ({"params_b": "7", "hidden": "4096"}, (35, 4096)),
        ({"params_b": "7", "layers": "32"}, (32, 4224)),
        ({"layers": "24"}, (24, 3072)),
        ({"hidden": "2048"}, (16, 2048)),
    ],
)
def test_sizes_are_guessed_from_what_there_is(
    row: dict[str, str], sizes: tuple[float, float]
) -> None:
    p = read_conf(**row).points
    assert (p.layers[0], p.hidden[0]) == sizes


@pytest.mark.parametrize(
    ("text", "cards", "names", "memory_gb", "slower"),
    [
        ("8xA100-40GB", 8, ("a100",), 40, False),
        ("2 x 8 x H100", 8, ("h100",), None, False),  # of nodes and cards the cards
        ("H100 80GB HBM3 x 16", 16, ("h100", "hbm3", "x16"), 80, False),
        ("A100-PCIE-40GB", None, ("a100", "pcie40"), 40, True),
        ("H100 NVL", None, ("h100",), 94, True),
        ("GB200 NVL72", None, ("gb200", "nvl72"), None, False),
        ("DGX H100 640GB", None, ("h100",), None, False),  # of the node
        ("GH200 480GB 96GB", None, ("gh200", "gb96"), 96, False),  # the first is its CPU's
        ("A100 0GB", None, ("a100",), None, False),
        ("", None, (), None, False),
    ],
)
def test_a_cell_of_hardware_is_taken_apart(
    text: str, cards: float | None, names: tuple[str, ...], memory_gb: float | None, slower: bool
) -> None:
    assert aliases.parse_hardware(text) == aliases.Hardware(
        cards=cards, names=names, memory_gb=memory_gb, slower=slower
    )


@pytest.mark.parametrize(
    ("text", "nodes", "cards", "cluster"),
    [
        ("H100 4\u673a32\u5361\uff084x8\uff09", 4, 32, "h100"), ("A100\u5355\u673a8\u5361\uff081x8\uff09", 1, 8, "a100"),
        ("H100-55\u673a440\u5361(55x8)", 55, 440, "h100"), ("H100 (2x8)", 2, 16, "h100"),
        ("DGX H100 (8 GPUs)", None, 8, "h100"), ("4 nodes of A100", 4, None, "a100"),
        ("H100 80GB, 8 GPUs per node", None, None, "h100"), ("8xH100", None, 8, "h100"),
        ("1x v5e-256", None, None, "h100"), ("v5p-128", None, None, "h100"),
        ("2x A3 (h100-80gb-8)", 2, 16, "h100"), ("4x DGX-H100", 4, 32, "h100"), ("2x8", 2, 16, "h100"), ("DGX-GB300", None, None, "b200"),
    ],
)  # fmt: skip
def test_cards_and_nodes_of_hardware(
    text: str, nodes: float | None, cards: float | None, cluster: str
) -> None:
    hardware = aliases.parse_hardware(text)
    assert (hardware.nodes, hardware.cards) == (nodes, cards)
    assert aliases.machine(text, predictions.clusters()).cluster.name == cluster


@pytest.mark.parametrize(
    "text",
    ["Mixtral", "8x7B", "our 8x7B", "Qwen3 MoE 30B", "30B-A3B", "DeepSeek-V3", "DeepSeekV3", "Kimi K2", "GPT-OSS 20B",
     "Llama 4 Scout", "GLM-4.5", "dbrx", "DeepSeek-Coder-V2", "Granite-3.0-1b-a400m", "llama3-8B-8E", "GLaM 64B/64E", "Mixtral 8\u00d722B", "Ling 16B",
     "Hunyuan-Large 389B"],
)  # fmt: skip
def test_names_of_mixtures(text: str) -> None:
    assert aliases.sounds_like_experts(text)


@pytest.mark.parametrize(
    "text",
    ["OpenLLaMA3B", "llama3b", "llama-469B", "Llama 3.1 405B", "gpt3_tp2_reshard_1x4xNone", "Nemotron-340B", "GLM-130B",
     "deepseek-llm-67b", "T5 11B", "Qwen2.5 72B", "1.5e9", "Bling 7B", ""],
)  # fmt: skip
def test_names_of_no_mixtures(text: str) -> None:
    assert not aliases.sounds_like_experts(text)


@pytest.mark.parametrize(
    ("text", "right"),
    [("Mamba 2.8B", True), ("T5 11B", True), ("flan-t5-xxl", True), ("Nemotron-H 8B", True), ("Nemotron 3 Nano", True),
     ("ResNet50", True), ("Nemotron-340B", False), ("Nemotron-4 15B", False), ("GPT-5B", False), ("llama_7b", False)],
)  # fmt: skip
def test_names_of_models_of_other_layers(text: str, right: bool) -> None:
    assert aliases.is_no_decoder(text) == right
