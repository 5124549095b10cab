"""Which part of a whole matrix a stretch of a rank's shard is: a few regions.

Ranks of every layout and both engines keep stretches: ZeRO cuts the flattened shard anywhere. In
the whole matrix a stretch is the rest of one row, whole rows of the shard, and the start of
another row; two times that where it goes from the gate into the up projection of SwiGLU. A vector
is a matrix of one row.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from launcher.workers.model.initial_weights import Shard

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, the last ones not included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> int:
        """Elements."""
        return (self.bottom - self.top) * (self.right - self.left)

    def overlap(self, other: "Region") -> "Region | None":
        """What both have."""
        top, bottom = max(self.top, other.top), min(self.bottom, other.bottom)
        left, right = max(self.left, other.left), min(self.right, other.right)
        return Region(top, bottom, left, right) if top < bottom and left < right else None

    def without(self, other: "Region") -> Iterator["Region"]:
        """What only this one has: what is above, below, left and right of what both have."""
        both = self.overlap(other)
        if both is None:
            yield self
            return
        around = (
            Region(self.top, both.top, self.left, self.right),
            Region(both.bottom, self.bottom, self.left, self.right),
            Region(both.top, both.bottom, self.left, both.left),
            Region(both.top, both.bottom, both.right, self.right),
        )
        yield from (one for one in around if one.area)

    def window(self, inner: "Region") -> tuple[slice, slice]:
        """The rows and columns of a region within this one, counted from its corner."""
        return (
            slice(inner.top - self.top, inner.bottom - self.top),
            slice(inner.left - self.left, inner.right - self.left),
        )


@dataclass(frozen=True, slots=True)
class Cut:
    """A region whose rows, one after another, are local elements ``at``, ``at`` + 1 ..."""

    at: int
    region: Region


def cuts(start: int, stop: int, shape: Shape, shard: Shard) -> Iterator[Cut]:
    """Where elements ``start`` to ``stop`` of a flattened shard are in the whole matrix.

    Args:
        start: of the flattened shard.
        stop: the first one after the stretch.
        shape: the shard's.
        shard: which part of the whole it is.
    """
    rows, width = _matrix(shape)
    down = shard.split is not None and shard.split.dim == 0
    pieces = shard.split.pieces if shard.split is not None else 1
    assert down or pieces == 1, "no split along rows has several pieces"
    height = rows // pieces
    first = shard.rank * width if shard.split is not None and not down else 0
    while start < stop:
        row, column = divmod(start, width)
        piece, inside = divmod(row, height)
        top = (piece * shard.size + shard.rank) * height + inside if down else row
        if column or stop - start < width:
            count, wide = 1, min(width - column, stop - start)
        else:
            count, wide = min((stop - start) // width, height - inside), width
        left = first + column
        yield Cut(start, Region(top, top + count, left, left + wide))
        start += count * wide


def whole(shape: Shape, shard: Shard) -> tuple[int, int]:
    """Rows and columns of the whole matrix."""
    rows, width = _matrix(shape)
    if shard.split is None:
        return rows, width
    return (rows * shard.size, width) if shard.split.dim == 0 else (rows, width * shard.size)


def covered(wanted: Region, there: Iterable[Region]) -> bool:
    """Whether each element is in one of those that are there."""
    left = [wanted]
    for other in there:
        left = [part for one in left for part in one.without(other)]
    return not left


def _matrix(shape: Shape) -> tuple[int, int]:
    return (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])
