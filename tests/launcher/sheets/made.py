"""Shared by tests of sheets: rows somebody wrote, and the clusters and models they may mean."""

from pathlib import Path

from launcher.sheets import predictions
from launcher.sheets.sheet import Sheet
from launcher.sheets.sheet import read as read_rows
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.shape import ModelShape


def cluster(name: str, peak: float) -> Cluster:
    card = Accelerator(
        name=name.upper(),
        memory_gib=78.6,
        bf16_tflops=peak,
        fp32_tflops=20.0,
        fp8_tflops=2 * peak,
        memory_gb_s=3000.0,
        link_gb_s=300.0,
    )
    return Cluster(name=name, nodes=2, gpus_per_node=8, accelerator=card, network_gb_s=50.0)


CLUSTERS = {"a100": cluster("a100", 312.0), "h100": cluster("h100", 989.0)}


MODELS = {
    "llama_7b": ModelShape(name="llama_7b", layers=32, hidden=4096, ffn=11008, heads=32, kv_heads=32,
                           vocab=32000, sequence=4096),
    "llama3_70b": ModelShape(name="llama3_70b", layers=80, hidden=8192, ffn=28672, heads=64, kv_heads=8,
                             vocab=128256, sequence=8192),
    "gpt3_175b": ModelShape(name="gpt3_175b", layers=96, hidden=12288, ffn=49152, heads=96, kv_heads=96,
                            vocab=51200, sequence=2048, gated=False, tied=True),
    "qwen3_30b_a3b": ModelShape(name="qwen3_30b_a3b", layers=48, hidden=2048, ffn=768, heads=32, kv_heads=4,
                                vocab=151936, sequence=4096, head_width=128, experts=128, top_k=8),
}  # fmt: skip


def read(**row: str) -> Sheet:
    return read_rows([row], CLUSTERS, MODELS)


def value(name: str, **row: str) -> float:
    return float(getattr(read(**row).points, name)[0])


FULL = {
    "hardware": "H100", "n_gpus": "16", "gpus_per_node": "4", "layers": "24", "hidden": "2048",
    "ffn": "5632", "heads": "16", "kv_heads": "4", "experts": "8", "top_k": "3", "vocab": "32000",
    "seq_len": "1024", "global_batch": "64", "micro_batch": "2", "tp": "2", "pp": "2", "vpp": "2",
    "cp": "2", "ep": "2", "zero_stage_or_strategy": "1", "backend": "megatron",
    "recompute": "selective", "seq_parallel": "1", "precision": "bf16", "flash_attn": "0",
    "gated": "1", "tied": "0",
}  # fmt: skip


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def read_conf(**row: str) -> Sheet:
    """Read one row with the clusters and models of conf/."""
    return read_rows([row], predictions.clusters(), predictions.models())
