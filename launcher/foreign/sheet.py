"""A sheet kept by hand: every row is a run, as far as its columns tell."""

import dataclasses
from collections.abc import Iterable, Mapping

from launcher.errors import ConfigError, ReadError
from launcher.foreign import sheet_columns, sheet_outcomes
from launcher.foreign.source import Found, Source
from launcher.results.classify import verdict_of_log
from launcher.results.columns import COLUMNS, FIGURES
from launcher.results.imported import Imported, RunFacts
from launcher.results.outcomes import OUTCOMES, Outcome
from launcher.results.record import Figures
from launcher.sheets import aliases as names
from launcher.sheets import file, spelling
from launcher.sheets.row import MOST_SEQUENCES
from launcher.spec.shape import ModelShape

Row = Mapping[str, str]


def read(source: Source) -> list[Found]:
    """The rows of a sheet. Raises ReadError."""
    try:
        rows = file.rows(source.path)
    except ConfigError as error:
        raise ReadError(str(error)) from error
    models = names.by_bare_name(source.models)
    found = [_row(source, row, number, models) for number, row in enumerate(rows, 1)]
    return [dataclasses.replace(found[0], remarks=tuple(sheet_columns.remarks(rows))), *found[1:]]


def _row(source: Source, row: Row, number: int, models: Mapping[str, ModelShape]) -> Found:
    understood = spelling.normalized(row)
    by_name = {sheet_columns.name(title): text.strip() for title, text in row.items()}
    known = _known(understood)
    shape = names.model(understood.get("model", ""), models)
    figures = _figures(understood, by_name, known)
    outcome, cause = _outcome(understood, by_name, figures, sheet_columns.odd(row).values())
    causes, notes = (sheet_columns.texts(by_name, name) for name in ("cause", "remark"))
    if outcome == "ok" or not causes:  # a table of this project has both, others have one of them
        causes, notes = [*causes, *notes], []
    return Found(
        lines=[],
        imported=Imported(
            format="sheet",
            source=f"{source.path.name} row {number}",
            path=str(source.path.resolve()),
            sha256=source.sha256,
            known=known,
            outcome=outcome,
            cause=None if outcome == "ok" else "; ".join(causes) or cause,
            remark="; ".join(causes if outcome == "ok" else notes) or None,
            figures=_with_tflops(figures, known, shape, by_name),
            stated_tflops_per_gpu=_stated(by_name),
            seconds=sheet_columns.figure(by_name, "seconds"),
            job_id=by_name.get("jobid") or None,
            hosts=tuple(by_name.get("hosts", "").split()),
            commit=by_name.get("commit") or None,
        ),
    )


def _ours(by_name: Row) -> bool:
    """Whether it is a table of this project, which has its own TFLOP/s beside the stated."""
    return sheet_columns.TITLES["stated_tflops_per_gpu"][0] in by_name


def _stated(by_name: Row) -> float | None:
    titles = sheet_columns.TITLES["stated_tflops_per_gpu"]
    return sheet_columns.number(by_name, titles[:1] if _ours(by_name) else titles)


def _known(row: Row) -> RunFacts:
    sizes = {name: _whole(row, name) for name in sheet_columns.SIZES}
    sequence = _whole(row, "seq_len", 1024)
    gpus, per_node = _whole(row, "n_gpus"), _whole(row, "gpus_per_node")
    nodes = sizes["nodes"]
    if gpus is None and nodes and per_node:
        gpus = nodes * per_node
    strategy = row.get("zero_stage_or_strategy", "")
    recompute = row.get("recompute", "")
    precision = row.get("precision", "")
    return RunFacts(
        **sizes,
        gpus=gpus,
        backend=row.get("backend") or None,
        model=row.get("model") or None,
        params_b=spelling.billions(row.get("params_b", "")),
        sp=spelling.flag("seq_parallel", row.get("seq_parallel", "")),
        zero=spelling.first(spelling.STAGES, strategy) if strategy else None,
        global_batch=_batch(row, sequence),
        micro_batch=_whole(row, "micro_batch"),
        recompute=spelling.first(spelling.RECOMPUTED, recompute) if recompute else None,
        seq_len=sequence,
        precision=spelling.first(spelling.PRECISIONS, precision) if precision else None,
    )


def _whole(row: Row, name: str, thousand: int = 1000) -> int | None:
    value = spelling.number(row.get(name, ""), thousand)
    return int(value) if value else None


def _batch(row: Row, sequence: int | None) -> int | None:
    """Sequences of a step; of a batch of tokens only where a sequence is known."""
    stated = _whole(row, "global_batch", 1024)
    if stated and (stated >= MOST_SEQUENCES or "tok" in row.get("global_batch", "").lower()):
        return stated // sequence or None if sequence else None
    return stated


def _figures(row: Row, by_name: Row, known: RunFacts) -> Figures:
    """What its columns state, which a hand rounded."""
    per_gpu, total, seconds, memory = (
        spelling.number(row.get(name, ""))
        for name in ("tokens_per_s_per_gpu", "tokens_per_s", "step_s", "mem_gb")
    )
    tokens = known.global_batch * known.seq_len if known.global_batch and known.seq_len else None
    speed = total or (per_gpu * known.gpus if per_gpu and known.gpus else None)
    if speed is None and tokens and seconds:
        speed = tokens / seconds
    least_watts, most_watts = sheet_columns.ends(by_name, sheet_columns.POWER)
    others = {  # by more than a column of their own
        "tokens_per_s": speed,
        "step_ms_p50": 1000 * seconds if seconds else None,
        "mem_max_gib": memory,
        "power_min_w": least_watts,
        "power_max_w": most_watts,
    }
    stated = {
        name: sheet_columns.figure(by_name, name)
        for name in FIGURES
        if COLUMNS[name].from_sheet is not None
    }
    return Figures(**others | {name: value for name, value in stated.items() if value is not None})  # type: ignore[arg-type]


def _with_tflops(
    figures: Figures, known: RunFacts, shape: ModelShape | None, by_name: Row
) -> Figures:
    """Model FLOPs as this project counts them, where the sheet names a model it knows."""
    if _ours(by_name):
        ours = sheet_columns.number(by_name, ("tflopspergpu",))
        return dataclasses.replace(figures, tflops_per_gpu=ours)
    if shape is None or not (figures.tokens_per_s and known.seq_len and known.gpus):
        return figures
    flops = dataclasses.replace(shape, sequence=known.seq_len).flops_per_token
    tflops = figures.tokens_per_s * flops / known.gpus / 1e12
    return dataclasses.replace(figures, tflops_per_gpu=tflops)


def _outcome(
    row: Row, by_name: Row, figures: Figures, odd: Iterable[str]
) -> tuple[Outcome, str | None]:
    """What a row says of its end: in its own column, else by its notes, else by its figures."""
    stated = sheet_columns.texts(by_name, "outcome")
    # A number is no word: a column "result" may be of speeds.
    said = next(
        (cell for cell in stated if not (sheet_columns.blank(cell) or spelling.number(cell))), ""
    )
    if said.lower() in OUTCOMES:
        return said.lower(), None  # type: ignore[return-value]
    if said and (word := sheet_outcomes.stated(said)):
        return word, said
    oom = spelling.flag("oom", row.get("oom", ""))
    if oom:
        return "oom", "out of memory"
    # "OOM" may stand where a speed should.
    causes, notes = (sheet_columns.texts(by_name, name) for name in ("cause", "remark"))
    for text in (*causes, *notes, *odd):
        if verdict := verdict_of_log(text):
            return verdict.outcome, text
        if word := sheet_outcomes.noted(text):
            return word, text
    if said:
        return "failed", f"no outcome is known by {said!r}"
    if oom is False:
        return "ok", None
    if figures.tokens_per_s or figures.step_ms_p50 or _stated(by_name):
        return "ok", None
    return "failed", "the row does not say what became of it"
