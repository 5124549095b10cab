"""GPT-NeoX's dump of arguments, in the words of Megatron-LM.

Format strings: ``NeoXArgs.print`` (megatron/neox_arguments/arguments.py) of EleutherAI/gpt-neox: a
value is filled up with dots to 64 characters, and followed by where it is from.
"""

import re
from collections.abc import Mapping

ORIGIN = re.compile(r"^(.*?)(?<!\.)(\.*)(default|updated)$")
GATED = ("swiglu", "geglu", "reglu", "bilinear", "glu")
STAGE = re.compile(r"'stage': (\d)")


def is_dump(arguments: Mapping[str, str]) -> bool:
    """Return True for what GPT-NeoX prints: most of its values say where they are from."""
    origins = [match for value in arguments.values() if (match := ORIGIN.match(value)) and match[2]]
    return 2 * len(origins) > len(arguments)


def in_megatrons_words(arguments: Mapping[str, str]) -> dict[str, str]:
    """Arguments without their origin, and under Megatron's names besides their own."""
    own = {name: _value(value) for name, value in arguments.items()}
    stage = STAGE.search(own.get("zero_optimization", ""))
    gated = own.get("activation") in GATED or own.get("mlp_type") == "llama"
    positions = own.get("pos_emb", "learned")
    named = {
        "num_query_groups": own.get("num_kv_heads"),
        "ffn_hidden_size": own.get("intermediate_size"),
        "swiglu": str(gated),
        "untie_embeddings_and_output_weights": own.get("no_weight_tying"),
        "position_embedding_type": "learned_absolute" if positions == "learned" else positions,
        "normalization": "RMSNorm" if own.get("norm") == "rmsnorm" else "LayerNorm",
        "zero_stage": stage[1] if stage else None,
        "fp16": str(own.get("precision") == "fp16"),
        "bf16": str(own.get("precision") in ("bf16", "bfloat16")),
    }
    stated = {name: value for name, value in named.items() if value not in (None, "None")}
    if gated and "ffn_hidden_size" not in stated:  # how wide it is then differs by version
        own.pop("hidden_size", None)
    return own | stated


def _value(printed: str) -> str:
    match = ORIGIN.match(printed)
    return match[1] if match else printed
