"""The columns of a table, and what can be asked of one: without pandas, which takes a while."""

from pathlib import Path

from launcher.decode import one_of
from launcher.errors import ConfigError

COLUMNS = {
    "row": "d",
    "spec_id": "",
    "outcome": "",
    "cause": "",
    "remark": "",
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
    "tflops_per_gpu": ",.3f",
    "mfu_pct": ",.1f",
    "hfu_pct": ",.1f",
    "tokens_per_s": ",.0f",
    "step_ms_p50": ",.1f",
    "step_ms_p95": ",.1f",
    "mem_min_gib": ",.2f",
    "mem_max_gib": ",.2f",
    "power_min_w": ",.0f",
    "power_max_w": ",.0f",
    "loss_first": ",.4f",
    "loss_last": ",.4f",
    "grad_norm_max": ",.3f",
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
    "pred_step_ms": ",.1f",
}
"""Every column in its order, and how a person reads it: text, "d" a whole number, or a number
of so many digits."""


def check(sort: str | None, form: str, path: str | None) -> None:
    """Raise ConfigError on what `analysis.table` could not do once all has run."""
    if sort is not None:
        one_of(sort.removeprefix("-"), COLUMNS, "--sort")
    if path is None and form == "parquet":
        raise ConfigError("--format parquet is not text: say where with --output FILE")
    if path is not None and not Path(path).parent.is_dir():
        target = Path(path)
        raise ConfigError(f"--output: no folder {target.parent} to write {target.name} in")
