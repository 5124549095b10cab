"""Parts of a screen that share the lines there are."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from launcher.cli.top.text_cells import fitted

ABOVE = 2
"""Lines of a section before its first item: an empty one and its title."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A title and items of one or two lines."""

    title: str
    items: Sequence[Sequence[Text]]
    """The first of them; of some nothing is known but how many they are."""
    total: int
    """Items that there are."""

    @property
    def height(self) -> int:
        """Lines of all that is in it."""
        more = 0 < len(self.items) < self.total
        return ABOVE + sum(map(len, self.items)) + more

    def lines(self, most: int, width: int) -> list[Text]:
        """As much of it as so many lines hold."""
        if most < ABOVE:
            return []
        title = Text(f"{self.title} {self.total:,}", style="bold underline")
        lines, left = [Text(), fitted(title, width)], self.total
        for item in self.items:
            if len(lines) + len(item) > most:
                break
            lines, left = [*lines, *item], left - 1
        if left and left < self.total and len(lines) < most:
            lines.append(fitted(Text(f"and {left:,} more", style="dim"), width))
        return lines


def shared(sections: Sequence[Section], height: int | None, width: int) -> list[Text]:
    """The lines of all sections; each gets its share, and the first ones what others leave."""
    wanted = [section.height for section in sections]
    if height is None:
        given = wanted
    else:
        share = max(height, 0) // max(len(sections), 1)
        given = [min(lines, share) for lines in wanted]
        left = max(height, 0) - sum(given)
        for i, lines in enumerate(wanted):
            given[i] += (more := min(lines - given[i], left))
            left -= more
    return [
        line
        for section, most in zip(sections, given, strict=True)
        for line in section.lines(most, width)
    ]
