"""Cells as they are pasted: marks, remarks behind a number, durations."""

import pytest

from launcher.sheets import cells


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("**16934**", "16934"), ("***5***", "5"), ("16,934*", "16,934"), ("1,524\u2020", "1,524"),
        ("[895](https://example.org/)", "895"), ("29.0%[^1]", "29.0%"), ("7<sup>a</sup>", "7 a"),
        ("`tp=2`", "tp=2"), ("\uff11\uff16\u5361\uff082x8\uff09", "16\u5361(2x8)"), ("512\u00b2", "512"),
        ("8*A100", "8*A100"), ("\u2713", "yes"), ("\u274c", "no"), ("\u274c OOM", "OOM"), (":white_check_mark:", "yes"),
        ("\u2705 stable", "yes stable"), ("*", "*"), ("a_b", "a_b"), (" x ", "x"),
    ],
)  # fmt: skip
def test_marks_are_no_part_of_a_cell(text: str, plain: str) -> None:
    assert cells.plain(text) == plain


@pytest.mark.parametrize(
    ("text", "rest"),
    [("417.95 (ms)", "417.95 ms"), ("12404 (MiB)", "12404 MiB"), ("37556 (36108)", "37556"),
     ("16.99 GiB (26.55%)", "16.99 GiB"), ("29087.7 MiB (OOM)", "29087.7 MiB"), ("(8)", "(8)"),
     ("Full (12 layers)", "Full (12 layers)"), ("8", "8")],
)  # fmt: skip
def test_remarks_behind_a_number(text: str, rest: str) -> None:
    assert cells.without_remark(text) == rest


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("42.21 s", 42.21), ("417.95 ms", 0.41795), ("1h 20m", 4800), ("2m05s", 125), ("1:20:05", 4805), ("0h:00m:17s", 17),
     ("2:05", 125), ("1 min 5 sec", 65), ("1,200 ms", 1.2), ("3.5 days", 302400), ("~3 s", 3),
     ("3", None), ("3.2 s/it", None), ("12 it", None), ("soon", None), ("", None)],
)  # fmt: skip
def test_durations(text: str, seconds: float | None) -> None:
    assert cells.seconds(text) == (None if seconds is None else pytest.approx(seconds))
