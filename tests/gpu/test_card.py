"""Names that CUDA gives to cards, and the clusters of conf/ that have such."""

import pytest

from tests.gpu.card import cluster_of


@pytest.mark.parametrize(
    ("name", "cluster"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA H800", "h800"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-SXM4-40GB", "a100_40gb"),
        ("NVIDIA A800-SXM4-80GB", "a800"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA GH200 480GB", "gh200"),
        # Other peaks than those of the card whose name they have.
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA L40S", None),
        ("Tesla T4", None),
    ],
)
def test_the_cluster_of_a_card(name: str, cluster: str | None) -> None:
    known = cluster_of(name)
    assert (known and known.name) == cluster
