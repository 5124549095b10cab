"""A sheet kept by hand: every row is a run, as far as its columns tell."""

import dataclasses
from collections.abc import Iterable, Mapping

from launcher.errors import ConfigError, ReadError
from launcher.foreign import sheet_columns, sheet_outcomes
from launcher.foreign.source import Source, SourceRun
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


def read(source: Source) -> list[SourceRun]:
    """The rows of a sheet. Raises ReadError."""
    try:
        rows = file.rows(source.path)
    except ConfigError as error:
        raise ReadError(str(error)) from error
    models = names.by_bare_name(source.models)
    first, *later = [_run(source, row, number, models) for number, row in enumerate(rows, 1)]
    return [dataclasses.replace(first, remarks=tuple(sheet_columns.remarks(rows))), *later]


def _run(source: Source, row: Row, number: int, models: Mapping[str, ModelShape]) -> SourceRun:
    understood = spelling.normalized(row)
    by_name = {sheet_columns.name(title): text.strip() for title, text in row.items()}
    facts = _facts(understood)
    shape = names.model(understood.get("model", ""), models)
    figures = _figures(understood, by_name, facts)
    outcome, cause = _outcome(understood, by_name, figures, sheet_columns.odd(row).values())
    causes, notes = (sheet_columns.texts(by_name, name) for name in ("cause", "remark"))
    if outcome == "ok" or not causes:  # a table of this project has both, others have one of them
        causes, notes = [*causes, *notes], []
    return SourceRun(
        lines=[],
        imported=Imported(
            format="sheet",
            source=f"{source.path.name} row {number}",
            path=str(source.path.resolve()),
            sha256=source.sha256,
            known=facts,
            outcome=outcome,
            cause=None if outcome == "ok" else "; ".join(causes) or cause,
            remark="; ".join(causes if outcome == "ok" else notes) or None,
            figures=_with_tflops(figures, facts, shape, by_name),
            stated_tflops_per_gpu=_stated(by_name),
            seconds=sheet_columns.figure(by_name, "seconds"),
            job_id=by_name.get("jobid") or None,
            hosts=tuple(by_name.get("hosts", "").split()),
            commit=by_name.get("commit") or None,
        ),
    )


def _ours(by_name: Row) -> bool:
    """Return True for a table of this project: it has our TFLOP/s beside the stated ones."""
    return sheet_columns.TITLES["stated_tflops_per_gpu"][0] in by_name


def _stated(by_name: Row) -> float | None:
    titles = sheet_columns.TITLES["stated_tflops_per_gpu"]
    return sheet_columns.number(by_name, titles[:1] if _ours(by_name) else titles)


def _facts(row: Row) -> RunFacts:
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
    """Sequences of a step; of a batch of tokens only where a sequence is facts."""
    batch = _whole(row, "global_batch", 1024)
    if batch and (batch >= MOST_SEQUENCES or "tok" in row.get("global_batch", "").lower()):
        return batch // sequence or None if sequence else None
    return batch


def _figures(row: Row, by_name: Row, facts: RunFacts) -> Figures:
    """Figures as the columns state them: a hand rounded them."""
    per_gpu, total, seconds, memory = (
        spelling.number(row.get(name, ""))
        for name in ("tokens_per_s_per_gpu", "tokens_per_s", "step_s", "mem_gb")
    )
    tokens = facts.global_batch * facts.seq_len if facts.global_batch and facts.seq_len else None
    speed = total or (per_gpu * facts.gpus if per_gpu and facts.gpus else None)
    if speed is None and tokens and seconds:
        speed = tokens / seconds
    least_watts, most_watts = sheet_columns.ends(by_name, sheet_columns.POWER)
    figures = {  # by more than a column of their own
        "tokens_per_s": speed,
        "step_ms_p50": 1000 * seconds if seconds else None,
        "mem_max_gib": memory,
        "power_min_w": least_watts,
        "power_max_w": most_watts,
    }
    for name in FIGURES:
        if COLUMNS[name].from_sheet is not None:
            value = sheet_columns.figure(by_name, name)
            figures[name] = figures.get(name) if value is None else value
    return Figures(**figures)  # type: ignore[arg-type]


def _with_tflops(
    figures: Figures, facts: RunFacts, shape: ModelShape | None, by_name: Row
) -> Figures:
    """Model FLOPs as this project counts them, where the sheet names a model it knows."""
    if _ours(by_name):
        ours = sheet_columns.number(by_name, ("tflopspergpu",))
        return dataclasses.replace(figures, tflops_per_gpu=ours)
    if shape is None or not (figures.tokens_per_s and facts.seq_len and facts.gpus):
        return figures
    flops = dataclasses.replace(shape, sequence=facts.seq_len).flops_per_token
    tflops = figures.tokens_per_s * flops / facts.gpus / 1e12
    return dataclasses.replace(figures, tflops_per_gpu=tflops)


def _outcome(
    row: Row, by_name: Row, figures: Figures, odd: Iterable[str]
) -> tuple[Outcome, str | None]:
    """Outcome and cause of a row: by a column for it, else by its notes, else by its figures."""
    cells = sheet_columns.texts(by_name, "outcome")
    # A number is no word: a column "result" may be of speeds.
    words = (cell for cell in cells if not (sheet_columns.blank(cell) or spelling.number(cell)))
    status = next(words, "")
    if status.lower() in OUTCOMES:
        return status.lower(), None  # type: ignore[return-value]
    if status and (outcome := sheet_outcomes.stated(status)):
        return outcome, status
    oom = spelling.flag("oom", row.get("oom", ""))
    if oom:
        return "oom", "out of memory"
    # "OOM" may stand where a speed should.
    causes, notes = (sheet_columns.texts(by_name, name) for name in ("cause", "remark"))
    for text in (*causes, *notes, *odd):
        if verdict := verdict_of_log(text):
            return verdict.outcome, text
        if outcome := sheet_outcomes.noted(text):
            return outcome, text
    if status:
        return "failed", f"no outcome is known by {status!r}"
    if oom is False:
        return "ok", None
    if figures.tokens_per_s or figures.step_ms_p50 or _stated(by_name):
        return "ok", None
    return "failed", "the row does not say what became of it"
