"""A plan as a table: column by column, for a plan may have a hundred thousand rows."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from analysis.scaling import scaling_pct
from analysis.table import sorted_by
from launcher.results.columns import FORMS, OF_SPEC
from launcher.results.record import Planned
from launcher.spec.run import SECONDS_A_DAY
from launcher.spec.shape import ModelShape


def frame(points: Sequence[Planned], sort: str | None = None) -> pd.DataFrame:
    """One row per point before anything ran: what may run, the most promising first; then what
    will not.

    Raises:
        ConfigError: no such column to sort by.
    """
    specs = [point.spec for point in points]
    columns: dict[str, list[Any]] = {
        "row": [point.row for point in points],
        "spec_id": [spec.id for spec in specs],
        "plan": [_fate(point) for point in points],
        "reason": [point.rejected or point.pruned for point in points],
        "remark": [point.remark for point in points],
        **{name: [get(spec) for spec in specs] for name, get in OF_SPEC.items()},
        "pred_mem_gib": [point.prediction.memory_gib for point in points],
        "pred_oom_prob": [point.prediction.oom for point in points],
        "pred_step_ms": [point.prediction.step_ms for point in points],
    }
    rows = _with_costs(pd.DataFrame(columns), points)
    expected = rows["plan"] == "run"
    rows["scaling_pct"] = scaling_pct(rows, expected, lambda: [s.scaling_group for s in specs])
    rows = rows.astype({name: "Int64" for name in columns if FORMS[name] == "d"})
    if sort is not None:
        return sorted_by(rows, sort)
    order = rows["plan"].map({"run": 0, "pruned": 1, "rejected": 2})
    fits = 1 - pd.to_numeric(rows["pred_oom_prob"]).fillna(0.0)
    speed = -rows["tokens_per_s"] * fits  # what it is expected to be, as it may not run at all
    # Where nothing fits, what misses by least comes first.
    keys = pd.DataFrame(
        {"order": order, "speed": speed, "memory": rows["pred_mem_gib"], "row": rows["row"]}
    )
    return rows.loc[keys.sort_values([*keys.columns]).index].reset_index(drop=True)


def _fate(point: Planned) -> str:
    return "rejected" if point.rejected else "pruned" if point.pruned else "run"


def _with_costs(rows: pd.DataFrame, points: Sequence[Planned]) -> pd.DataFrame:
    """Speed, time and price of what may run."""
    seconds = pd.to_numeric(rows["pred_step_ms"]).where(rows["plan"] != "rejected") / 1e3
    tokens = rows["global_batch"] * rows["seq_len"]
    speed = tokens / seconds
    flops = pd.Series([_flops(point.spec.model) for point in points], dtype=float)
    total = pd.Series([point.spec.train.tokens for point in points], dtype=float)
    price = pd.Series([point.price_per_gpu_hour for point in points], dtype=float)
    days = total / speed / SECONDS_A_DAY
    hours = days * 24 * rows["gpus"]
    return rows.assign(
        tokens_per_s=speed,
        tflops_per_gpu=speed * flops / rows["gpus"] / 1e12,
        days=days,
        gpu_hours=hours,
        price=hours * price,
    )


@lru_cache(maxsize=4096)
def _flops(model: ModelShape) -> int:
    return model.flops_per_token
