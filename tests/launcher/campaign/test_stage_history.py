"""Differences between a stage that has been trained and the one that is asked for now."""

from typing import Any

import pytest

from launcher.campaign.stage_history import changes, describe_changes


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, [("b", 2, 3)]),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}}, [("a.y", 2, 3)]),
        ({"a": 1}, {"b": 2}, [("a", 1, None), ("b", None, 2)]),
        ({"a": {"x": 1}}, {"a": None}, [("a", {"x": 1}, None)]),
        ({"a": [1, 2]}, {"a": [2, 1]}, [("a", [1, 2], [2, 1])]),
    ],
)
def test_changes(old: Any, new: Any, expected: list[tuple[str, Any, Any]]) -> None:
    assert list(changes(old, new)) == expected


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "k0 0 -> 1"),
        (3, "k0 0 -> 1, k1 0 -> 1, k2 0 -> 1"),
        (4, "k0 0 -> 1, k1 0 -> 1, k2 0 -> 1 and 1 more"),
        (9, "k0 0 -> 1, k1 0 -> 1, k2 0 -> 1 and 6 more"),
    ],
)
def test_the_first_few_are_named(count: int, text: str) -> None:
    assert describe_changes([(f"k{i}", 0, 1) for i in range(count)]) == text
