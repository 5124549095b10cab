"""Parameters and FLOPs against figures worked out elsewhere."""

import pytest

from launcher.spec.shape import ModelShape
from tests.conftest import shape

LLAMA_8B = ModelShape(
    name="llama3_8b",
    layers=32,
    hidden=4096,
    ffn=14336,
    heads=32,
    kv_heads=8,
    vocab=128256,
    sequence=8192,
)
LLAMA_7B = ModelShape(
    name="llama2_7b",
    layers=32,
    hidden=4096,
    ffn=11008,
    heads=32,
    kv_heads=32,
    vocab=32000,
    sequence=4096,
)


@pytest.mark.parametrize(
    ("model", "params", "flops_per_token"),
    [
        (LLAMA_8B, 8_030_261_248, 5.147e10),  # causal count of Megatron-Bridge 25.09
        (LLAMA_7B, 6_738_415_616, 4.286e10),
    ],
    ids=["llama3_8b", "llama2_7b"],
)
def test_published_models(model: ModelShape, params: int, flops_per_token: float) -> None:
    assert model.params == model.active_params == params
    assert model.flops_per_token == pytest.approx(flops_per_token, rel=2e-3)


def test_full_recompute_adds_one_forward_pass_of_the_layers() -> None:
    model = LLAMA_7B
    head = 6 * model.embedding_params
    layers = model.flops_per_token - head
    assert model.hardware_flops_per_token("full") == head + layers * 4 // 3
    assert model.hardware_flops_per_token("none") == model.flops_per_token
    assert (
        model.flops_per_token
        < model.hardware_flops_per_token("selective")
        < model.hardware_flops_per_token("full")
    )


def test_only_the_experts_a_token_visits_count() -> None:
    dense, sparse = shape(ffn=256), shape(ffn=128, experts=4, top_k=2)
    router = 4 * 64 * 4
    assert sparse.flops_per_token == dense.flops_per_token + 6 * router
    assert sparse.params - sparse.active_params == 4 * 2 * 3 * 64 * 128


@pytest.mark.parametrize("multiple", [1, 128, 384])
def test_padding_depends_on_the_model_alone(multiple: int) -> None:
    model = shape(vocab=300, vocab_multiple=multiple)
    assert model.padded_vocab == {1: 300, 128: 384, 384: 384}[multiple]
    assert shape(vocab=384).params == shape(vocab=300).params


def test_tied_embeddings_are_built_once_and_multiplied_all_the_same() -> None:
    untied, tied = shape(), shape(tied=True)
    assert untied.params - tied.params == untied.embedding_params
    assert untied.flops_per_token == tied.flops_per_token
