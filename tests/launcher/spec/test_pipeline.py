"""Model chunks of a pipeline in Megatron-LM's notation, and the layers of each."""

import re

import pytest

from launcher.errors import LayoutError
from launcher.spec import pipeline
from launcher.spec.layout import ParallelLayout

READ: list[tuple[str, list[int]]] = [
    ("Et*4|t*3L", [4, 3]),
    ("Ettt|(tt|)*3L", [3, 2, 2, 2, 0]),
    ("E,t*2|(t|tt|)*2,t,L", [2, 1, 2, 1, 2, 1]),
    ("E|(t|)*126L", [0, *[1] * 126, 0]),
    ("Et|t|t*3|L", [1, 1, 3, 0]),
]


@pytest.mark.parametrize(("text", "layers"), READ)
def test_layers_of_chunks(text: str, layers: list[int]) -> None:
    assert pipeline.layers_of_chunks(text) == layers
    pp = len(layers)
    pipeline.check(text, pp, 1, sum(layers))
    assert ParallelLayout(pp=pp, pipeline=text).stages(sum(layers)) == layers


@pytest.mark.parametrize("text", [text for text, _ in READ])
def test_megatron_reads_the_same(text: str) -> None:
    module = "megatron.core.transformer.pipeline_parallel_layer_layout"
    layout = pytest.importorskip(module).PipelineParallelLayerLayout.parse_str_to_list(text)
    names = {"embedding": "E", "decoder": "t", "loss": "L"}
    assert pipeline.chunks(text) == tuple(
        "".join(names[item.name] for item in chunk) for chunk in layout
    )


@pytest.mark.parametrize(
    ("text", "pp", "vpp", "message"),
    [
        ("Et*4|tm|L", 3, 1, "pipeline 'Et*4|tm|L': 'm' is none of E, t, L, |, *n and ()*n"),
        ("E(t|)*3tL|", 2, 1, "pipeline 'E(t|)*3tL|' has 5 model chunks, pp 2"),
        ("Et*2|t*2L", 2, 2, "pipeline 'Et*2|t*2L' has 2 model chunks, pp 2 x vpp 2 (4)"),
        ("t*2|Et*2L", 2, 1, "pipeline 't*2|Et*2L': needs one E, before all else, and one L, after all else"),
        ("Et*2|t*2", 2, 1, "pipeline 'Et*2|t*2': needs one E, before all else, and one L, after all else"),
        ("Et*2||t*2L", 3, 1, "pipeline 'Et*2||t*2L': chunk 1 of 0 to 2 is empty"),
        ("Et*2|tL", 2, 1, "pipeline 'Et*2|tL' has 3 layers, the model 4"),
        ("", 2, 1, "pipeline '': needs one E, before all else, and one L, after all else"),
        ("E(t*4|L", 2, 1, "pipeline 'E(t*4|L': '(' is none of E, t, L, |, *n and ()*n"),
        ("Et*99999|L", 2, 1, "pipeline 'Et*99999|L': '9' is none of E, t, L, |, *n and ()*n"),
    ],
)  # fmt: skip
def test_refused(text: str, pp: int, vpp: int, message: str) -> None:
    with pytest.raises(LayoutError, match=f"^{re.escape(message)}$"):
        pipeline.check(text, pp, vpp, 4)


@pytest.mark.parametrize(
    ("chunks", "pp", "stages"),
    [([4, 3], 2, [4, 3]), ([1, 2, 1, 1], 2, [2, 3]), ([0, 1, 1, 1, 1, 0], 3, [1, 2, 1])],
)
def test_a_stage_has_every_pp_th_chunk(chunks: list[int], pp: int, stages: list[int]) -> None:
    assert pipeline.layers_of_stages(chunks, pp) == stages
