"""Titles of measured columns, by their words: ``Model TFLOP / sec / GPU``, ``iter (ms, mean)``.

A title names one figure if each of its words belongs to it: a word that is not known here may turn
it into another one ("est. time to train", "activation memory", "speedup"). The order of the words
and what separates them mean nothing, but for steps a second and seconds a step.
"""

import difflib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from launcher.sheets import cells


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


FILLERS = word_set(
    "the of in a by at mean median avg average averaged approx approximate measured achieved"
    " observed actual training train pretraining pretrain steady state overall speed throughput"
    " performance perf rate value end e2e stable"
)
"""Words that change nothing of what a title names."""

SECONDS = word_set("s sec secs second seconds")
MILLISECONDS = word_set("ms msec msecs millisecond milliseconds")
DEVICES = word_set(
    "gpu gpus device devices chip chips card cards accelerator accelerators npu npus hpu hpus tpu"
    " rank ranks worker dev p"
)
WHOLE = word_set("global total aggregate aggregated aggr all system cluster job")
"""Words of a figure over all cards."""
TOKENS = word_set("token tokens tok toks word words t ktok ktoks ktokens mtok mtokens")
SAMPLES = word_set("sample samples samp samps seq seqs sequence sequences example examples")
STEPS = word_set("step steps it its iter iters iteration iterations")
TIMES = word_set("time times elapsed duration latency timing")
MEMORIES = word_set("mem memory vram hbm")
"""Words of the memory of a card; RAM is that of a host, but beside a word for a card."""
OF_MEMORY = word_set(
    "peak max maximum cuda used use usage allocated alloc reserved footprint consumption torch"
    " pytorch active nvidia smi g m"
)
"""Words that say what of the memory of a card a figure is."""
BYTES = word_set("gb gib mb mib")
OF_FLOPS = word_set("floating point operation operations compute")
"""Words beside FLOP/s that say the same at length."""
FLOPS = re.compile(r"(t|tera|p|peta|g|giga|)flops?s?")

_TRANSLATED = {
    "シーケンス長": " seq len ", "浮点计算数": " floating point operations ",
    "序列长度": " seq len ", "数据精度": " precision ", "训练资源": " hardware ",
    "并行策略": " parallelism ", "参数规模": " parameters ", "吞吐量": " throughput ",
    "节点数": " nodes ", "机器数": " nodes ", "占用量": " usage ", "モデル": " model ",
    "メモリ": " memory ", "参数量": " parameters ", "显存": " memory ", "内存": " memory ",
    "吞吐": " throughput ", "每秒": " / s ", "单卡": " per gpu ", "卡数": " gpus ",
    "占用": " usage ", "最大": " max ", "平均": " mean ", "状态": " status ", "结果": " result ",
    "結果": " result ", "备注": " remark ", "最终": " final ", "损失": " loss ",
    "序列": " seq len ", "精度": " precision ", "模型": " model ", "配置": " hardware ",
    "硬件": " hardware ", "集群": " cluster ", "参数": " parameters ", "设备": " hardware ",
    "芯片": " hardware ", "策略": " strategy ", "大小": " size ", "样本": " samples ",
    "单步": " step ", "迭代": " iteration ", "性能": " performance ", "时间": " time ",
    "数量": " number ", "类型": " type ", "数": " number ", "秒": " s ", "卡": " gpu ",
}  # fmt: skip
"""Words of titles in Chinese and Japanese, the longer ones before those that are in them."""

_ASIDE = re.compile(
    r"[(\[](?:excl|incl|with|w/|over|last|first|after|n=|lower|higher|(?:bf|fp|mxfp|nvfp)\d)"
    r"[^()\[\]]*[)\]]|@ *(?:step|iter)\w* *\d+|[\u2190-\u21ff]"
)
"""Parts that say how a figure was taken, not what it is: "(BF16)", "@ step 10", an arrow."""

_COMPARED = ("throughput", "latency", "memory", "iteration", "iterations", "tokens", "samples",
             "seconds", "allocated", "reserved", "utilization", "performance")  # fmt: skip
"""Long words, of which a slip is told: lantency, throuthput."""
_LIKENESS = 0.88
_COMPARED_LETTERS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A figure that a title names."""

    name: str
    """Name of the figure, in the units of `FIGURES`."""
    unit: str = ""
    """Unit in the title where it is another one: ms, mb, p of petaFLOP/s, k of kilotokens."""
    kind: str = ""
    """Kind of memory: a value of the column ``mem_kind``."""
    second: bool = False
    """True where it is the second of two figures of a cell: "active / reserved"."""
    rank: int = 0
    """Place among titles of the same figure; the lowest counts."""


FIGURES: Mapping[str, str] = {
    "tokens_per_s_per_gpu": "tokens a second of one card",
    "tokens_per_s": "tokens a second of all cards",
    "samples_per_s_per_gpu": "sequences a second of one card",
    "samples_per_s": "sequences a second of all cards",
    "steps_per_s": "optimizer steps a second",
    "step_s": "seconds of an optimizer step",
    "mem_gb": "GB of the fullest card",
    "stated_tflops_per_gpu": "TFLOP/s of one card, by the source's own definition",
    "stated_tflops": "TFLOP/s of all cards",
    "mfu_pct": "percent of the peak, of the model's FLOPs",
    "hfu_pct": "percent of the peak, of all FLOPs",
    "speed": "a speed of one card or of all, which the title leaves open",
    "speed_per_gpu": "a speed of one card, in what unit the title leaves open",
}
"""Names of figures, and their units."""

CELL = "of the cell"
"""In place of a unit: the title names none, and a cell must (a latency is of anything)."""

OPEN = ("speed", "speed_per_gpu")
"""Figures of which a cell may say more than the title."""

SPEEDS = frozenset(FIGURES) - {"mem_gb"}
"""Figures that only a run that ran has."""


def shown(title: str) -> str:
    """Title for a person, who sees none where a column has none."""
    return title.strip() or "a column without a title"


def english(title: str) -> str:
    """Title without marks, with its Chinese and Japanese words in English."""
    text = cells.plain(title)
    for word, translation in _TRANSLATED.items():
        text = text.replace(word, translation)
    return text


@lru_cache(maxsize=4096)
def words(title: str) -> tuple[str, ...]:
    """Words of a title, in lower case: also of ``SeqLen`` and ``tokens_per_sec``."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", english(title)).lower()
    text = re.sub(r"\b(tera|peta|giga|t|p|g)[ -]flop", r"\1flop", text)
    text = _ASIDE.sub(" ", text.replace("p50", "median"))
    return tuple(_corrected(word) for word in re.findall(r"[a-z]+|\d+|%|/|[^\x00-\x7f]+", text))


@lru_cache(maxsize=4096)
def _corrected(word: str) -> str:
    if len(word) < _COMPARED_LETTERS or word in _COMPARED:
        return word
    return next(iter(difflib.get_close_matches(word, _COMPARED, 1, _LIKENESS)), word)


@lru_cache(maxsize=4096)
def measure(title: str) -> Measure | None:
    """Figure that a title names; None where it names none, or where a word of it is not known."""
    ordered = [word for word in words(title) if word not in FILLERS]
    core = [word for word in ordered if word not in ("/", "per")]
    named = set(core)
    if named <= DEVICES | WHOLE | {"max"} and {"throughput", "speed"} & set(words(title)):
        return Measure(name="speed_per_gpu" if named & DEVICES else "speed")
    if not core:
        return None
    return (
        _utilization(named)
        or _flops(named)
        or _memory(named, ordered)
        or _tokens(ordered)
        or _samples(core)
        or _steps(ordered)
        or _open_speed(core)
    )


def _utilization(named: set[str]) -> Measure | None:
    marks = {"%", "pct", "percent", "percentage", "flop", "flops", "utilization", "utilisation"}
    plain = {"model", "theoretical", "peak", "s", "bf", "fp", "8", "16", "hardware"}
    if named <= marks | plain | {"mfu"} and (
        "mfu" in named or ({"utilization", "utilisation"} & named and "hardware" not in named)
    ):
        return Measure(name="mfu_pct")
    if named <= marks | plain | {"hfu"} and (
        "hfu" in named or ({"peak", "hardware"} & named and named & marks - {"flop", "flops"})
    ):
        return Measure(name="hfu_pct")
    return None


def _flops(named: set[str]) -> Measure | None:
    rates = [match for word in named if (match := FLOPS.fullmatch(word))]
    others = named - {match[0] for match in rates} - SECONDS - DEVICES - WHOLE - OF_FLOPS
    if len(rates) != 1 or others - {"model", "hardware", "hw"}:
        return None
    unit = rates[0][1][:1]
    if not unit and not named & SECONDS:
        return None  # of a whole training, maybe
    aggregate = bool(named & WHOLE) or (unit == "p" and not named & DEVICES)
    return Measure(
        name="stated_tflops" if aggregate else "stated_tflops_per_gpu",
        unit=unit or "1",
        rank=2 if others & {"hardware", "hw"} else 0 if "model" in others else 1,
    )


def _memory(named: set[str], ordered: list[str]) -> Measure | None:
    peak = named & {"peak", "max"} and named & (
        {"allocated", "alloc", "reserved", "active"} | BYTES
    )
    if "ram" in named and named & DEVICES:
        named = named - {"ram"} | {"memory"}
    if named - OF_MEMORY - MEMORIES - BYTES - DEVICES or not (named & MEMORIES or peak):
        return None
    unit = next(iter(named & (BYTES | {"m"})), "")
    if "reserved" in named:
        second = ("/", "reserved") in itertools.pairwise(ordered)
        return Measure(name="mem_gb", unit=unit, kind="reserved", second=second)
    if named & {"allocated", "alloc", "active"}:
        return Measure(name="mem_gb", unit=unit, kind="allocated", rank=2)
    if "smi" in named or ("device" in named and "used" in named):
        return Measure(name="mem_gb", unit=unit, kind="device", rank=3)
    return Measure(name="mem_gb", unit=unit, rank=1)


def _tokens(ordered: list[str]) -> Measure | None:
    core = [word for word in ordered if word not in ("/", "per")]
    named = set(core)
    if named & {"tgs", "tps"} and named <= {"tgs", "tps"} | DEVICES | WHOLE:
        per_gpu, whole = "tgs" in named or named & DEVICES, named & WHOLE
        if not (per_gpu or whole):
            return None
        return Measure(name="tokens_per_s_per_gpu" if per_gpu else "tokens_per_s")
    tokens = named & TOKENS
    if tokens:
        named = named - {"tgs", "tps"}  # which say the same again
    if named - TOKENS - SECONDS - DEVICES - WHOLE - {"k", "max"} or not (
        tokens and named & SECONDS
    ):
        return None
    if core[0] in SECONDS:
        return None  # seconds of a token
    if tokens == {"t"} and ordered == core:
        return None  # T (s) is a time
    unit = next((word[0] for word in tokens if word[0] in "km"), "k" if "k" in named else "")
    return Measure(
        name="tokens_per_s_per_gpu" if named & DEVICES else "tokens_per_s",
        unit=unit,
        rank=1 if tokens <= {"word", "words"} else 0,
    )


def _samples(core: list[str]) -> Measure | None:
    named = set(core)
    samples = bool(named & SAMPLES) or core == ["s", "s"]
    if named - SAMPLES - SECONDS - DEVICES - WHOLE or not (samples and named & SECONDS):
        return None
    if core[0] in SECONDS and core != ["s", "s"]:
        return None
    return Measure(name="samples_per_s_per_gpu" if named & DEVICES else "samples_per_s")


def _steps(ordered: list[str]) -> Measure | None:
    core = [word for word in ordered if word not in ("/", "per")]
    named = set(core)
    neutral = {"global", "optimizer", "wall", "clock", "one", "each", "single"}
    if {"step", "time"} <= named:
        neutral |= {"total"}  # of all its parts
    if named - STEPS - TIMES - SECONDS - MILLISECONDS - neutral:
        return None
    unit = "ms" if named & MILLISECONDS else "s" if named & SECONDS else ""
    if not named & STEPS:
        return Measure(name="step_s", unit=unit or CELL) if "latency" in named else None
    a_second = core[0] in STEPS and core[-1] in SECONDS and not named & TIMES
    if a_second and ordered != core:
        return Measure(name="steps_per_s")
    if a_second and core[0].endswith("s"):
        return None  # steps (s)
    return Measure(name="step_s", unit=unit) if unit or named & TIMES else None


def _open_speed(core: list[str]) -> Measure | None:
    """Speed of a title that does not say of how many cards, or in what unit."""
    return Measure(name="speed") if set(core) <= {"tps", "wps", "sps"} else None


def figures(row: Mapping[str, str]) -> Iterator[tuple[str, Measure]]:
    """Yield each title of a row that names a figure, the best of those of one figure first."""
    named = [(title, figure) for title in row if (figure := measure(title))]
    yield from sorted(named, key=lambda pair: pair[1].rank)
