"""A table as lines of text: widths, folds, and what no terminal can show."""

import pytest

from analysis import text
from analysis.text import Table

TABLE = Table(
    heads=("row", "cause"),
    cells=(("1", "12"), ("short", "a cause of many words that does not fit in one line")),
    right=(True, False),
    folds=(False, True),
)


def test_numbers_are_flush_right_and_long_texts_fold() -> None:
    assert [line.rstrip() for line in text.lines(TABLE, 30)] == [
        "row  cause",
        "  1  short",
        " 12  a cause of many words",
        "     that does not fit in one",
        "     line",
    ]


def test_a_wide_terminal_has_one_line_a_row() -> None:
    assert len(list(text.lines(TABLE, 200))) == 3


@pytest.mark.parametrize(
    ("long", "width", "lines"),
    [
        ("", 10, []),
        ("one two", 10, ["one two"]),
        ("one two", 5, ["one", "two"]),
        ("abcdefgh", 5, ["abcde", "fgh"]),
        ("\u65e5\u672c\u8a9e", 4, ["\u65e5\u672c", "\u8a9e"]),  # two columns each
    ],
)
def test_a_text_is_broken_between_words(long: str, width: int, lines: list[str]) -> None:
    assert text.folded(long, width) == lines


def test_pieces_are_packed_and_never_broken() -> None:
    assert text.packed(["tp 2", "pp 1", "zero 1"], 10) == ["tp 2  pp 1", "zero 1"]


def test_a_name_that_is_no_unicode_is_shown_by_its_escapes() -> None:
    assert text.printable("bad\udcff") == "bad\\udcff"
