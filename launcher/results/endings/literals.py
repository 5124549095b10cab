"""Literals of a regex: a text that has none of them has no match, and that is known far faster."""

import functools
from collections.abc import Iterable

# Not public, and all there is: Python's own parser has had these names since 3.11.
from re import IGNORECASE, _constants, _parser  # type: ignore[attr-defined]
from typing import Any

SHORTEST = 4
"""Characters below which a literal is in most texts."""


@functools.cache
def literals(regex: str) -> tuple[str, ...]:
    """Return texts of which every match of a regex has one; none where no such are known."""
    texts = _of_sequence(_parser.parse(regex))
    return texts if _rarity(texts) >= SHORTEST else ()


def _of_sequence(items: Iterable[tuple[Any, Any]]) -> tuple[str, ...]:
    """Literals of items that follow one another: of that which is the rarest in a text."""
    candidates: list[tuple[str, ...]] = []
    text = ""
    for operation, argument in items:
        if operation is _constants.LITERAL:
            text += chr(argument)
        else:
            candidates += [(text,), _of_item(operation, argument)]
            text = ""
    return max([*candidates, (text,)], key=_rarity)


def _of_item(operation: Any, argument: Any) -> tuple[str, ...]:
    match operation:
        case _constants.SUBPATTERN:
            _, added_flags, _, items = argument
            return () if added_flags & IGNORECASE else _of_sequence(items)
        case _constants.BRANCH:
            branches = [_of_sequence(items) for items in argument[1]]
            return tuple(text for texts in branches for text in texts) if all(branches) else ()
        case _constants.MAX_REPEAT | _constants.MIN_REPEAT:
            least, _, items = argument
            return _of_sequence(items) if least else ()
        case _constants.ASSERT:
            return _of_sequence(argument[1])
    return ()


def _rarity(texts: tuple[str, ...]) -> int:
    """Length of the shortest, which is in the most texts."""
    return min(map(len, texts), default=0)
