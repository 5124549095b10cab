"""Figures in a sheet that no plan asks for, and which of its cells and columns are not read."""

import re
from collections.abc import Iterable, Mapping, Sequence

from launcher.sheets import spelling
from launcher.sheets.row import BLANK

Row = Mapping[str, str]

STATUS = ("outcome", "status", "result", "state")
CAUSES = ("cause", "reason", "error")
NOTES = ("remark", "remarks", "notes", "note", "comment", "comments", "memo")
STATED = ("statedtflopspergpu", "tflopspergpu", "tflopsgpu", "tflops", "tflopsgpus", "tflopsdevice",
          "tflopss")  # fmt: skip
LEAST = ("memmingb", "memmingib", "minmemgb")
MOST = ("memmaxgb", "memmaxgib", "maxmemgb")
POWER = ("powerw", "power", "watts")
POWER_LEAST, POWER_MOST = ("powerminw",), ("powermaxw",)
MFU = ("mfupct", "mfu")
HFU = ("hfupct", "hfu")
STEPS = ("steps", "numsteps", "nsteps")
P95, ERROR = ("stepmsp95",), ("stepmserror",)
FIRST_LOSS = ("lossfirst", "firstloss", "initialloss")
LAST_LOSS = ("losslast", "finalloss", "lastloss", "loss", "trainloss", "lmloss")
NORM = ("gradnormmax",)
SECONDS = ("seconds",)
COUNTS = ("spikes", "skipped", "rollbacks")
"""What titles are, as letters and digits; the first that a row has counts."""

NUMBERS = {
    *STATED, *LEAST, *MOST, *POWER_LEAST, *POWER_MOST, *MFU, *HFU, *STEPS, *P95, *ERROR,
    *FIRST_LOSS, *LAST_LOSS, *NORM, *SECONDS,
    *COUNTS,
}  # fmt: skip
SIZES = ("nodes", "dp", "tp", "pp", "vpp", "cp", "ep")
COUNTED = {*SIZES, "n_gpus", "gpus_per_node", "global_batch", "micro_batch", "seq_len", "params_b",
           "tokens_per_s_per_gpu", "tokens_per_s", "step_s", "mem_gb"}  # fmt: skip
WORDS = {
    "zero_stage_or_strategy",
    "recompute",
    "precision",
    "backend",
    "model",
    "seq_parallel",
    "oom",
}
SHOWN = 3
"""Cells that are shown of those that are no number."""
MOST_SHOWN = 12
"""Columns that are named of those that are not read."""


def name(title: str) -> str:
    """A title's letters and digits; none of a ``step_s`` and a ``step/s``, which are no count."""
    plain = spelling.bare(title)
    return "" if plain == STEPS[0] and STEPS[0] not in title.lower() else plain


def blank(text: str) -> bool:
    """Whether a cell says nothing."""
    return text.strip().lower() in BLANK


def number(by_name: Row, titles: Sequence[str]) -> float | None:
    """The first number of some columns."""
    found = (spelling.number(by_name[title]) for title in titles if by_name.get(title))
    return next((value for value in found if value is not None), None)


def count(by_name: Row, titles: Sequence[str]) -> int | None:
    """The same, whole."""
    value = number(by_name, titles)
    return None if value is None else int(value)


def ends(by_name: Row, titles: Sequence[str]) -> tuple[float | None, float | None]:
    """``490-600`` or one number."""
    text = next((by_name[title] for title in titles if by_name.get(title)), "")
    found = [spelling.number(end) for end in re.split(r"\s*(?:-|~|\u2013|to)\s*", text, maxsplit=1)]
    return found[0], found[-1]


def is_number(title: str) -> bool:
    """Whether a column is one of numbers."""
    return name(title) in NUMBERS or spelling.column(title) in COUNTED


def odd(row: Row) -> dict[str, str]:
    """The cells of a row that should be numbers and are none."""
    return {title: text for title, text in row.items()
            if is_number(title) and not blank(text) and spelling.number(text) is None}  # fmt: skip


def remarks(rows: Sequence[Row]) -> list[str]:
    """What of a sheet is not read: one line of columns, one of cells."""
    unread = [title for title in rows[0] if not _read(title) and not _empty(rows, title)]
    more = f" and {len(unread) - MOST_SHOWN} more" if len(unread) > MOST_SHOWN else ""
    lines = [f"not read: {', '.join(unread[:MOST_SHOWN])}{more}"] if unread else []
    cells = [f"row {number}: {title} {text!r}" for number, row in enumerate(rows, 1)
             for title, text in odd(row).items()]  # fmt: skip
    if cells:
        more = f", and {len(cells) - SHOWN} more such cells" if len(cells) > SHOWN else ""
        lines.append(f"{'; '.join(f'{cell} is no number' for cell in cells[:SHOWN])}{more}")
    return lines


def _read(title: str) -> bool:
    other = (*STATUS, *CAUSES, *NOTES, *POWER, "jobid", "hosts", "commit")
    return is_number(title) or spelling.column(title) in WORDS or name(title) in other


def _empty(rows: Iterable[Row], title: str) -> bool:
    return all(blank(row[title]) for row in rows)
