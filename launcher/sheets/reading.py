"""A row under our columns: what its titles, its cells of several values and its notes stand for."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from launcher.sheets import cells, spelling, titles
from launcher.sheets.spelling import bare, exact_column, flag, number
from launcher.sheets.titles import CELL, Measure

Row = Mapping[str, str]

STRATEGY = "zero_stage_or_strategy"

LAYOUT_WORDS = titles.word_set(
    "parallel parallelism parallelization parallelisation strategy strategies config configuration"
    " configs best layout mesh device setup technique techniques dims degrees settings setting"
    " optimization optimizations mode 3d d 3 4 method methods topology"
)
"""Words of the title of a column whose cells hold several degrees: ``PP2DP2EP1TP8``."""
ARGUMENT_WORDS = titles.word_set("fix hp hyper hyperparameters parameters args arguments flags")
"""Words of the title of a column whose cells hold arguments: ``global batchsize=1200``."""

DEGREES: Mapping[str, str] = {
    "fsdp": "dp", "ddp": "dp", "dp": "dp", "tp": "tp", "mp": "tp", "pp": "pp", "cp": "cp",
    "ep": "ep",
    "vpp": "vpp", "vp": "vpp", "mbs": "micro_batch", "mbz": "micro_batch", "lbs": "micro_batch",
    "gbs": "global_batch", "gas": "accumulation", "ga": "accumulation",
}  # fmt: skip
"""Names of degrees in a cell of several, and their columns."""

_DEGREE = re.compile(
    rf"(?<![a-z])({'|'.join(DEGREES)})(?:[ _-]?(?:size|degree))?\s*([=:_ -]?)\s*(\d+)"
    r"(?![\d.]*\s?b\b)"
)
_SHARDED = re.compile(
    r"[fh]sdp|full_shard|hybrid_shard|zero[ -]?(?:stage)?[ -]?\d|dist\w*[ _-]?opt\w*|\bddp\b"
)
_PRECISION = re.compile(r"(?:nv|mx)?fp[48]\b|float8|b?fp?16\b|bfloat16")
_RECOMPUTED = re.compile(r"\b(full|selective|no) (?:ac|recompute|activation checkpointing)\b")
ADAPTERS = re.compile(r"(?<![a-z])[a-z]?lora(?![a-z])|\bpeft\b|adapter")
"""Tasks that train a part of the weights, in lower case."""
_ARGUMENT = re.compile(r"(?<![\w-])([a-z][a-z _-]*)=([^;,\s()]+)")

_PLAIN = re.compile(r"[~\u2248]?\s*[\d.,_ ]+(?:e[+-]?\d+)?")
_AMOUNT = re.compile(r"([~\u2248]?\s*\d[\d.,_]*(?:e[+-]?\d+)?\s*[km]?)(?![a-z\d])\s*(.*)")
_SEVERAL_TIMES = re.compile(r"\d+\s*[x*\u00d7]\s*(?=\d)")
"""Number of cards before the memory of each: ``8 * 22 GB``."""
_OF_TOTAL = re.compile(
    r"~?(?P<used>[\d.,]+)\s*(?P<unit>[kmg]i?b)?\s*(?:/|of)\s*(?P<total>[\d.,]+)\s*(?P<other>[kmg]i?b)?"
)
_RANGE = re.compile(
    r"~?[\d.,]+\s*(?:[kmg]i?b)?\s*[-\u2013~]\s*(?P<most>[\d.,]+)\s*(?P<unit>[kmg]i?b)?"
)
_TERA = {"": 1.0, "t": 1.0, "p": 1e3, "g": 1e-3, "1": 1e-12}
_LEAST_FLOPS = 1e9
"""A figure of TFLOP/s that is one of FLOP/s: llm-foundry's "Model TFLOP" of 2.96e14."""


def normalized(row: Row) -> dict[str, str]:
    """A row, with the columns of `spelling.COLUMNS` that its own titles, cells and notes stand for.

    Notes may state, as arguments, what no column does: ``num-experts=8; swiglu=True``.
    """
    plain = {title: cells.plain(text) for title, text in row.items()}
    texts: dict[str, list[str]] = {}
    for title in sorted(plain, key=_place):
        text = plain[title]
        name = spelling.column(title)
        if name == "hardware" and text.isdecimal():
            name = "n_gpus"
        if name and text:
            texts.setdefault(name, []).append(_with_title(name, title, text))
    for name, value in measured(plain).items():
        if name in spelling.COLUMNS:
            texts[name] = [f"{value:.15g}"]
    if (kind := _memory_kind(plain)) and "mem_kind" not in texts:
        texts["mem_kind"] = [kind]
    for name, text in (*_of_cells(plain), *_arguments(plain)):
        texts.setdefault(name, [text])
    _tell_names_from_sizes(texts)
    if any(bare(title) in spelling.OPEN_BATCH for title in plain):
        _tell_batch_of_a_replica(texts)
    return plain | {
        name: " ".join(values) if name in spelling.JOINED else values[0]
        for name, values in texts.items()
    }


def _tell_names_from_sizes(texts: dict[str, list[str]]) -> None:
    """Take what is no number below a title of sizes, ``LLaMA-7B``, for the name of the model."""
    sizes = [size for size in texts.get("params_b", []) if size.lower() not in cells.BLANK]
    names = [size for size in sizes if number(size) is None]
    if names and "model" not in texts:
        texts["model"] = names
        del texts["params_b"]
        if counts := [size for size in sizes if size not in names]:
            texts["params_b"] = counts


def _tell_batch_of_a_replica(texts: dict[str, list[str]]) -> None:
    """Take a batch of fewer sequences than replicas for that of one of them."""
    batch, gpus, dp, *splits = (
        number(texts.get(name, [""])[0])
        for name in ("global_batch", "n_gpus", "dp", "tp", "pp", "cp")
    )
    replicas = dp or (gpus or 1) / math.prod(size or 1 for size in splits)
    if batch and batch < replicas and "micro_batch" not in texts:
        texts["micro_batch"] = texts.pop("global_batch")


def _place(title: str) -> tuple[bool, bool]:
    """Order of titles: a column's own name, its other names, those that count last."""
    return title not in spelling.COLUMNS, bare(title) in spelling.LAST


def measured(row: Row) -> dict[str, float]:
    """Figures of `titles.FIGURES` above 0 that a row states, each by the best of its titles."""
    values: dict[str, float] = {}
    for title, measure in titles.figures(row):
        figure = value(measure, row[title])
        if figure and figure[1] > 0:
            values.setdefault(*figure)
    if "step_s" not in values and "steps_per_s" in values:
        values["step_s"] = 1 / values["steps_per_s"]
    return values


def value(measure: Measure, text: str) -> tuple[str, float] | None:
    """Name and value of the figure in a cell below a title; None where it holds no number.

    A cell may say what its title leaves open: ``142 tokens/s/GPU`` below "Throughput".
    """
    text = re.split(r"\s*(?:\u00b1|\+/-|\+-)", cells.without_remark(cells.plain(text)))[0]
    text = text.strip().lower()
    if measure.name.endswith("_pct"):
        return _named(measure.name, number(text.removesuffix("%")))
    if measure.name == "mem_gb":
        return _named(measure.name, _gigabytes(measure, text))
    if measure.name == "step_s":
        duration = cells.seconds(text)
        if duration is not None:
            return measure.name, duration
        if _PLAIN.fullmatch(text):
            if measure.unit == CELL:
                return _named("speed", number(text))
            return _named(measure.name, number(f"{text} {measure.unit}"))
    is_open = measure.name in titles.OPEN
    if is_open and (duration := cells.seconds(text)) is not None:
        return "step_s", duration
    amount = _AMOUNT.fullmatch(text)
    if amount is None:
        return None
    stated = titles.measure(amount[2]) if amount[2] else measure
    if stated is None or (stated.name in titles.OPEN and not is_open):
        return None
    if stated is not measure and stated.name == "step_s":
        return value(stated, amount[1])
    size = number(amount[1])
    if size is None:
        return None
    name = stated.name if is_open else measure.name
    if measure.name == "speed_per_gpu" and name in ("tokens_per_s", "samples_per_s"):
        name += "_per_gpu"
    if "tflops" in name:
        size *= 1e-12 if size >= _LEAST_FLOPS else _TERA[stated.unit]
    return name, size * {"k": 1e3, "m": 1e6}.get(stated.unit, 1)


def _named(name: str, size: float | None) -> tuple[str, float] | None:
    return None if size is None else (name, size)


def _gigabytes(measure: Measure, text: str) -> float | None:
    """GB of ``68,392 MB``, ``75/80`` (of the card's 80), ``70-75 GB`` (the most), ``8 * 22 GB``."""
    unit = f"{measure.unit}b" if measure.unit in ("m", "g") else measure.unit
    text = _SEVERAL_TIMES.sub("", text)
    if match := _OF_TOTAL.fullmatch(text):
        amount = match["total" if measure.second else "used"]
        return number(f"{amount} {match['unit'] or match['other'] or unit}")
    if match := _RANGE.fullmatch(text):
        return number(f"{match['most']} {match['unit'] or unit}")
    return number(f"{text} {unit}" if _PLAIN.fullmatch(text) else text)


def _memory_kind(row: Row) -> str | None:
    """Kind of memory that the title of the figure that counts names."""
    for title, measure in titles.figures(row):
        if measure.name == "mem_gb" and value(measure, row[title]):
            return measure.kind or None
    return None


def is_layout(title: str) -> bool:
    """Return True for a column whose cells hold several degrees or arguments."""
    words = set(titles.words(title)) - {"/"}
    return bool(words) and (words <= LAYOUT_WORDS or words <= ARGUMENT_WORDS)


def reads_cells(title: str, texts: Iterable[str]) -> bool:
    """Return True for a column of several values, or of FSDP, of which a cell says something."""
    columns = [{title: cells.plain(text)} for text in texts]
    if is_fsdp(title):
        return any(flag("seq_parallel", row[title]) is not None for row in columns)
    return any(next(_of_cells(row), None) or next(_arguments(row), None) for row in columns)


def combined(title: str) -> list[str]:
    """Columns that a title like ``TP/PP/DP`` names together; none of any other."""
    spaced = re.sub(r"(?<=p)x(?=[a-z]p)", " ", titles.english(title).lower())  # TPxPP
    omitted = {"/", "x", "training"} | LAYOUT_WORDS
    words = [word for word in titles.words(spaced) if word not in omitted]
    columns = [DEGREES.get(word) or exact_column(word) for word in words]
    known = {*DEGREES.values(), "seq_parallel"}
    if len(words) < 2 or not set(columns) <= known:
        return []
    return [column for column in columns if column]


def _of_cells(row: Row) -> Iterator[tuple[str, str]]:
    """Yield column and text of what cells of several values say, and those of a column of FSDP."""
    for title, cell in row.items():
        text = cell.lower()
        if text in cells.BLANK:
            continue
        if is_fsdp(title):
            yield from _fsdp(text)
        elif ADAPTERS.search(title.lower()):
            if flag("seq_parallel", text):
                yield "task", title
        elif names := combined(title):
            counts = re.findall(r"\d+", text)
            if len(counts) == len(names) and not re.search(r"[a-z]{2}", text):
                yield from zip(names, counts, strict=True)
        elif spelling.column(title) == "backend":
            if match := _SHARDED.search(text):
                yield STRATEGY, match[0]
        elif is_layout(title):
            yield from _degrees(text)
            for name, pattern in ((STRATEGY, _SHARDED), ("precision", _PRECISION)):
                if match := pattern.search(text):
                    yield name, match[0]
            if match := _RECOMPUTED.search(text):
                yield "recompute", match[1]
            if match := ADAPTERS.search(text):
                yield "task", match[0]


def _degrees(text: str) -> Iterator[tuple[str, str]]:
    for name, between, count in _DEGREE.findall(text):
        if name == "fsdp" and not between and count in "12":
            continue  # FSDP2 is the second one of torch, not a degree
        yield DEGREES[name], count


def is_fsdp(title: str) -> bool:
    """Return True for a column that says whether FSDP is used, or over how many ranks."""
    return [word for word in titles.words(title) if word not in ("use", "size", "degree")] == [
        "fsdp"
    ]


def _fsdp(text: str) -> Iterator[tuple[str, str]]:
    ranks = number(text)
    if flag("seq_parallel", cells.without_remark(text)) or (ranks and ranks >= 1):
        yield STRATEGY, "fsdp"
    if ranks and ranks > 1:
        yield "dp", f"{ranks:g}"


def _arguments(row: Row) -> Iterator[tuple[str, str]]:
    for title, text in row.items():
        if spelling.column(title) == "notes" or is_layout(title):
            for words, argument in _ARGUMENT.findall(text if title == "notes" else text.lower()):
                parts = words.split(" ")
                known = (" ".join(parts[i:]) for i in range(len(parts)))
                name = next(((n, w) for w in known if (n := exact_column(w))), None)
                if name:
                    yield name[0], _with_title(name[0], name[1], argument)


def _with_title(name: str, title: str, text: str) -> str:
    """Add to a cell what its title says: that a 1 is a stage, a batch one of tokens."""
    letters = bare(titles.english(title))
    inside = {word for part in spelling.BRACKETS.findall(title) for word in titles.words(part)}
    if name == STRATEGY and "opt" in letters and "dist" in letters:
        return "megatron ddp" if flag("tied", text) is False else "distributed optimizer"
    if name == STRATEGY and re.match(r"\d(\.0)?($|[^\w.])", text):
        return f"zero {text}"
    if name == "tied" and letters.startswith("untie"):
        return "untied" if flag("tied", text) else "tied"
    if (
        name == "global_batch"
        and ("token" in letters or "t" in inside)
        and "tok" not in text.lower()
    ):
        return f"{text} tokens"
    if name == "global_batch" and re.search(r"\d\s*m$", text.lower()):
        return f"{text} tokens"  # nobody has millions of sequences in a step
    if name == "params_b" and inside & {"m", "million", "millions"} and _PLAIN.fullmatch(text):
        return f"{text}M"
    if name == "seq_len" and "k" in inside and _PLAIN.fullmatch(text):
        return f"{text}k"
    if name == "recompute_modules":
        return text.strip("[]") or "none"
    if name == "n_gpus":
        return re.sub(r"(?<=\d)\s*(?:p|卡|张)$", "", text)
    return text
