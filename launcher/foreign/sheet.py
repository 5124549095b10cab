"""A sheet kept by hand: every row is a run, as far as its columns tell."""

import dataclasses
import math
from collections.abc import Iterable, Mapping

from launcher.errors import ConfigError, ReadError
from launcher.foreign import sheet_columns, sheet_outcomes
from launcher.foreign.source import Source, SourceRun
from launcher.results.columns import COLUMNS, FIGURES
from launcher.results.endings.classify import verdict_of_log
from launcher.results.imported import Imported, RunFacts
from launcher.results.outcomes import OUTCOMES, Outcome
from launcher.results.record import Figures
from launcher.sheets import aliases as names
from launcher.sheets import cells, file, reading, recomputation, spelling
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
    runs = {number: row for number, row in enumerate(sheet_columns.in_percent(rows), 1)
            if not sheet_columns.is_no_run(row)}  # fmt: skip
    if not runs:
        raise ReadError(f"{source.path}: none of its rows is a run")
    first, *later = [_run(source, row, number, models) for number, row in runs.items()]
    remarks = sheet_columns.remarks(runs)
    return [dataclasses.replace(first, remarks=tuple(remarks)), *later]


def _run(source: Source, row: Row, number: int, models: Mapping[str, ModelShape]) -> SourceRun:
    row = {title: cells.plain(text) for title, text in row.items()}
    understood, measured = reading.normalized(row), reading.measured(row)
    by_name = {sheet_columns.name(title): text for title, text in row.items()}
    facts = _facts(understood, row)
    shape = names.model(understood.get("model", ""), models)
    figures = _figures(understood, by_name, facts, measured)
    stated = _stated(by_name, measured, facts.gpus)
    outcome, cause = _outcome(understood, by_name, row, stated is not None)
    causes, notes = (sheet_columns.texts(by_name, name) for name in ("cause", "remark"))
    if outcome == "ok":
        notes = [*sheet_columns.remarked_results(by_name), *notes]
    elif cause and cause in row.values() and cause not in (*causes, *notes):
        causes = [cause, *causes]  # the cell that says so
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
            stated_tflops_per_gpu=stated,
            seconds=sheet_columns.figure(by_name, "seconds"),
            job_id=by_name.get("jobid") or None,
            hosts=tuple(by_name.get("hosts", "").split()),
            commit=by_name.get("commit") or None,
        ),
    )


def _ours(by_name: Row) -> bool:
    """Return True for a table of this project: it has our TFLOP/s beside the stated ones."""
    return sheet_columns.TITLES["stated_tflops_per_gpu"][0] in by_name


def _stated(by_name: Row, measured: Mapping[str, float], gpus: int | None) -> float | None:
    """TFLOP/s of a card as the row states them, also by those of all cards."""
    titles = sheet_columns.TITLES["stated_tflops_per_gpu"]
    if _ours(by_name):
        return sheet_columns.number(by_name, titles[:1])
    if "stated_tflops_per_gpu" in measured:
        return measured["stated_tflops_per_gpu"]
    total = measured.get("stated_tflops")
    return total / gpus if total and gpus else sheet_columns.number(by_name, titles)


def _facts(row: Row, titles: Iterable[str]) -> RunFacts:
    sizes = {name: _whole(row, name) for name in sheet_columns.SIZES}
    sequence = _whole(row, "seq_len", 1024)
    gpus, per_node = _whole(row, "n_gpus"), _whole(row, "gpus_per_node")
    hardware = names.parse_hardware(row.get("hardware", ""))
    if sizes["nodes"] is None and hardware.nodes:
        sizes["nodes"] = int(hardware.nodes)
    nodes = sizes["nodes"]
    if gpus is None and nodes and per_node:
        gpus = nodes * per_node
    if gpus is None and hardware.cards:
        gpus = int(hardware.cards)
    replica = _replica(sizes, titles)
    if gpus is None and replica and sizes["dp"]:
        gpus = replica * sizes["dp"]
    dp = sizes["dp"] or (gpus // replica if gpus and replica else None)
    micro_batch, micro_batches = _whole(row, "micro_batch"), _whole(row, "accumulation")
    batch = _batch(row, sequence)
    if not row.get("global_batch") and micro_batch and micro_batches and dp:
        batch = micro_batch * micro_batches * dp
    strategy = row.get("zero_stage_or_strategy", "")
    dispatcher = row.get("dispatcher", "")
    precision, reduced = row.get("precision", ""), row.get("reduce_precision", "")
    recomputed = recomputation.read(row)
    return RunFacts(
        **sizes,
        gpus=gpus,
        backend=row.get("backend") or None,
        model=row.get("model") or None,
        params_b=spelling.billions(row.get("params_b", "")),
        pipeline_layout=spelling.pipeline_layout(row.get("pipeline_layout", "")),
        dispatcher=spelling.dispatcher(dispatcher) if dispatcher else None,
        sp=spelling.flag("seq_parallel", row.get("seq_parallel", "")),
        zero=spelling.first(spelling.STAGES, strategy) if strategy else None,
        global_batch=batch,
        micro_batch=micro_batch,
        recompute=recomputed.kind,
        recompute_modules=recomputed.named_modules,
        recompute_layers=recomputed.layers,
        recompute_method=recomputed.method,
        seq_len=sequence,
        precision=spelling.precision(precision) if precision else None,
        reduce_precision=spelling.precision(reduced) if reduced else None,
    )


def _replica(sizes: Mapping[str, int | None], titles: Iterable[str]) -> int | None:
    """Cards that hold one copy of the model; None where a degree has a column but no cell."""
    known = {spelling.column(title) for title in titles}
    degrees = [sizes[name] or (None if name in known else 1) for name in sheet_columns.GRID]
    return None if None in degrees else math.prod(degree or 1 for degree in degrees)


def _whole(row: Row, name: str, thousand: int = 1000) -> int | None:
    value = spelling.number(row.get(name, ""), thousand)
    return int(value) if value else None


def _batch(row: Row, sequence: int | None) -> int | None:
    """Sequences of a step; of a batch of tokens only where a sequence is facts."""
    batch = _whole(row, "global_batch", 1024)
    if batch and (batch >= MOST_SEQUENCES or "tok" in row.get("global_batch", "").lower()):
        return batch // sequence or None if sequence else None
    return batch


def _figures(row: Row, by_name: Row, facts: RunFacts, measured: Mapping[str, float]) -> Figures:
    """Figures as the columns state them: a hand rounded them."""
    per_gpu, total, seconds, memory = (
        spelling.number(row.get(name, ""))
        for name in ("tokens_per_s_per_gpu", "tokens_per_s", "step_s", "mem_gb")
    )
    tokens = facts.global_batch * facts.seq_len if facts.global_batch and facts.seq_len else None
    speed = total or (per_gpu * facts.gpus if per_gpu and facts.gpus else None)
    if speed is None and facts.seq_len:
        samples, gpus = measured.get("samples_per_s"), facts.gpus
        if samples is None and gpus and "samples_per_s_per_gpu" in measured:
            samples = measured["samples_per_s_per_gpu"] * gpus
        speed = samples * facts.seq_len if samples else None
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
            figures[name] = figures.get(name, measured.get(name)) if value is None else value
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
    row: Row, by_name: Row, written: Row, states_flops: bool
) -> tuple[Outcome, str | None]:
    """Outcome and cause of a row: by a column for it, else by its notes, else by its figures."""
    ran = states_flops or sheet_columns.ran(written)
    status = next(iter(sheet_columns.words_of_outcome(by_name)), "")
    if status.lower() in OUTCOMES:
        return status.lower(), None  # type: ignore[return-value]
    if status and (outcome := sheet_outcomes.stated(status)):
        return outcome, status
    for result in sheet_columns.remarked_results(by_name):
        if result.lower() in OUTCOMES:
            return result.lower(), None  # type: ignore[return-value]
        # Of a run with a speed it may be what somebody thought of it, and then only a fault counts.
        outcome = sheet_outcomes.noted(result) or (None if ran else sheet_outcomes.stated(result))
        if outcome:
            return outcome, result
        status = status or ("" if ran else result)
    oom = spelling.flag("oom", row.get("oom", ""))
    if oom:
        return "oom", "out of memory"
    # "OOM" may stand where a speed should.
    causes, notes = (sheet_columns.texts(by_name, name) for name in ("cause", "remark"))
    for text in (*causes, *notes, *sheet_columns.worded_figures(written)):
        if verdict := verdict_of_log(text):
            return verdict.outcome, text
        if outcome := sheet_outcomes.noted(text):
            return outcome, text
    if status:
        return "failed", f"no outcome is known by {status!r}"
    if oom is False:
        return "ok", None
    if ran:
        return "ok", None
    return "failed", "the row does not say what became of it"
