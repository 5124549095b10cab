"""Outputs of ``--format json``, a schema each: ``launch VERB --schema``, docs/json.md, the tests.

Keys and their types are those of the columns and dataclasses that the verbs print from.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from analysis.alarms import Alarm
from launcher.cli.json_types import Schema, key, object_of, of_column, of_dataclass, rows
from launcher.cli.top.snapshot import Snapshot
from launcher.results.columns import COLUMNS, OF_SPEC, PLANNED, column_of
from launcher.results.outcomes import OUTCOMES
from launcher.spec.spike_guard import SpikeGuard
from slurm.node.node_check import VERSIONS
from sweeps.replay import Replayed

DRAFT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """Output of a verb, of one of several where it has some."""

    verb: str
    """Its first word; "" for the command without a verb."""
    usage: str
    """Arguments that lead to it."""
    element: str
    """What the document is, or one element of it."""
    make: Callable[[], Schema]

    @property
    def command(self) -> str:
        """Command as a user types it, without ``--format json``."""
        return " ".join(filter(None, ("launch", self.verb, self.usage)))

    @property
    def schema(self) -> Schema:
        """Schema of the document."""
        return {"$schema": DRAFT, "title": self.command, **self.make()}


def schema_of(verb: str) -> Schema:
    """Schema of all that a verb prints with ``--format json``."""
    schemas = [output.schema for output in OUTPUTS if output.verb == verb]
    if len(schemas) == 1:
        return schemas[0]
    return {"$schema": DRAFT, "title": f"launch {verb}", "anyOf": schemas}


def _table() -> Schema:
    return rows(_records())


def _records() -> dict[str, Schema]:
    columns = {name: of_column(column) for name, column in COLUMNS.items()}
    outcome = {"type": "string", "enum": [*OUTCOMES, "unreadable"]}
    return columns | {"outcome": columns["outcome"] | outcome}


PLAN = (
    "row", "spec_id", "plan", "reason", "remark", "stage", "backend", "model", "params_b", "nodes",
    "gpus", "dp", "tp", "pp", "vpp", "pipeline_layout", "cp", "ep", "dispatcher", "sp", "zero",
    "global_batch", "micro_batch", "recompute", "recompute_modules", "recompute_layers",
    "recompute_method", "seq_len", "precision", "reduce_precision", "pred_mem_gib", "pred_oom_prob",
    "pred_step_ms", "tokens_per_s", "tflops_per_gpu", "days", "gpu_hours", "price", "scaling_pct",
)  # fmt: skip
"""Columns of `analysis.plan.frame`."""


def _plan() -> Schema:
    never_null = {"row", "spec_id", "plan", *OF_SPEC} - {
        "dp", "stage", "pipeline_layout", "dispatcher", "recompute_modules", "recompute_layers",
        "recompute_method",
    }  # fmt: skip
    columns = {name: of_column(column_of(name), name in never_null) for name in PLAN}
    plan = {"type": "string", "enum": ["run", "pruned", "rejected"]}
    return rows(columns | {"plan": columns["plan"] | plan})


def _stages() -> Schema:
    texts = {
        "state": "to train, done, or the step of its newest checkpoint: at 40",
        "layout": "engine and degrees, for people",
        "epochs": "passes over each source by the end of the stage, for people; ~ is an estimate",
    }
    names = (
        "stage", "state", "tokens", "steps", "until_step", "sequence", "global_batch",
        "batch_start", "lr_first", "lr_last", "layout", "nodes", "precision", "epochs",
        "pred_mem_gib", "pred_oom_prob", "checkpoint_gib", "checkpoints", *PLANNED,
    )  # fmt: skip
    never_null = set(names) - {"pred_mem_gib", "pred_oom_prob", *PLANNED}
    described = {name: key("string", text, known=True) for name, text in texts.items()}
    described["batch_start"] = key(
        "integer", "sequences of its first step; null where the batch does not grow", "sequences"
    )
    return rows({
        name: described.get(name) or of_column(column_of(name), name in never_null)
        for name in names
        if name not in ("plan", "reason")
    })  # fmt: skip


def _terms() -> Schema:
    return rows({
        "of": key("string", "memory, with the stage of the pipeline, or step", known=True),
        "term": key("string", "name of the term, together, needed on the device, or there is",
                    known=True),
        "gib": key("number", "size of a term of the memory", "GiB"),
        "ms": key("number", "duration of a term of the step", "ms"),
        "share_pct": key("number", "share of all terms together", "%"),
        "meaning": key("string", "what the term is"),
    })  # fmt: skip


def _sheet() -> Schema:
    keys = {
        "pred_mem_gib": key("number", "predicted memory of the fullest card", "GiB"),
        "pred_oom_prob": key("number", "probability that this does not fit, 0 to 1"),
        "pred_step_ms": key("number", "predicted time of a step", "ms"),
        "pred_tokens_per_s_per_gpu": key("number", "predicted speed of a card", "tokens/s"),
        "plan_outcome": key("string", "what would become of the row", known=True,
                            enum=["ok", "oom", "rejected", "unknown"]),
        "plan_reason": key("string", "why it would not run, or gets no prediction"),
        "plan_note": key("string", "what was assumed"),
    }  # fmt: skip
    sheet_cell = {
        "type": ["string", "null"],
        "description": "a column of the sheet, as it is written",
    }
    return rows(keys, additionalProperties=sheet_cell)


def _fit() -> Schema:
    percent = {
        "median_err_pct": "median error of the predictions for a source that was left out",
        "bias_pct": "median of prediction / measurement - 1",
        "err_after_3_pct": "median error once three of its runs are known",
        "right_pct": "rows whose fit in memory was predicted rightly",
        "missed_oom_pct": "rows that ran out of memory and were predicted to fit",
    }
    return rows({
        "of": key("string", "step time or memory", known=True),
        "source": key("string", "source that was left out, or all of these", known=True),
        "rows": key("integer", "its rows", known=True),
        **{name: key("number", text, "%") for name, text in percent.items()},
        "rank_in_grid": key("number", "rank correlation inside its grids"),
    })  # fmt: skip


def _replay() -> Schema:
    trial = {
        "row": key("integer", "row of the file, from 1", known=True),
        "outcome": key("string", "how it ended", known=True, enum=["ok", "oom"]),
        "tokens_per_s_per_gpu": key("number", "measured speed of a card", "tokens/s"),
    }
    group = of_dataclass(Replayed, units={"regret": "share of 1"})
    group["properties"]["trials"] |= {"items": object_of(trial)}
    group["properties"]["group"] |= {"description": "values of the --group-by columns"}
    return {"type": "array", "items": group}


def _check() -> Schema:
    return rows({
        "node": key("string", "name of the node", known=True),
        "ok": key("boolean", "fit to train; null where it was not looked at"),
        "faults": key("string", "what is wrong with it"),
        "cards": key("integer", "cards of the node"),
        **{name: key("string", f"version of {name}") for name in VERSIONS},
        "seconds": key("number", "duration of the check", "s"),
        "allreduce_gb_s": key("number", "bus speed of an all-reduce over all ranks", "GB/s"),
    })  # fmt: skip


def _status() -> Schema:
    return rows({
        "run": key("string", "folder of the run, below DIR where it has several sweeps",
                   known=True),
        "state": key("string", "not started, queued, running, gone (from the batch system), or"
                     " its outcome", known=True),
        "job": key("string", "job of the batch system"),
        "slurm": key("string", "state of the job, and the reason why it waits"),
        "attempt": key("integer", "starts so far"),
        "hosts": key("string", "nodes, with blanks between them"),
        "step": key("integer", "last optimizer step"),
        "loss": key("number", "its loss; null where it is not finite, too", "nats"),
        "finite": key("boolean", "false where its loss is nan or inf; null without a loss"),
        "tokens_per_s": key("number", "its speed, of all ranks together", "tokens/s"),
        "silent_s": key("integer", "time since the rank that is furthest behind did a step", "s"),
        "cause": key("string", "why it did not end well, or waits"),
    })  # fmt: skip


TOP_UNITS = {
    "time": "s since 1970", "silent": "s", "limit": "s", "since": "s", "ago": "s",
    "seconds_left": "s", "checkpoint_ago": "s", "losses": "nats", "speeds": "tokens/s",
    "memory_gib": "GiB", "gpu_hours": "GPU hours", "max_gpu_hours": "GPU hours",
    "tokens": "tokens", "total_tokens": "tokens",
}  # fmt: skip


def _top() -> Schema:
    schema = of_dataclass(Snapshot, TOP_UNITS)
    best = object_of({
        "label": key("string", "values that tell it from the other points", known=True),
        "tokens_per_s": key("number", "its speed", "tokens/s", known=True),
    })  # fmt: skip
    schema["properties"] |= {
        "outcomes": {
            "type": "object",
            "additionalProperties": {"type": "integer"},
            "description": "points that ended, by outcome",
        },
        "best": best | {"type": ["object", "null"], "description": "fastest point"},
    }
    return schema


def _best() -> Schema:
    config = {"type": "object", "description": "keys of the run (docs/keys.md) -> values"}
    row = object_of(_records(), title="launch table")
    program: dict[str, Schema] = {
        "name": key("string", "that of --as", known=True),
        "command": {"type": "array", "items": {"type": "string"}, "description": "its words"},
        "arguments": {"type": "object", "description": "its arguments -> values"},
        "chosen_there": {"type": "object", "description": "field of the run -> what decides it"},
    }
    as_program = object_of(program) | {
        "type": ["object", "null"],
        "description": "null without --as",
    }
    return object_of({"row": row, "config": config, "program": as_program})


COUNTS = {
    "points": "steps with a value",
    "skipped_lines": "lines that cannot be read",
    "events": "spikes, nan, inf and creeps",
    "loss_spike": "of these, of the loss",
    "norm_spike": "of these, of the gradient norm",
    "nan": "of these, not a number",
    "inf": "of these, infinite",
    "creep": "of these, rises without a spike",
    "recovered": "events that came back",
    "diverged": "events that did not",
    "skipped_updates": "updates that the guard would not have applied",
    "rollbacks": "rollbacks that it would have made",
    "stops": "ends that it would have made",
    "labelled": "labelled events; with --labels",
    "found": "of these, with an alarm; with --labels",
    "false_alarms": "alarms for none of these; with --labels",
}
LABELLED = ("labelled", "found", "false_alarms")
CLEAN = ("clean_series", "clean_false_alarms")
"""Counts that are there with ``--labels`` alone."""


def _spikes() -> Schema:
    counts = {name: key("integer", text, known=True) for name, text in COUNTS.items()}
    series = {"series": key("string", "name of the series", known=True)}
    total = {"series": key("integer", "series", known=True), **counts} | {
        "clean_series": key("integer", "series without a label; with --labels", known=True),
        "clean_false_alarms": key("integer", "alarms in these; with --labels", known=True),
    }
    labelled = {"labelled": key("boolean", "for a labelled event; with --labels", known=True)}
    events = series | of_dataclass(Alarm)["properties"] | labelled
    return object_of({
        "settings": of_dataclass(SpikeGuard) | {"title": "train.spike_guard (docs/keys.md)"},
        "events": rows(events, labelled),
        "series": rows(series | counts, LABELLED),
        "total": object_of(total, (*LABELLED, *CLEAN)),
    })  # fmt: skip


def _sample() -> Schema:
    loss = key("number", "validation loss of that source; null where there is none", "nats")
    return rows(
        {
            "run": key("string", "folder of the run, where there are several"),
            "step": key("integer", "step of the checkpoint", known=True),
            "prompt": key("string", "beginning that was given; null where nothing was generated"),
            "text": key("string", "continuation by the model"),
            "flags": key("string", "signs of a bad text (docs/samples.md), with commas"),
        },
        patternProperties={"^loss ": loss},
    )


def _import() -> Schema:
    from launcher.cli.verbs.results.import_runs import ImportedSource

    return {"type": "array", "items": of_dataclass(ImportedSource)}


def _sync() -> Schema:
    states = ["uploaded", "failed", "running", "to upload"]
    return rows({
        "run": key("string", "folder of the run, below DIR", known=True),
        "state": key("string", "what became of it; to upload: with --dry-run", known=True,
                     enum=states),
        "cause": key("string", "why it could not be uploaded"),
    })  # fmt: skip


def _cancel() -> Schema:
    return rows({"run": key("string", "run that was ended", known=True)})


def _report() -> Schema:
    return object_of({
        "path": key("string", "the HTML file", known=True),
        "bytes": key("integer", "its size", "bytes", known=True),
    })  # fmt: skip


OUTPUTS = (
    Output(verb="plan", usage="[KEY=VALUE ...]", element="a point", make=_plan),
    Output(verb="plan", usage="curriculum=NAME", element="a stage", make=_stages),
    Output(verb="plan", usage="--explain ROW", element="a term of the prediction", make=_terms),
    Output(verb="plan", usage="--runs FILE.csv", element="a row of the sheet, with its columns"
           " besides", make=_sheet),
    Output(verb="plan", usage="--fit FILE.csv", element="a source that was left out", make=_fit),
    Output(verb="replay", usage="FILE.csv", element="a group of rows", make=_replay),
    Output(verb="check", usage="[KEY=VALUE ...]", element="a node", make=_check),
    Output(verb="", usage="[KEY=VALUE ...]", element="a point, or a stage", make=_table),
    Output(verb="", usage="[KEY=VALUE ...] detach=true", element="a run", make=_status),
    Output(verb="resume", usage="DIR [KEY=VALUE]", element="a point, or a stage", make=_table),
    Output(verb="resume", usage="DIR detach=true", element="a run", make=_status),
    Output(verb="submit", usage="[KEY=VALUE ...]", element="a run", make=_status),
    Output(verb="status", usage="DIR", element="a run", make=_status),
    Output(verb="top", usage="DIR", element="the state of the folder at one moment", make=_top),
    Output(verb="cancel", usage="DIR", element="a run", make=_cancel),
    Output(verb="table", usage="DIR...", element="a point", make=_table),
    Output(verb="report", usage="DIR...", element="the file", make=_report),
    Output(verb="best", usage="DIR", element="the best run: its row of the table, and the keys"
           " that start it", make=_best),
    Output(verb="spikes", usage="FILE.csv|DIR", element="all events, the counts of each series and"
           " of all", make=_spikes),
    Output(verb="sample", usage="DIR", element="a prompt of a checkpoint, or a checkpoint without"
           " one", make=_sample),
    Output(verb="import", usage="LOG...", element="a log or a sheet", make=_import),
    Output(verb="sync", usage="DIR", element="a run", make=_sync),
)  # fmt: skip
"""Outputs of all verbs, in the order of ``launch --help``."""


def tables() -> str:
    """Markdown tables of all keys, for docs/json.md; one that another output has is named."""
    texts: list[str] = []
    first: dict[Callable[[], Schema], str] = {}
    for output in OUTPUTS:
        head = f"### `{output.command}`\n\n"
        schema = output.make()
        element = "one element is" if schema["type"] == "array" else "an object:"
        head += f"{element.capitalize()} {output.element}."
        earlier = first.setdefault(output.make, output.command)
        if earlier != output.command:
            texts.append(f"{head} Its keys are those of `{earlier}`.")
            continue
        lines = ["| key | type | unit | |", "| --- | --- | --- | --- |", *_lines(schema, "")]
        texts.append("\n".join([head, "", *lines]))
    return "\n\n".join(texts)


def _lines(schema: Schema, prefix: str) -> Iterator[str]:
    """Rows of the tables for the keys of an object, or of the objects in a list."""
    element = schema.get("items", schema)
    properties = element["properties"] | element.get("patternProperties", {})
    for name, value in properties.items():
        path = f"{prefix}{name.removeprefix('^')}{'SOURCE' if name.startswith('^') else ''}"
        inner = value.get("items", value)
        keys_of = f"its keys are those of {inner['title']}" if "title" in inner else None
        values = ", ".join(map(str, filter(None, value.get("enum", ()))))
        texts = filter(None, (value.get("description"), values, keys_of))
        line = "; ".join(texts).replace("|", "/")
        yield f"| `{path}` | {_type(value)} | {value.get('unit', '')} | {line} |"
        if "properties" in inner and not keys_of:
            yield from _lines(value, f"{path}{'[]' if 'items' in value else ''}.")


def _type(schema: Schema) -> str:
    """Type of a value in words: ``integer or null``, ``list of string``."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    elements = f" of {_type(schema['items'])}" if "items" in schema else ""
    return " or ".join(f"list{elements}" if kind == "array" else kind for kind in kinds)
