"""Rules of divisibility that the stated numbers of a row break: it cannot have run like that."""

from collections.abc import Mapping

from launcher.errors import LayoutError
from launcher.sheets import spelling
from launcher.sheets.sheet import Sheet
from launcher.spec.layout import ParallelLayout
from launcher.spec.shape import ModelShape

INTEGERS: Mapping[str, str] = {
    "tp": "tp", "pp": "pp", "vpp": "vpp", "cp": "cp", "ep": "ep", "micro_batch": "micro_batch",
    "layers": "layers", "hidden": "hidden", "ffn": "ffn", "heads": "heads",
    "kv_heads": "kv_heads", "experts": "experts", "top_k": "top_k", "sequence": "seq_len",
    "gpus": "n_gpus", "global_batch": "global_batch",
}  # fmt: skip
"""Field of a point -> column of the sheet."""


def broken(sheet: Sheet, number: int) -> str | None:
    """Return the rule that the stated numbers of a row break, whatever is assumed; None if none."""
    point, assumed = sheet.points[number : number + 1], sheet.assumed[number]
    values = {field: float(getattr(point, field)[0]) for field in INTEGERS}
    for field, value in values.items():
        if value % 1:
            return None if INTEGERS[field] in assumed else f"{field} {value:g} is no whole number"
    size = {field: int(value) for field, value in values.items()}
    # Of arguments in the notes not all are there: one of them lifts what vpp asks of micro batches.
    vpp = size["vpp"] if sheet.rows[number].get("vpp") else 1
    layout = ParallelLayout(
        tp=size["tp"],
        pp=size["pp"],
        vpp=vpp,
        cp=size["cp"],
        ep=size["ep"],
        micro_batch=size["micro_batch"],
        sequence_parallel=False,
        pipeline=_pipeline(sheet, number),
    )
    gpus, batch = size["gpus"], size["global_batch"]
    if "n_gpus" in assumed:
        gpus = layout.tp * layout.pp * layout.cp * layout.ep
    if assumed & {"n_gpus", "tp", "pp", "global_batch"}:
        # How many replicas share the batch is not known, but a micro batch must divide it.
        if not assumed & {"micro_batch", "global_batch"} and batch % layout.micro_batch:
            return f"micro_batch {layout.micro_batch} does not divide global_batch {batch}"
        batch = layout.micro_batch * max(layout.dp(gpus), 1) * layout.pp
    try:
        layout.check(_agreeable(sheet, number, size), gpus, batch)
    except LayoutError as error:
        return str(error)
    return None


def _agreeable(sheet: Sheet, number: int, size: Mapping[str, int]) -> ModelShape:
    """The model of a row, with sizes that divide where they were assumed."""
    assumed = sheet.assumed[number]
    tp, free = size["tp"], {"heads", "hidden"} & assumed
    heads = size["heads"] if "heads" not in assumed else tp * size["kv_heads"]
    kv_heads = heads if "kv_heads" in assumed else size["kv_heads"]
    dense = not size["experts"]
    return ModelShape(
        name=sheet.rows[number].get("model") or "the model",
        layers=size["layers"]
        if "layers" not in assumed or _pipeline(sheet, number)
        else size["pp"] * size["vpp"],
        hidden=size["hidden"],
        ffn=tp if "ffn" in assumed else size["ffn"],
        heads=heads,
        kv_heads=kv_heads,
        head_width=128 if free else _width(sheet, number),
        vocab=128 * tp,  # padded to what tp divides
        sequence=2 * size["cp"] * tp if "seq_len" in assumed else size["sequence"],
        experts=size["ep"] if dense and "experts" in assumed else size["experts"],
        top_k=1 if "top_k" in assumed or dense else size["top_k"],
    )


def _pipeline(sheet: Sheet, number: int) -> str | None:
    """Model chunks as a row states them, which fit its point unless that is refused."""
    if sheet.refusals[number]:
        return None
    return spelling.pipeline_layout(sheet.rows[number].get("pipeline_layout", ""))


def _width(sheet: Sheet, number: int) -> int | None:
    """Width of a head where a model of ours says it; None where it is hidden / heads."""
    point = sheet.points[number : number + 1]
    width = float(point.head_dim[0])
    return int(width) if width != float(point.hidden[0] / point.heads[0]) else None
