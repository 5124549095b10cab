"""Columns of the tables, one row each: table, sort, effects, labels, import and report go by it.

Without pandas, which takes a while to import.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from launcher.decode import look_up
from launcher.errors import ConfigError
from launcher.spec.run import RunSpec
from launcher.spec.shape import ModelShape

if TYPE_CHECKING:
    from launcher.results.record import RunRecord


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: how it is shown, compared, filled and read back."""

    name: str
    form: str = ""
    """Format of a known value: empty for text, "d" for a whole number, else of a number."""
    better: Literal["more", "less"] | None = None
    """Direction in which a value is the better one of two; None where there is none."""
    title: str | None = None
    """Head where there is little room; None is the name."""
    other_titles: tuple[str, ...] = ()
    """Heads that depend on the rows; like ``title``, a user may name the column by them."""
    visible: Literal["always", "where rows differ", "never"] = "where rows differ"
    """When a text for people has it; a file for programs has every column."""
    long: bool = False
    """Shown last, and on several lines where one is too short."""
    measured: bool = False
    """Empty before a run: what never ran differs from nothing in it."""
    figure: bool = False
    """Filled from the field of `launcher.results.record.Figures` with the same name."""
    truth: bool = False
    """True or false; another column without a form is a text."""
    spec_field: str | None = None
    """Field of `RunSpec` that it shows, dotted."""
    of_spec: Callable[[RunSpec], Any] | None = None
    """Value that a spec gives it, where that is not ``spec_field`` as it is."""
    of_record: Callable[["RunRecord"], Any] | None = None
    """Value that a record gives it, besides its spec and its figures."""
    axis: bool = False
    """Choice of a sweep, whose effect is compared; a column that follows from others is none."""
    label: Literal["name and value", "value"] | None = None
    """Part of the label of a point that differs from others in it."""
    decides_loss: bool = False
    """Runs that agree in all such columns have the same losses: a layout changes none."""
    from_sheet: tuple[str, ...] | None = None
    """Titles besides its name that an imported sheet may give it, as lower-case letters and digits,
    the best first; None where a sheet's column is not taken as it is (`launcher.foreign.sheet`)."""


@lru_cache(maxsize=4096)
def _params(model: ModelShape) -> int:
    return model.params


def _dp(spec: RunSpec) -> int | None:
    layout = spec.layout
    return None if spec.cluster.gpus % (layout.tp * layout.pp * layout.cp) else spec.dp


def _predicted(field: str) -> Callable[["RunRecord"], Any]:
    return lambda record: getattr(record.prediction, field, None)


def _error_pct(predicted: float | None, measured: float | None) -> float | None:
    return 100 * (predicted / measured - 1) if predicted and measured else None


def _memory_error_pct(record: "RunRecord") -> float | None:
    figures = record.figures
    if figures.memory_kind == "rss":  # of a process, which no prediction of a card is about
        return None
    return _error_pct(_predicted("memory_gib")(record), figures.mem_max_gib)


def _step_error_pct(record: "RunRecord") -> float | None:
    return _error_pct(_predicted("step_ms")(record), record.figures.step_ms_p50)


_choice = partial(Column, axis=True, label="name and value")
_figure = partial(Column, measured=True, figure=True)
_fact = partial(Column, measured=True)

COLUMNS: Mapping[str, Column] = {column.name: column for column in (
    Column("row", "d", "more", visible="always", of_record=attrgetter("row")),
    Column("sweep"),
    Column("spec_id", visible="never", of_record=attrgetter("spec.id")),
    Column("outcome", visible="always", of_record=attrgetter("outcome"),
           from_sheet=("status", "result", "state")),
    Column("cause", long=True, of_record=attrgetter("cause"), from_sheet=("reason", "error")),
    Column("remark", long=True, of_record=attrgetter("remark"), label="value",
           from_sheet=("remarks", "notes", "note", "comment", "comments", "memo")),
    Column("stage", of_spec=lambda spec: spec.stage.name if spec.stage else None, label="value"),
    _choice("backend", spec_field="backend", label="value"),
    _choice("model", spec_field="model.name", label="value", decides_loss=True),
    Column("params_b", ",.4f", "more", of_spec=lambda spec: _params(spec.model) / 1e9),
    _choice("nodes", "d", "less", spec_field="cluster.nodes"),
    # More cards are a choice; the label of a point has its nodes and need not say it twice.
    _choice("gpus", "d", "less", spec_field="cluster.gpus_per_node",
            of_spec=attrgetter("cluster.gpus"), label=None),
    Column("dp", "d", "more", of_spec=_dp),
    _choice("tp", "d", "more", spec_field="layout.tp"),
    _choice("pp", "d", "more", spec_field="layout.pp"),
    _choice("vpp", "d", "more", spec_field="layout.vpp"),
    _choice("pipeline_layout", spec_field="layout.pipeline"),
    _choice("cp", "d", "more", spec_field="layout.cp"),
    _choice("ep", "d", "more", spec_field="layout.ep"),
    # A dense model has none.
    _choice("dispatcher", spec_field="layout.dispatcher", label="value",
            of_spec=lambda spec: spec.layout.dispatcher if spec.model.experts else None),
    _choice("sp", spec_field="layout.sequence_parallel", of_spec=attrgetter("layout.sp"),
            truth=True),
    _choice("zero", "d", "more", spec_field="layout.zero"),
    _choice("global_batch", "d", "more", "gbs", spec_field="train.global_batch",
            decides_loss=True),
    _choice("micro_batch", "d", "more", "mbs", spec_field="layout.micro_batch"),
    _choice("recompute", spec_field="layout.recompute"),
    # Null where they are the default: core attention, and every layer, one at a time.
    _choice("recompute_modules", spec_field="layout.recompute_modules",
            of_spec=lambda spec: " ".join(sorted(spec.layout.recompute_modules or ())) or None),
    _choice("recompute_layers", "d", "less", spec_field="layout.recompute_layers"),
    _choice("recompute_method", spec_field="layout.recompute_method", of_spec=lambda spec: (
        spec.layout.recompute_method if spec.layout.recompute_layers else None)),
    _choice("seq_len", "d", "more", spec_field="model.sequence", decides_loss=True),
    _choice("precision", spec_field="train.precision", label="value", decides_loss=True),
    _choice("reduce_precision", spec_field="train.reduce_precision",
            of_spec=attrgetter("train.reduces_in"), decides_loss=True),
    Column("probe_micro_batches", "d", "more", decides_loss=True,
           of_record=attrgetter("spec.train.probe_micro_batches")),
    _figure("tflops_per_gpu", ",.4g", "more", "tflops"),
    Column("stated_tflops_per_gpu", ",.4g", "more", from_sheet=(
        "tflopspergpu", "tflopsgpu", "tflops", "tflopsgpus", "tflopsdevice", "tflopss")),
    _figure("mfu_pct", ",.1f", "more", from_sheet=("mfu",)),
    _figure("hfu_pct", ",.1f", "more", from_sheet=("hfu",)),
    _figure("tokens_per_s", ",.0f", "more", visible="always"),
    # Of `analysis.scaling`: it needs the other rows.
    _fact("scaling_pct", ",.1f"),
    _figure("step_ms_p50", ",.1f", "less", "step_ms", visible="always"),
    _figure("step_ms_p95", ",.1f", "less", visible="never", from_sheet=()),
    _figure("step_ms_error", ",.2f", "less", visible="never", from_sheet=()),
    _figure("mem_min_gib", ",.2f", "less", visible="never", from_sheet=("memmingb", "minmemgb")),
    _figure("mem_max_gib", ",.2f", "less", other_titles=("rss_gib", "mem_gib"), visible="always",
            from_sheet=("memmaxgb", "maxmemgb")),
    _figure("power_min_w", ",.0f", "less", from_sheet=()),
    _figure("power_max_w", ",.0f", "less", from_sheet=()),
    _figure("loss_first", ",.4f", "less", visible="never", from_sheet=("firstloss", "initialloss")),
    _figure("loss_last", ",.4f", "less", visible="always",
            from_sheet=("finalloss", "lossfinal", "lastloss", "loss", "trainloss", "lmloss")),
    _figure("grad_norm_max", ",.3f", "less", visible="never", from_sheet=()),
    _figure("spikes", "d", "less", from_sheet=()),
    _figure("skipped", "d", "less", from_sheet=()),
    _figure("rollbacks", "d", "less", from_sheet=()),
    _figure("steps", "d", "more", from_sheet=("numsteps", "nsteps")),
    _fact("attempt", "d", "more", of_record=attrgetter("attempt")),
    _fact("seconds", ",.1f", "less", visible="never", of_record=attrgetter("seconds"),
          from_sheet=()),
    _fact("eta_days", ",.2f", "less", of_record=attrgetter("eta_days")),
    _fact("bad_hosts", of_record=lambda record: " ".join(record.bad_hosts) or None),
    _fact("hosts", visible="never", of_record=lambda record: " ".join(record.hosts) or None,
          from_sheet=()),
    _fact("job_id", visible="never", of_record=attrgetter("job_id"), from_sheet=()),
    _fact("commit", visible="never", of_record=attrgetter("commit"), from_sheet=()),
    _fact("code", visible="never", of_record=attrgetter("code")),
    _fact("optimizer", visible="never", of_record=attrgetter("optimizer")),
    _fact("expert_product", visible="never", of_record=attrgetter("expert_product")),
    Column("pred_mem_gib", ",.2f", "less", of_record=_predicted("memory_gib")),
    Column("pred_oom_prob", ".3f", "less", of_record=_predicted("oom")),
    Column("pred_step_ms", ",.1f", "less", of_record=_predicted("step_ms")),
    _fact("pred_mem_err_pct", "+,.1f", of_record=_memory_error_pct),
    _fact("pred_step_err_pct", "+,.1f", of_record=_step_error_pct),
    Column("folder", visible="never"),
)}  # fmt: skip
"""Columns of the table of runs, in their order; a figure that is added to one of `Figures` and to
`launcher.results.summary` needs no more than its row here."""

PLANNED: Mapping[str, Column] = {column.name: column for column in (
    Column("plan", visible="always"),
    Column("reason", long=True),
    Column("days", ",.2f"),
    Column("gpu_hours", ",.0f"),
    Column("price", ",.0f"),
)}  # fmt: skip
"""Columns that only a plan has."""

STAGES: Mapping[str, Column] = {column.name: column for column in (
    Column("tokens", ",d"),
    Column("until_step", "d"),
    Column("sequence", "d"),
    Column("lr_first", ".4g"),
    Column("lr_last", ".4g"),
    Column("checkpoint_gib", ",.3g"),
    Column("checkpoints", "d"),
)}  # fmt: skip
"""Columns that only the stages of a curriculum have; texts need no row."""

_ALL = {**STAGES, **PLANNED, **COLUMNS}

FORMS = {name: column.form for name, column in _ALL.items()}
"""Formats of all columns, of which a table of anything else has none."""

NUMERIC = {name: column for name, column in COLUMNS.items() if column.better}
"""Columns of which more, or less, is better."""

SPEED = "tokens_per_s"
"""Goal of a sweep of layouts, which the planner predicts."""

GOALS = {name: column for name, column in COLUMNS.items() if column.figure and column.better}
"""Columns that a sweep may look for the best of: what is measured."""

OF_SPEC: Mapping[str, Callable[[RunSpec], Any]] = {
    name: column.of_spec or attrgetter(str(column.spec_field))
    for name, column in COLUMNS.items()
    if column.of_spec or column.spec_field
}
"""Columns that the spec alone decides, and their values."""

OF_RECORD: Mapping[str, Callable[["RunRecord"], Any]] = {
    name: column.of_record for name, column in COLUMNS.items() if column.of_record
}
"""Columns that a record decides besides its spec and its figures, and their values."""

FIGURES = tuple(name for name, column in COLUMNS.items() if column.figure)
"""Columns that are fields of `launcher.results.record.Figures`."""

CHOICES = tuple(name for name, column in COLUMNS.items() if column.axis)
"""Columns that tell the points of a sweep from each other, none of which follows from others."""

_NAMES = {
    title: name
    for name, column in COLUMNS.items()
    for title in (column.title, *column.other_titles)
    if title
}


def column_of(name: str) -> Column:
    """Row of a column; of one that no table here has, a row that says no more than its name."""
    return _ALL.get(name) or Column(name)


def figure(name: str, value: float) -> str:
    """Write a figure as in a sentence: ``8,642 tokens/s``, ``loss_last 7.2580``."""
    column = column_of(name)
    text = f"{value:{column.form}}"
    return f"{text} tokens/s" if name == SPEED else f"{column.title or name} {text}"


def resolved(title: str, where: str, among: Mapping[str, Any] = NUMERIC) -> str:
    """Name of a column that is given by it or by a title that a table shows it under.

    Raises:
        ConfigError: none of ``among`` is called that.
    """
    name = _NAMES.get(title, title)
    look_up(name, among, where)
    return name


def check(sort: str | None, form: str, path: str | None) -> None:
    """Raise ConfigError on what `analysis.table` could not do once all has run."""
    if sort is not None:
        resolved(sort.removeprefix("-"), "--sort", COLUMNS)
    if path is None and form == "parquet":
        raise ConfigError("--format parquet is not text: say where with --output FILE")
    if path is not None and not Path(path).parent.is_dir():
        target = Path(path)
        raise ConfigError(f"--output: no folder {target.parent} to write {target.name} in")
