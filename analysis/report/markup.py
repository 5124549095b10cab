"""HTML that is escaped unless it was made here."""

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from analysis.charts.style import visible

VOID = ("input",)
"""Elements that have no end."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, *children: Any, **attributes: str | None) -> Html:
    """An element; a child that is no `Html` is text, one that is None is left out.

    An attribute's leading underscore is for names that are words of Python; None leaves it out.
    """
    in_tag = "".join(
        f' {key.strip("_").replace("_", "-")}="{html.escape(clean(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{in_tag}>" + ("" if name in VOID else f"{joined(children)}</{name}>"))


def joined(children: Iterable[Any]) -> Html:
    """Several one after the other."""
    return Html("".join(_child(child) for child in children if child is not None))


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    numbers: Iterable[int] = (),
    stacks: bool = False,
) -> Html:
    """A small table that scrolls inside; columns of ``numbers`` are set to the right.

    Args:
        stacks: the cells of a row stand one above the other, each with its head, on a phone.
    """
    right = set(numbers)
    sides = ["number" if place in right else None for place in range(len(heads))]
    head = (
        tag("th", text, scope="col", _class=side) for text, side in zip(heads, sides, strict=True)
    )
    body = (
        tag(
            "tr",
            *(
                tag("td", cell, _class=side, data_label=label if stacks else None)
                for cell, side, label in zip(row, sides, heads, strict=True)
            ),
        )
        for row in rows
    )
    inner = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", inner, _class="scroll stack" if stacks else "scroll", tabindex="0")


def clean(text: Any) -> str:
    """A text as it is shown, with its lines."""
    return visible(text, allowed="\n\t")


def script_json(data: Any) -> Html:
    """Data for an element of type application/json: nothing in it ends the element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Html(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _child(child: Any) -> str:
    return child if isinstance(child, Html) else html.escape(clean(child), quote=False)
