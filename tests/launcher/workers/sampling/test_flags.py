"""Flags of generated texts; real text has none."""

import random

import pytest

from launcher.data import corpora
from launcher.spec.sampling import Script
from launcher.workers.sampling.flags import Flag, flags, repeated_end

CAT = (
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で"
    "ニャーニャー泣いていた事だけは記憶している。吾輩はここで始めて人間というものを見た。しかもあとで"
    "聞くとそれは書生という人間中で一番獰悪な種族であったそうだ。この書生というのは時々我々を捕えて"
    "煮て食うという話である。しかしその当時は何という考もなかったから別段恐しいとも思わなかった。"
)
"""The beginning of Natsume Soseki's "I Am a Cat", 1905."""
PYTHON = "Pythonのリスト内包表記は [x * x for x in range(10)] のように書き、for文より短くなります。"
CHINESE = "道可道，非常道。名可名，非常名。無名天地之始；有名萬物之母。故常無欲，以觀其妙。"
GENESIS = "In the beginning God created the heaven and the earth. And the earth was without form,"
RUSSIAN = (
    "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему."
)
BROKEN = "\N{REPLACEMENT CHARACTER}"

TEXTS: list[tuple[str, str, str, Script | None, list[Flag]]] = [
    ("nothing", "a", "", None, ["empty"]),
    ("white space", "a", " \n\t", "latin", ["empty"]),
    ("prose", "", GENESIS, "latin", []),
    ("Japanese", "", CAT, "japanese", []),
    ("Japanese, cut", "", CAT[:37], "japanese", []),
    ("Japanese with code", "", PYTHON, "japanese", []),
    ("Chinese", "", CHINESE, "chinese", []),
    ("Russian", "", RUSSIAN, "cyrillic", []),
    ("full width", "", "ＡＢＣＤＥＦＧＨＩＪＫＬ", "latin", []),
    ("half width", "", "ｺﾝﾆﾁﾊｾｶｲﾖｲﾃﾝｷﾃﾞｽﾈ", "japanese", []),
    ("numbers", "", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13", "japanese", []),
    ("a rule of dashes", "", GENESIS + "\n" + "-" * 80, "latin", []),
    ("very, very", "", "It was a very, very, very good day, and ", None, []),
    ("laughing", "", "Hahahahahahahaha", None, []),
    ("one character", "", "a" + "!" * 63, None, ["loop"]),
    ("two letters", "猫は", "猫だ" * 20, "japanese", ["loop"]),
    ("a word", "I", " think I think I think I think I think I think", "latin", ["loop"]),
    ("a sentence", "", GENESIS * 3, "latin", ["loop"]),
    ("a Japanese sentence", "", "それは猫である。" * 6 + "それは", "japanese", ["loop"]),
    ("the prompt twice", "one two three, ", "one two three, one two three, ", None, ["loop"]),
    ("a late one", "", CAT + "そうだ" * 40, "japanese", ["loop"]),
    ("blank lines", "", GENESIS + "\n" * 120, "latin", ["loop"]),
    ("cut in a character", "", "の話である" * 9 + BROKEN, "japanese", ["loop"]),
    ("English for Japanese", "", GENESIS, "japanese", ["script"]),
    ("Japanese for English", "", CAT, "latin", ["script"]),
    ("Chinese for Japanese", "", CHINESE, "japanese", ["script"]),
    ("Japanese for Chinese", "", CAT, "chinese", ["script"]),
    ("Russian for English", "", RUSSIAN, "latin", ["script"]),
    ("any script", "", RUSSIAN, None, []),
    ("one broken at the end", "", GENESIS + BROKEN, "latin", []),
    ("broken ones", "", f"f{BROKEN}r{BROKEN}d{BROKEN}m", None, ["invalid"]),
    ("control characters", "", "a\x00b\x01c\x02d\x03", None, ["invalid"]),
    ("all of it", "", f"{BROKEN}\x00{RUSSIAN[:3]}" * 9, "latin", ["loop", "script", "invalid"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "text", "script", "expected"),
    [case[1:] for case in TEXTS],
    ids=[case[0] for case in TEXTS],
)
def test_flags(prompt: str, text: str, script: Script | None, expected: list[Flag]) -> None:
    assert flags(prompt, text, script) == expected


@pytest.mark.parametrize(
    ("text", "length_and_period"),
    [
        ("", (0, 0)),
        ("a", (0, 0)),
        ("aa", (0, 0)),
        ("aaa", (3, 1)),
        ("xabcabcabc", (9, 3)),
        ("xabcabcabca", (10, 3)),
        ("abcabcabcx", (0, 0)),
        ("ab" * 500, (1000, 2)),
    ],
)
def test_the_end_that_repeats(text: str, length_and_period: tuple[int, int]) -> None:
    assert repeated_end(text) == length_and_period


@pytest.mark.parametrize("source", ["bundled/prose", "bundled/code"])
def test_real_text_is_not_flagged(source: str) -> None:
    """Parts of a few hundred characters from anywhere, cut anywhere."""
    draw = random.Random(7)
    texts = [text for text in corpora.documents(source) if len(text) > 1000]
    for _ in range(800):
        text = draw.choice(texts)
        start, length = draw.randrange(60, len(text) - 600), draw.randrange(200, 600)
        part = text[start : start + length]
        if len(part.strip()) > 20:
            assert flags(text[start - 60 : start], part, "latin") == [], part
