"""Flags of faults in a generated text, as far as the text alone shows them."""

import unicodedata
from collections import Counter
from typing import Literal

from launcher.spec.sampling import Script

Flag = Literal["empty", "loop", "script", "invalid"]
"""Nothing but white space; an end that repeats; letters of other scripts; broken characters."""

LOOP_REPEATS = 3
"""Times a part stands at the end of a text that is a loop, the last time perhaps cut off, ..."""
LOOP_LENGTH = 120
"""... over so many generated characters: rules of dashes and tables of zeros have fewer in a
line; ..."""
LOOP_SHORT = 24
"""... or over so many, where that is at least half of what was generated."""

SCRIPT_LETTERS = 10
"""Fewer letters say nothing about the script."""
SCRIPT_SHARE = 0.3
"""Least share of the letters in the script asked for; others may be names, code, quotations."""
KANA_LETTERS = 20
"""Letters of Japanese or Chinese, of which fewer say nothing about which of them it is."""
KANA_SHARE = 0.05
"""Share of kana in these letters: Japanese has more, Chinese fewer."""

INVALID_CHARACTERS = 3
"""Broken characters, fewer of which are no flag, ..."""
INVALID_SHARE = 0.02
"""... and their share of the text."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""Character that stands for bytes that are no UTF-8."""

HAN = ("CJK", "IDEOGRAPHIC")
KANA = ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA")
LETTERS: dict[Script, tuple[str, ...]] = {
    "latin": ("LATIN",),
    "japanese": (*KANA, *HAN),
    "chinese": (*HAN, "BOPOMOFO"),
    "korean": ("HANGUL",),
    "cyrillic": ("CYRILLIC",),
    "greek": ("GREEK",),
    "arabic": ("ARABIC",),
    "hebrew": ("HEBREW",),
    "devanagari": ("DEVANAGARI",),
    "thai": ("THAI",),
}
"""First words of the names that Unicode gives to the letters of a script."""

WIDTHS = ("FULLWIDTH", "HALFWIDTH", "MODIFIER", "MATHEMATICAL")
"""Stand before the name of the script."""


def flags(prompt: str, continuation: str, script: Script | None) -> list[Flag]:
    """Return the faults of a prompt's continuation; ``script`` is the one it should be in."""
    if not continuation.strip():
        return ["empty"]
    complete = continuation.removesuffix(REPLACEMENT)  # the last character may be cut off
    flagged: list[Flag] = ["loop"] if _loops(prompt, complete) else []
    if script and _is_in_another_script(complete, script):
        flagged.append("script")
    if _is_broken(complete):
        flagged.append("invalid")
    return flagged


def repeated_end(text: str) -> tuple[int, int]:
    """Longest end of a text that is one part again and again: its length and the part's.

    Of all ends with at least `LOOP_REPEATS` times their shortest period; (0, 0) without one.
    The period of a text's first n characters is n less its longest border (Knuth, Morris, Pratt).
    """
    backwards, best = text[::-1], (0, 0)
    borders = [0] * len(backwards)
    for end in range(1, len(backwards)):
        border = borders[end - 1]
        while border and backwards[border] != backwards[end]:
            border = borders[border - 1]
        borders[end] = border + (backwards[border] == backwards[end])
        length, period = end + 1, end + 1 - borders[end]
        if length >= LOOP_REPEATS * period:
            best = length, period
    return best


def _loops(prompt: str, continuation: str) -> bool:
    """Return True for a loop. The prompt may be one of the times; its characters do not count."""
    length, period = repeated_end(prompt + continuation)
    inside = min(length, len(continuation))
    long = inside >= LOOP_LENGTH
    return period > 0 and (long or inside >= max(LOOP_SHORT, len(continuation) / 2))


def _is_in_another_script(text: str, script: Script) -> bool:
    words = Counter(_word(letter) for letter in text if unicodedata.category(letter)[0] == "L")
    expected, kana = _count(words, LETTERS[script]), _count(words, KANA)
    if words.total() < SCRIPT_LETTERS:
        return False
    if expected < SCRIPT_SHARE * words.total():
        return True
    east_asian = kana + _count(words, HAN)
    if east_asian < KANA_LETTERS or script not in ("japanese", "chinese"):
        return False
    return (kana < KANA_SHARE * east_asian) == (script == "japanese")


def _count(words: Counter[str], first_words: tuple[str, ...]) -> int:
    return sum(words[word] for word in first_words)


def _word(letter: str) -> str:
    """Return the first word of a letter's Unicode name that says its script."""
    words = unicodedata.name(letter, "").split()
    return next((word for word in words if word not in WIDTHS), "")


def _is_broken(text: str) -> bool:
    broken = sum(character == REPLACEMENT or _is_control(character) for character in text)
    return broken >= max(INVALID_CHARACTERS, INVALID_SHARE * len(text))


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and not character.isspace()
