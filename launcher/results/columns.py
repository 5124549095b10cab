"""The columns of a table, and what can be asked of one: without pandas, which takes a while."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from launcher.decode import look_up
from launcher.errors import ConfigError
from launcher.spec.run import RunSpec
from launcher.spec.shape import ModelShape

COLUMNS = {
    "row": "d",
    "sweep": "",
    "spec_id": "",
    "outcome": "",
    "cause": "",
    "remark": "",
    "stage": "",
    "backend": "",
    "model": "",
    "params_b": ",.4f",
    "nodes": "d",
    "gpus": "d",
    "dp": "d",
    "tp": "d",
    "pp": "d",
    "vpp": "d",
    "cp": "d",
    "ep": "d",
    "sp": "",
    "zero": "d",
    "global_batch": "d",
    "micro_batch": "d",
    "recompute": "",
    "seq_len": "d",
    "precision": "",
    "tflops_per_gpu": ",.4g",
    "stated_tflops_per_gpu": ",.4g",
    "mfu_pct": ",.1f",
    "hfu_pct": ",.1f",
    "tokens_per_s": ",.0f",
    "step_ms_p50": ",.1f",
    "step_ms_p95": ",.1f",
    "step_ms_error": ",.2f",
    "mem_min_gib": ",.2f",
    "mem_max_gib": ",.2f",
    "power_min_w": ",.0f",
    "power_max_w": ",.0f",
    "loss_first": ",.4f",
    "loss_last": ",.4f",
    "grad_norm_max": ",.3f",
    "spikes": "d",
    "skipped": "d",
    "rollbacks": "d",
    "steps": "d",
    "attempt": "d",
    "seconds": ",.1f",
    "eta_days": ",.2f",
    "bad_hosts": "",
    "hosts": "",
    "job_id": "",
    "commit": "",
    "code": "",
    "pred_mem_gib": ",.2f",
    "pred_oom_prob": ".3f",
    "pred_step_ms": ",.1f",
    "pred_mem_err_pct": "+,.1f",
    "pred_step_err_pct": "+,.1f",
    "folder": "",
}
"""Every column in its order, and how a person reads it: text, "d" a whole number, or a number
of so many digits."""


@lru_cache(maxsize=4096)
def _params(model: ModelShape) -> int:
    return model.params


def _dp(spec: RunSpec) -> int | None:
    layout = spec.layout
    return None if spec.cluster.gpus % (layout.tp * layout.pp * layout.cp) else spec.dp


OF_SPEC: dict[str, Callable[[RunSpec], Any]] = {
    "stage": lambda spec: spec.stage.name if spec.stage else None,
    "backend": lambda spec: spec.backend,
    "model": lambda spec: spec.model.name,
    "params_b": lambda spec: _params(spec.model) / 1e9,
    "nodes": lambda spec: spec.cluster.nodes,
    "gpus": lambda spec: spec.cluster.gpus,
    "dp": lambda spec: _dp(spec),
    "tp": lambda spec: spec.layout.tp,
    "pp": lambda spec: spec.layout.pp,
    "vpp": lambda spec: spec.layout.vpp,
    "cp": lambda spec: spec.layout.cp,
    "ep": lambda spec: spec.layout.ep,
    "sp": lambda spec: spec.layout.sp,
    "zero": lambda spec: spec.layout.zero,
    "global_batch": lambda spec: spec.train.global_batch,
    "micro_batch": lambda spec: spec.layout.micro_batch,
    "recompute": lambda spec: spec.layout.recompute,
    "seq_len": lambda spec: spec.model.sequence,
    "precision": lambda spec: spec.train.precision,
}
"""Columns that the spec alone decides."""

PLANNED = {
    "tokens_per_s": ",.0f",
    "tflops_per_gpu": ",.4g",
    "days": ",.2f",
    "gpu_hours": ",.0f",
    "price": ",.0f",
}

STAGES = {
    "tokens": ",d",
    "until_step": "d",
    "sequence": "d",
    "lr_first": ".4g",
    "lr_last": ".4g",
    "checkpoint_gib": ",.3g",
    "checkpoints": "d",
}
"""Columns that the stages of a curriculum have besides; those that are no text."""

FORMS = {**STAGES, **PLANNED, **COLUMNS}


SHORT = {
    "micro_batch": "mbs",
    "global_batch": "gbs",
    "tflops_per_gpu": "tflops",
    "step_ms_p50": "step_ms",
}
"""What a column is called where there is little room."""

NUMERIC = {name: form for name, form in COLUMNS.items() if form and not name.endswith("err_pct")}
"""Columns of which more, or less, may be better."""

_FULL = {short: name for name, short in SHORT.items()} | dict.fromkeys(
    ("rss_gib", "mem_gib"), "mem_max_gib"
)


def full(name: str, where: str, known: Mapping[str, str] = NUMERIC) -> str:
    """The name of a column, by that or by the title that a table shows it under.

    Raises:
        ConfigError: none of ``known`` is called that.
    """
    found = _FULL.get(name, name)
    look_up(found, known, where)
    return found


def check(sort: str | None, form: str, path: str | None) -> None:
    """Raise ConfigError on what `analysis.table` could not do once all has run."""
    if sort is not None:
        full(sort.removeprefix("-"), "--sort", COLUMNS)
    if path is None and form == "parquet":
        raise ConfigError("--format parquet is not text: say where with --output FILE")
    if path is not None and not Path(path).parent.is_dir():
        target = Path(path)
        raise ConfigError(f"--output: no folder {target.parent} to write {target.name} in")
