"""A sheet kept by hand: every row is a run, as far as its columns tell."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from launcher.errors import ConfigError, ReadError
from launcher.foreign import status
from launcher.foreign.source import Found, Source
from launcher.imported import Imported, Known
from launcher.outcome import named
from launcher.planner import known as names
from launcher.planner import spelling, table
from launcher.planner.reader import BLANK
from launcher.record import OUTCOMES, Figures, Outcome
from launcher.shape import ModelShape

Row = Mapping[str, str]

STATUS = ("outcome", "status", "result", "state")
NOTES = ("cause", "reason", "error", "remark", "remarks", "notes", "note", "comment", "comments",
         "memo")  # fmt: skip
STATED = ("tflopspergpu", "tflopsgpu", "tflops", "tflopsgpus", "tflopsdevice", "tflopss")
LEAST = ("memmingb", "memmingib", "minmemgb")
MOST = ("memmaxgb", "memmaxgib", "maxmemgb")
POWER = ("powerw", "power", "watts", "powermaxw")
MFU = ("mfupct", "mfu")


def read(source: Source) -> list[Found]:
    """The rows of a sheet. Raises ReadError."""
    try:
        rows = table.rows(source.path)
    except ConfigError as error:
        raise ReadError(str(error)) from error
    models = names.by_bare_name(source.models)
    return [_row(source, row, number, models) for number, row in enumerate(rows, 1)]


def _row(source: Source, row: Row, number: int, models: Mapping[str, ModelShape]) -> Found:
    understood = spelling.understood(row)
    by_name = {spelling.bare(title): text.strip() for title, text in row.items()}
    known = _known(understood)
    shape = names.model(understood.get("model", ""), models)
    figures = _figures(understood, by_name, known)
    outcome, cause = _outcome(understood, by_name, figures)
    notes = "; ".join(text for name in NOTES if (text := by_name.get(name)))
    return Found(
        lines=[],
        imported=Imported(
            format="sheet",
            source=f"{source.path.name} row {number}",
            path=str(source.path.resolve()),
            sha256=source.sha256,
            known=known,
            outcome=outcome,
            cause=None if outcome == "ok" else notes or cause,
            remark=notes or None if outcome == "ok" else None,
            figures=_with_tflops(figures, known, shape),
            stated_tflops_per_gpu=_number(by_name, STATED),
        ),
    )


def _known(row: Row) -> Known:
    sizes = {name: _whole(row, name) for name in ("nodes", "dp", "tp", "pp", "vpp", "cp", "ep")}
    gpus, per_node = _whole(row, "n_gpus"), _whole(row, "gpus_per_node")
    nodes = sizes["nodes"]
    if gpus is None and nodes and per_node:
        gpus = nodes * per_node
    strategy = row.get("zero_stage_or_strategy", "")
    recompute = row.get("recompute", "")
    precision = row.get("precision", "")
    return Known(
        **sizes,
        gpus=gpus,
        backend=row.get("backend") or None,
        model=row.get("model") or None,
        params_b=spelling.billions(row.get("params_b", "")),
        sp=spelling.flag("seq_parallel", row.get("seq_parallel", "")),
        zero=spelling.first(spelling.STAGES, strategy) if strategy else None,
        global_batch=_whole(row, "global_batch", 1024),
        micro_batch=_whole(row, "micro_batch"),
        recompute=spelling.first(spelling.RECOMPUTED, recompute) if recompute else None,
        seq_len=_whole(row, "seq_len", 1024),
        precision=spelling.first(spelling.PRECISIONS, precision) if precision else None,
    )


def _blank(text: str) -> bool:
    return text.lower() in BLANK


def _whole(row: Row, name: str, thousand: int = 1000) -> int | None:
    value = spelling.number(row.get(name, ""), thousand)
    return int(value) if value else None


def _number(by_name: Row, titles: Sequence[str]) -> float | None:
    found = (spelling.number(by_name[title]) for title in titles if by_name.get(title))
    return next((value for value in found if value is not None), None)


def _range(by_name: Row, titles: Sequence[str]) -> tuple[float | None, float | None]:
    """``490-600`` or one number."""
    text = next((by_name[title] for title in titles if by_name.get(title)), "")
    ends = [spelling.number(end) for end in re.split(r"\s*(?:-|~|\u2013|to)\s*", text, maxsplit=1)]
    return ends[0], ends[-1]


def _figures(row: Row, by_name: Row, known: Known) -> Figures:
    """What its columns state, which a hand rounded."""
    per_gpu, seconds = (spelling.number(row.get(n, "")) for n in ("tokens_per_s_per_gpu", "step_s"))
    tokens = known.global_batch * known.seq_len if known.global_batch and known.seq_len else None
    speed = per_gpu * known.gpus if per_gpu and known.gpus else None
    if speed is None and tokens and seconds:
        speed = tokens / seconds
    one = spelling.number(row.get("mem_gb", ""))
    watts = _range(by_name, POWER)
    most = _number(by_name, MOST)
    return Figures(
        tokens_per_s=speed,
        step_ms_p50=1000 * seconds if seconds else None,
        mfu_pct=_number(by_name, MFU),
        mem_min_gib=_number(by_name, LEAST),
        mem_max_gib=one if most is None else most,
        power_min_w=watts[0],
        power_max_w=watts[1],
    )


def _with_tflops(figures: Figures, known: Known, shape: ModelShape | None) -> Figures:
    """Model FLOPs as this project counts them, where the sheet names a model it knows."""
    if shape is None or not (figures.tokens_per_s and known.seq_len and known.gpus):
        return figures
    flops = dataclasses.replace(shape, sequence=known.seq_len).flops_per_token
    tflops = figures.tokens_per_s * flops / known.gpus / 1e12
    return dataclasses.replace(figures, tflops_per_gpu=tflops)


def _outcome(row: Row, by_name: Row, figures: Figures) -> tuple[Outcome, str | None]:
    """What a row says of its end: in its own column, else by its notes, else by its figures."""
    cells = (by_name.get(title, "") for title in STATUS)
    # A number is no word: a column "result" may be of speeds.
    said = next((cell for cell in cells if not (_blank(cell) or spelling.number(cell))), "")
    if said.lower() in OUTCOMES:
        return said.lower(), None  # type: ignore[return-value]
    if said and (word := status.stated(said)):
        return word, said
    oom = spelling.flag("oom", row.get("oom", ""))
    if oom:
        return "oom", "out of memory"
    for title in NOTES:
        text = by_name.get(title, "")
        if text and (verdict := named(text)):
            return verdict.outcome, text
        if text and (word := status.noted(text)):
            return word, text
    if said:
        return "failed", f"no outcome is known by {said!r}"
    if oom is False:
        return "ok", None
    if figures.tokens_per_s or figures.step_ms_p50 or _number(by_name, STATED):
        return "ok", None
    return "failed", "the row does not say what became of it"
