"""Parts of a screen that share its lines."""

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
    """The first items; of the others only the number is known."""
    total: int
    """Number of all items."""

    @property
    def height(self) -> int:
        """Lines that the whole section takes."""
        more = 0 < len(self.items) < self.total
        return ABOVE + sum(map(len, self.items)) + more

    def lines(self, max_lines: int, width: int) -> list[Text]:
        """Return the lines of the section, cut to so many."""
        if max_lines < ABOVE:
            return []
        title = Text(f"{self.title} {self.total:,}", style="bold underline")
        lines, hidden = [Text(), fitted(title, width)], self.total
        for item in self.items:
            if len(lines) + len(item) > max_lines:
                break
            lines, hidden = [*lines, *item], hidden - 1
        if 0 < hidden < self.total and len(lines) < max_lines:
            lines.append(fitted(Text(f"and {hidden:,} more", style="dim"), width))
        return lines


def shared(sections: Sequence[Section], height: int | None, width: int) -> list[Text]:
    """Return the lines of all sections: each has an equal share, the first ones what is left."""
    full_heights = [section.height for section in sections]
    if height is None:
        heights = full_heights
    else:
        share = max(height, 0) // max(len(sections), 1)
        heights = [min(full_height, share) for full_height in full_heights]
        free_lines = max(height, 0) - sum(heights)
        for i, full_height in enumerate(full_heights):
            extra = min(full_height - heights[i], free_lines)
            heights[i] += extra
            free_lines -= extra
    return [
        line
        for section, max_lines in zip(sections, heights, strict=True)
        for line in section.lines(max_lines, width)
    ]
