"""Figures in a sheet that no plan asks for, and which of its cells and columns are not read."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from launcher.results.columns import COLUMNS
from launcher.sheets import aliases, cells, file, reading, spelling, titles
from launcher.sheets.cells import BLANK
from launcher.spec.layout import DEGREES

Row = Mapping[str, str]

TITLES = {
    name: (spelling.bare(name), *column.from_sheet)
    for name, column in COLUMNS.items()
    if column.from_sheet is not None
}
"""Column of our own table -> its titles, as letters and digits; the first that a row has counts."""

POWER = ("powerw", "power", "watts")
"""Titles of a range: of the card that drew least, and of the one that drew most."""

AS_THEY_ARE = {*POWER, *(title for others in TITLES.values() for title in others)}
NUMBERS = {title for name, others in TITLES.items() if COLUMNS[name].form for title in others}
SIZES = ("nodes", "dp", *DEGREES)
COUNTED = {*SIZES, "n_gpus", "gpus_per_node", "global_batch", "micro_batch", "accumulation",
           "recompute_layers", "seq_len", "params_b", "tokens_per_s_per_gpu", "tokens_per_s",
           "step_s", "mem_gb"}  # fmt: skip
WORDS = {
    "zero_stage_or_strategy",
    "pipeline_layout",
    "dispatcher",
    "recompute",
    "recompute_modules",
    "recompute_method",
    "precision",
    "reduce_precision",
    "backend",
    "model",
    "seq_parallel",
    "oom",
}
GRID = ("tp", "pp", "cp")
"""Degrees that split one copy of a model."""

RESULTS = ("result", "results")
"""Titles under which people write an outcome, or what they thought of a run."""

SPEED = re.compile(
    r"\b(?:tok\w*|samples?|seqs?|words?|it|its|iters?|steps?)\s*(?:/|_?per_?|p)"
    r"\s*(?:s|sec|min|h|hour|day|gpu|chip|dev)"
    r"|time to (?:train|solution|converge|accuracy)|\btrain\w* (?:run)?time\b|\(min(?:ute)?s?\)"
    r"|throughput|[tpg](?:era|eta|iga)?-?flop|\b[mh]fu\b|\bt[pg]s\b"
)
NO_SPEED = re.compile(
    r"\best|estimat|predict|theor|peak|expect|target|baseline|speed.?up|ratio|\bvs\b|limit|budget"
)
"""Titles in lower case that name a speed, and those that name none of the run itself."""

TOTAL = re.compile(
    r"(?:grand |geo(?:metric)?[ -]?)?(?:total|sum|average|avg|mean|median|std|difference|delta"
    r"|change|improvement|ratio|speed-?up)s?\s*(?:\u00b1.*)?:?"
    r"|[合总]计|平均值?"
)
"""First cell of a row that sums up or compares others, in lower case."""
FOOTNOTE = re.compile(
    r"[*\u2020\u2021\u00a7\u00b9\u00b2\u00b3]|\[\^|(?:notes?|sources?|remarks?)\s*:|注"
)
"""Begin of a line below a table, in lower case."""

FEWEST_COLUMNS = 3
"""Columns above which a row with one filled cell may be a heading between others."""

LISTED_CELLS = 3
"""Cells that are named of those that are no number."""
LISTED_COLUMNS = 12
"""Columns that are named of those that are not read."""


def name(title: str) -> str:
    """A title's letters and digits; none of a ``step_s`` and a ``step/s``, which are no count."""
    english = titles.english(title)
    if spelling.has_other_letters(english):
        return ""
    plain = spelling.bare(english.replace(" number ", ""))
    return "" if plain == "steps" and "steps" not in title.lower() else plain


def blank(text: str) -> bool:
    """Return True for a cell that says nothing."""
    return text.strip().lower() in BLANK


def texts(by_name: Row, column: str) -> list[str]:
    """The cells of a column of our own, by each title that a row has for it."""
    cells = (by_name.get(title, "") for title in TITLES[column])
    return [text for text in cells if not blank(text)]


def figure(by_name: Row, column: str) -> float | None:
    """The number of a column of our own; a whole one where the column has whole ones."""
    value = number(by_name, TITLES[column])
    return value if value is None or COLUMNS[column].form != "d" else int(value)


def number(by_name: Row, wanted: Sequence[str]) -> float | None:
    """The first number of some columns."""
    numbers = (spelling.number(by_name[title]) for title in wanted if by_name.get(title))
    return next((value for value in numbers if value is not None), None)


def ends(by_name: Row, wanted: Sequence[str]) -> tuple[float | None, float | None]:
    """Both ends of a range such as ``490-600``; of one number, that number twice."""
    text = next((by_name[title] for title in wanted if by_name.get(title)), "")
    numbers = [
        spelling.number(end) for end in re.split(r"\s*(?:-|~|\u2013|to)\s*", text, maxsplit=1)
    ]
    return numbers[0], numbers[-1]


def is_number(title: str) -> bool:
    """Return True for a column of numbers."""
    column = spelling.column(title)
    return bool(name(title) in NUMBERS or column in COUNTED or titles.measure(title))


def odd(row: Row) -> dict[str, str]:
    """The cells of a row that should be numbers and are none."""
    return {
        title: text
        for title, text in ((title, cells.plain(text)) for title, text in row.items())
        if is_number(title) and not blank(text) and not _has_number(title, text)
    }


def _has_number(title: str, text: str) -> bool:
    measure = titles.measure(title)
    if measure and reading.value(measure, text):
        return True
    if spelling.number(text) is not None:
        return True
    columns = reading.normalized({title: text})
    return "model" in columns or spelling.number(columns.get("n_gpus", "")) is not None


def worded_figures(row: Row) -> list[str]:
    """The cells of figures that are no number, or have more than a unit behind it."""
    remarked = [
        text
        for title, text in row.items()
        if titles.measure(title) and cells.without_remark(text) != text
    ]
    return [*odd(row).values(), *remarked]


def ran(row: Row) -> bool:
    """Return True for a row with a speed; with memory or a loss, where its sheet has no speeds."""
    if any(_is_speed(title, text) for title, text in row.items()):
        return True
    speeds = [title for title in row if states_speed(title)]
    others = [title for title in row if name(title) in TITLES["loss_last"] or _of_memory(title)]
    return any(_is_positive(title, row[title]) for title in speeds or others)


def states_speed(title: str) -> bool:
    """Return True for a column of speeds, also of one that is no figure of ours ("32B TFLOP/s")."""
    if measure := titles.measure(title):
        return measure.name in titles.SPEEDS
    plain = titles.english(title).lower()
    return bool(SPEED.search(plain)) and not NO_SPEED.search(plain)


def _is_speed(title: str, text: str) -> bool:
    """Return True for "142 TFLOPs/s" below a title that says nothing of it: "FlashAttention"."""
    if titles.measure(title) or spelling.column(title) or NO_SPEED.search(title.lower()):
        return False
    figure = reading.value(titles.Measure(name="speed"), text)
    return figure is not None and figure[0] not in (*titles.OPEN, "step_s")


def _of_memory(title: str) -> bool:
    measure = titles.measure(title)
    return bool(measure and measure.name == "mem_gb")


def _is_positive(title: str, text: str) -> bool:
    measure = titles.measure(title)
    figure = reading.value(measure, text) if measure else None
    if figure is not None:
        return figure[1] > 0
    # A range, or a number with words behind it, is a figure too.
    leading = re.match(r"[~\u2248<>\u2264\u2265]?\s*([\d.,]*\d)", cells.plain(text))
    return bool(leading and re.search(r"[1-9]", leading[1]))


def words_of_outcome(by_name: Row) -> list[str]:
    """The words in columns of an outcome; a number is none."""
    return [text for text in texts(by_name, "outcome") if text not in remarked_results(by_name)
            and not (blank(text) or spelling.number(text))]  # fmt: skip


def remarked_results(by_name: Row) -> list[str]:
    """The words in a column of results: an outcome, or what somebody thought of the run."""
    cells_of_results = (by_name.get(title, "") for title in RESULTS)
    return [text for text in cells_of_results if not (blank(text) or spelling.number(text))]


def is_no_run(row: Row) -> bool:
    """Return True for a row of no run: a title between others, a footnote, a total or a mean."""
    filled = [title for title, text in row.items() if not blank(text) and title != file.SECTION]
    if filled and TOTAL.fullmatch(cells.plain(row[filled[0]]).lower()):
        return True
    if len(filled) == 1 and FOOTNOTE.match(row[filled[0]].strip().lower()):
        return True
    if len(row) <= FEWEST_COLUMNS or len(filled) != 1:
        return False
    return not (_read(filled[0]) or spelling.column(filled[0]) or reading.is_layout(filled[0]))


def in_percent(rows: Sequence[Row]) -> list[Row]:
    """The rows, with a utilization in percent where all of its column are fractions of 1."""
    fractions = [title for title in rows[0] if _is_fraction(rows, title)]
    return [
        {**row, **{title: f"{100 * (spelling.number(row[title]) or 0):.10g}"
                   for title in fractions if not blank(row[title])}}
        for row in rows
    ]  # fmt: skip


def _is_fraction(rows: Sequence[Row], title: str) -> bool:
    measure = titles.measure(title)
    if measure is None or measure.name not in ("mfu_pct", "hfu_pct"):
        return False
    if {"%", "pct", "percent", "percentage"} & set(titles.words(title)):
        return False
    stated = [row[title] for row in rows if not blank(row[title])]
    shares = [spelling.number(text) for text in stated]
    return bool(shares) and all(share is not None and share <= 1 for share in shares)


def contradictions(number: int, row: Row) -> list[str]:
    """Remark on cards that are not what the degrees of a row make."""
    columns = reading.normalized(row)
    counts = {
        column: spelling.number(columns.get(column, "")) for column in ("n_gpus", "dp", *GRID)
    }
    gpus, dp = counts.pop("n_gpus"), counts.pop("dp")
    if not (gpus and dp and all(counts.values())):
        return []
    made = dp * math.prod(count or 1 for count in counts.values())
    product = " x ".join(f"{column} {count:g}" for column, count in counts.items())
    return [f"row {number}: {gpus:g} gpus, but dp {dp:g} x {product} is {made:g}"] * (made != gpus)


def remarks(numbered: Mapping[int, Row]) -> list[str]:
    """Remarks on what is not read of a sheet: a line of columns, of cells, of contradictions."""
    rows = list(numbered.values())
    unread = [
        title
        for title in rows[0]
        if not (_read(title) or _empty(rows, title) or _counts_cards(rows, title))
        and not reading.reads_cells(title, (row[title] for row in rows))
    ]
    more = f" and {len(unread) - LISTED_COLUMNS} more" if len(unread) > LISTED_COLUMNS else ""
    listed = ", ".join(titles.shown(title) for title in unread[:LISTED_COLUMNS])
    lines = [f"not read: {listed}{more}"] if unread else []
    no_numbers = [
        f"row {number}: {title} {text!r} is no number"
        for number, row in numbered.items()
        for title, text in odd(row).items()
    ]
    unlike = [line for number, row in numbered.items() for line in contradictions(number, row)]
    for remarked, kind in ((no_numbers, "cells"), (unlike, "rows")):
        if remarked:
            left = len(remarked) - LISTED_CELLS
            more = f", and {left} more such {kind}" if left > 0 else ""
            lines.append(f"{'; '.join(remarked[:LISTED_CELLS])}{more}")
    return lines


def _counts_cards(rows: Iterable[Row], title: str) -> bool:
    """Return True for a column of hardware that says how many cards there are."""
    if spelling.column(title) != "hardware":
        return False
    return any(aliases.parse_hardware(row[title]).cards for row in rows)


def _read(title: str) -> bool:
    return bool(is_number(title) or spelling.column(title) in WORDS or name(title) in AS_THEY_ARE)


def _empty(rows: Iterable[Row], title: str) -> bool:
    return all(blank(row[title]) for row in rows)
