"""Print docs/flops.md's table: FLOPs per token of shipped models by four definitions.

python -m tests.benchmarks.flops
"""

from pathlib import Path

import yaml

from launcher.decode import decode
from launcher.spec.shape import ModelShape

MODELS = ("gpt_125m", "llama_1b", "llama_7b", "llama_13b", "llama_70b", "mixtral_8x7b")


def table() -> str:
    """A Markdown table; the last three columns are relative to ours."""
    lines = [
        "| model | sequence | ours, GFLOP/token | attention not halved | PaLM: 6 N + attention |"
        " plain 6 N |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join(lines + [_line(_model(name)) for name in MODELS])


def _model(name: str) -> ModelShape:
    path = Path(__file__).parents[2] / "conf" / "model" / f"{name}.yaml"
    return decode(ModelShape, yaml.safe_load(path.read_text()))


def _line(model: ModelShape) -> str:
    ours = model.flops_per_token
    half = 6 * model.layers * model.sequence * model.heads * model.head_dim
    estimates = (ours + half, 6 * model.active_params + 2 * half, 6 * model.active_params)
    differences = " | ".join(f"{100 * (estimate / ours - 1):+.1f} %" for estimate in estimates)
    return f"| {model.name} | {model.sequence} | {ours / 1e9:.3f} | {differences} |"


if __name__ == "__main__":
    print(table())
