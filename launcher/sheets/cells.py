"""Cells as they are pasted from READMEs and spreadsheets: marks, footnotes, units, durations."""

import re
import unicodedata

_CROSSES = "\u2717\u2718\u274c\u274e"
TICKS = str.maketrans(
    dict.fromkeys("\u2713\u2714\u2705\u2611", "yes") | dict.fromkeys(_CROSSES, "no")
)
_CROSSED = re.compile(rf"^[{_CROSSES}]\s*(?=\w)")
"""A cross before words that say why: it must not deny them, "no OOM"."""
_SHORTCODES = {":white_check_mark:": "\u2705", ":heavy_check_mark:": "\u2714", ":x:": "\u274c"}
"""Ticks and crosses as GitHub writes them."""

_TAG = re.compile(r"<[^<>]+>")
_FOOTNOTE = re.compile(r"\[\^[^\]]*\]|[\u2020\u2021\u00a7\u00b6]")
_SUPERSCRIPT = re.compile(r"(?<=[\w%)])[\u00b9\u00b2\u00b3\u2070-\u2079]+$")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = set("<[*`:")
"""Characters that every mark in ASCII has one of."""
_EMPHASIS = re.compile(r"\*{2,}|`|^\*+(?=.)|(?<=.)\*+$")

UNITS: dict[str, float] = {"ms": 1e-3, "msec": 1e-3, "us": 1e-6, "s": 1, "sec": 1, "secs": 1,
                           "second": 1, "seconds": 1, "m": 60, "min": 60, "mins": 60, "minute": 60,
                           "minutes": 60, "h": 3600, "hr": 3600, "hrs": 3600, "hour": 3600,
                           "hours": 3600, "d": 86400, "day": 86400, "days": 86400}  # fmt: skip
"""Seconds of a unit of time."""

_DURATION = re.compile(r"(?<!\d)(\d+(?:\.\d+)?)\s*([a-z]+)(?![a-z])")
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2}(?:\.\d+)?)")
_BRACKET = re.compile(r"(?P<value>[^()\[\]]+)[(\[](?P<inside>[^()\[\]]*)[)\]]")
_DIGIT = re.compile(r"\d")
_UNIT = re.compile(r"ms|msec|s|sec|seconds?|[kmgt]i?b", re.I)


def plain(text: str) -> str:
    """Text without marks: ``**16934**``, ``1,524†``, ``[895](https://...)``, full-width digits."""
    if text.isascii() and not _MARKS & set(text):
        return text.strip()
    for code, mark in _SHORTCODES.items():
        text = text.replace(code, mark)
    text = _CROSSED.sub("", text.strip())
    text = _LINK.sub(r"\1", _FOOTNOTE.sub("", _TAG.sub(" ", text)))
    text = unicodedata.normalize("NFKC", _SUPERSCRIPT.sub("", text.translate(TICKS).strip()))
    return _EMPHASIS.sub("", text.strip()).strip()


def without_remark(text: str) -> str:
    """Text without what stands behind it in brackets; a unit there stays: ``417.95 (ms)``."""
    match = _BRACKET.fullmatch(text.strip())
    if match is None or not _DIGIT.search(match["value"]):
        return text
    value, inside = match["value"].rstrip(), match["inside"].strip()
    return f"{value} {inside}" if _UNIT.fullmatch(inside) else value


def seconds(text: str) -> float | None:
    """Seconds of a duration with units: ``42.21 s``, ``1h 20m``, ``2:05``; None of any other."""
    text = text.strip().lower().replace(",", "")
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, rest = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(rest)
    parts = _DURATION.findall(text)
    if not parts or re.sub(r"[\s~\u2248:]|and", "", _DURATION.sub("", text)):
        return None
    if any(unit not in UNITS for _, unit in parts):
        return None
    return sum(float(count) * UNITS[unit] for count, unit in parts)


BLANK = ("", "-", "--", "\u2013", "\u2014", "\u2212", "...", "\u2026", "/", "*", "?",
         "na", "n/a", "n.a.", "nan", "none", "null", "tbd", "auto", "default")  # fmt: skip
"""Cells that state nothing, in lower case."""
