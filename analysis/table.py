"""Records as a table with one row per point: best first, failures after, rejections last."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from analysis import text
from analysis.folding import fold
from analysis.loading.rows import UNFINISHED, Row, of_record
from analysis.scaling import scaling_pct
from launcher.errors import ConfigError
from launcher.files import json_text
from launcher.results.columns import COLUMNS, FORMS, SPEED, column_of, resolved
from launcher.results.outcomes import NEVER_RAN
from launcher.results.record import RunRecord
from launcher.results.sweep_folder import SweepFolder


def frame(
    records: Sequence[RunRecord],
    sort: str | None = None,
    goal: str = SPEED,
    sweep: SweepFolder | None = None,
) -> pd.DataFrame:
    """`arranged` of the rows of records; ``sweep`` is the folder that they are of."""
    return arranged([of_record(record) | _place(record, sweep) for record in records], sort, goal)


def _place(record: RunRecord, sweep: SweepFolder | None) -> dict[str, str | None]:
    """Folders of a record: what never ran has none of its own."""
    if sweep is None:
        return {}
    run = sweep.run(record.spec.name)
    return {"sweep": str(sweep.path), "folder": str(run.path) if run.has_spec else None}


def arranged(rows: Sequence[Row], sort: str | None = None, goal: str = SPEED) -> pd.DataFrame:
    """Rows in the columns of `COLUMNS`; what is unknown is NA.

    Args:
        rows: of `analysis.loading.rows`, in any order.
        sort: a column, ascending; with a leading "-" descending. Without it the best comes
            first, then what failed, then what never ran; stages of a curriculum in their order.
        goal: the column of which the best is sought.

    Raises:
        ConfigError: no such column.
    """
    cells = [[row[name] for name in COLUMNS] for row in rows]
    table = pd.DataFrame.from_records(cells, columns=list(COLUMNS))
    table = table.astype({name: "Int64" for name, column in COLUMNS.items() if column.form == "d"})
    groups = [str(row["scaling_group"]) for row in rows]
    table["scaling_pct"] = scaling_pct(table, table["outcome"] == "ok", lambda: groups)
    kinds = {row["memory_kind"] for row in rows} - {None}
    table.attrs |= {"memory": "rss_gib" if kinds == {"rss"} else "mem_gib", "goal": goal}
    if sort is not None:
        return sorted_by(table, sort)
    if table["stage"].notna().all() and len(table):
        return sorted_by(table, "row") if table["row"].notna().any() else table
    order = table["outcome"].map(_rank).astype(float)
    merit = _merit(table, goal).where(order == 0)
    keys = pd.DataFrame({"order": order, "merit": -merit, "row": table["row"]})
    return table.loc[keys.sort_values(["order", "merit", "row"]).index].reset_index(drop=True)


def _merit(rows: pd.DataFrame, goal: str) -> "pd.Series[Any]":
    """Values of a column, of which more is better."""
    values = pd.to_numeric(rows[goal])
    return -values if COLUMNS[goal].better == "less" else values


def plain(
    rows: Sequence[Mapping[str, Any]],
    sort: str | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Rows of any columns, or of these where there may be no row; what is unknown is NA.

    Raises:
        ConfigError: no column to sort by.
    """
    table = pd.DataFrame(
        list(rows), columns=None if columns is None else list(columns)
    ).convert_dtypes()
    table.attrs["plain"] = True
    return table if sort is None else sorted_by(table, sort)


def narrow(
    rows: Sequence[Mapping[str, Any]],
    titles: Mapping[str, str],
    notes: Sequence[str],
    sort: str | None = None,
) -> pd.DataFrame:
    """Some columns of rows, for a text of usual width. Raises ConfigError: none to sort by.

    Args:
        rows: of any columns.
        titles: the columns, and their titles.
        notes: lines below the table.
        sort: a column of the rows, whether it is shown or not.
    """
    table = plain(rows, sort)[list(titles)]
    table.attrs |= {"plain": True, "titles": titles, "notes": notes, "wide": 120}
    table.attrs["folded"] = ("model", "layout")
    return table


def render(rows: pd.DataFrame, form: str) -> str:
    """A table as text; ``form`` is a key of `FORMATS`."""
    return FORMATS[form](rows)


def put(rows: pd.DataFrame, form: str, path: str | None, every_row: bool = True) -> None:
    """Print a table, or write it to a file.

    Args:
        rows: of `arranged`, or of another table.
        form: a key of `FORMATS`, or parquet.
        path: None is stdout.
        every_row: False folds points that never ran, in a text for people.

    Raises:
        ConfigError: that is not possible.
    """
    if form == "table" and not every_row:
        rows, causes = fold(rows)
        rows.attrs["causes"] = causes
    if path is not None and form == "parquet":
        try:
            rows.to_parquet(path)
        except OSError as error:
            raise ConfigError(f"--output: {path}: {error.strerror}") from error
        return
    write(render(rows, form), path)


def write(text: str, path: str | None) -> None:
    """Print a text, or write it to a file. Raises ConfigError where that is not possible."""
    if path is None:
        print(text)
        return
    try:
        Path(path).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output: {path}: {error.strerror}") from error


def sorted_by(rows: pd.DataFrame, sort: str) -> pd.DataFrame:
    """Rows in the order of a column; what is unknown comes last. Raises ConfigError."""
    column = resolved(sort.removeprefix("-"), "--sort", dict.fromkeys(rows.columns, ""))
    if len(rows) and rows[column].isna().all():
        raise ConfigError(f"--sort: {column} is empty in all rows")
    up = not sort.startswith("-")
    in_order = rows.sort_values(column, ascending=up, na_position="last", kind="stable")
    in_order.attrs["sorted_by"] = column
    return in_order.reset_index(drop=True)


def _rank(outcome: str) -> int:
    """Return 0 for ok, 1 for a failure, 2 for what never ran, 3 for what has not ended."""
    kinds: Sequence[Sequence[str]] = (("ok",), (), NEVER_RAN, UNFINISHED)
    return next((rank for rank, kind in enumerate(kinds) if outcome in kind), 1)


_WIDE = 250
"""Columns of text where no terminal says how wide it is."""


def _readable(rows: pd.DataFrame) -> tuple[list[str], text.Table]:
    """Texts that all rows share, and the columns that tell them apart."""
    shared, columns = split(rows)
    titles = rows.attrs.get("titles", {}) | {"mem_max_gib": rows.attrs.get("memory", "mem_max_gib")}
    table = text.Table(
        heads=[titles.get(name) or column_of(name).title or name for name in columns],
        cells=[_cells(name, rows[name]) for name in columns],
        right=[bool(FORMS.get(name)) for name in columns],
        folds=[column_of(name).long or name in rows.attrs.get("folded", ()) for name in columns],
    )
    return [f"{key} {cell(key, value)}" for key, value in shared.items()], table


def _best(rows: pd.DataFrame) -> int | None:
    """Position of the best row; None where it is the only one, or the table is another."""
    kind = next((name for name in ("outcome", "plan") if name in rows), None)
    if rows.attrs.get("plain") or kind is None or rows.get("stage", pd.Series()).notna().any():
        return None
    goal = rows.attrs.get("goal", SPEED)
    if goal not in rows:  # no plan predicts a loss
        return None
    if "sweep" in rows and rows["sweep"].nunique() > 1:  # runs of several aims
        return None
    usable = rows[kind].isin(("ok", "run")) & rows[goal].notna() & rows["spec_id"].notna()
    if usable.sum() < 2:
        return None
    chance = 1 - pd.to_numeric(rows["pred_oom_prob"]).fillna(0.0) if kind == "plan" else 1.0
    merits = (_merit(rows, goal) * chance).where(usable, -math.inf)
    return int(merits.to_numpy(dtype=float).argmax())


MARK = "*"
"""Mark of the best row."""

KEPT = ("row", "outcome", "plan", "tokens_per_s")
"""Columns that any terminal shows."""


def _fitting(
    table: text.Table, names: Sequence[str], width: int, goal: str
) -> tuple[text.Table, list[str]]:
    """Return the columns that fit a terminal, and the names of the others.

    Predictions go first, unless they are all that a table has; then what is neither chosen nor
    always shown, then other figures, then choices; texts such as the cause go last.
    """
    planned = "plan" in names  # nothing is measured yet, and the speed is predicted too

    def order(position: int) -> tuple[int, int]:
        column = column_of(names[position])
        stays = (
            column.long,
            column.axis and column.name != "sp",  # it follows from tp, unless it is swept
            column.visible == "always" or (planned and "pred_" in column.name),
            planned or "pred_" not in column.name,
        )
        return sum(8 >> i for i, stay in enumerate(stays) if stay), -position

    positions = list(range(len(names)))
    for position in sorted(positions, key=order):
        if table.of(positions).narrowest <= width:
            break
        if names[position] not in (*KEPT, goal):
            positions.remove(position)
    left_out = [table.heads[i] for i in range(len(names)) if i not in positions]
    return table.of(positions), left_out


def _brief(rows: pd.DataFrame, form: str) -> str:
    """Table for a pull request or a paper: as a person reads it."""
    shared, table = _readable(rows)
    bar, remark = (r"\|", "") if form == "github" else ("|", "% ")
    cells = [[text.replace("|", bar) for text in row] for row in zip(*table.cells, strict=True)]
    sides = ["right" if right else "left" for right in table.right] if cells else None
    body = tabulate(cells, table.heads, form, colalign=sides, disable_numparse=True)
    return f"{remark}{'  '.join(shared)}\n\n{body}" if shared else body


def _text(rows: pd.DataFrame) -> str:
    """Table for a terminal; what all rows share is said once, above."""
    shared, table = _readable(rows)
    terminal = text.terminal_width()
    width = terminal or rows.attrs.get("wide", _WIDE)
    notes = [*rows.attrs.get("notes", ())]
    table = replace(table, best=_best(rows))
    if terminal and not rows.attrs.get("plain"):
        room = width if table.best is None else width - len(MARK + text.GAP)
        table, left_out = _fitting(table, split(rows)[1], room, rows.attrs.get("goal", SPEED))
        if left_out:
            notes.append(f"not shown, for want of room: {', '.join(left_out)}")
    if table.best is not None:
        marks = [MARK if number == table.best else "" for number in range(len(rows))]
        table = replace(
            table,
            heads=["", *table.heads],
            cells=[marks, *table.cells],
            right=[False, *table.right],
            folds=[False, *table.folds],
        )
    body = text.lines(table, width) if len(rows) or not rows.attrs.get("causes") else ()
    causes = rows.attrs.get("causes", ())
    folded = [line for note in (*causes, *notes) for line in text.folded(note, width)]
    lines = [*text.packed(shared, width), *body, *folded]
    return "\n".join(line.rstrip() for line in lines)


def split(rows: pd.DataFrame) -> tuple[dict[str, Any], list[str]]:
    """Return the values that all rows share, and the columns that tell the rows apart."""
    if rows.attrs.get("plain"):
        return {}, [name for name in rows.columns if rows[name].notna().any()]
    shared, apart = {}, []
    for name in rows.columns:
        column, values = column_of(name), rows[name].dropna()
        hidden = column.visible == "never" and name != rows.attrs.get("sorted_by")
        if hidden or values.empty or (name == "sweep" and values.nunique() == 1):
            continue
        complete = len(values) == len(rows) or column.measured  # what never ran has no such value
        by_itself = column.visible == "always" or column.long
        if complete and values.nunique() == 1 and not by_itself:
            shared[name] = values.iloc[0]
        else:
            apart.append(name)
    apart.sort(key=lambda name: column_of(name).long)
    return shared, apart


def _cells(name: str, values: "pd.Series[Any]") -> list[str]:
    missing = values.isna().tolist()
    pairs = zip(values.tolist(), missing, strict=True)
    return ["" if is_missing else cell(name, value) for value, is_missing in pairs]


def cell(name: str, value: Any) -> str:
    """A known value of a column as a person reads it."""
    if isinstance(value, str):  # from other people's logs and sheets, too
        return " ".join(CONTROL.sub(" ", value).split())
    form = FORMS.get(name)
    return format(value, form) if form else str(value)


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
"""Characters that would move the cursor of a terminal, or colour it."""


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a text that a spreadsheet takes for a formula."""


def _guarded(rows: pd.DataFrame) -> pd.DataFrame:
    """Texts that a spreadsheet would compute get a quote in front."""
    guarded = rows.copy()
    for name in rows:
        if not pd.api.types.is_numeric_dtype(rows[name]):
            guarded[name] = rows[name].map(_quoted)
    return guarded


def _quoted(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _filled(rows: pd.DataFrame, unknown: str | None) -> pd.DataFrame:
    return rows.astype(object).where(rows.notna(), unknown)


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as plain data; what is unknown is None."""
    return [
        {str(name): value for name, value in row.items()}
        for row in _filled(rows, None).to_dict(orient="records")
    ]


FORMATS: dict[str, Callable[[pd.DataFrame], str]] = {
    "table": _text,
    "csv": lambda rows: _guarded(rows).to_csv(index=False).rstrip("\n"),
    "json": lambda rows: json_text(records(rows)),
    "md": lambda rows: _brief(rows, "github"),
    "latex": lambda rows: _brief(rows, "latex_booktabs"),
    "html": lambda rows: _filled(rows, "").to_html(index=False, border=0),
}
