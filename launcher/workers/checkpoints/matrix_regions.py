"""Regions of a full matrix: the few that a range of a rank's flattened shard makes up.

Ranks of every layout and both engines keep such ranges: ZeRO cuts the flattened shard anywhere. In
the full matrix a range is the rest of one row, complete rows of the shard, and the start of another
row; two times that where it goes from the gate into the up projection of SwiGLU. A vector is a
matrix of one row.
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
        """Numbers of rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> int:
        """Number of elements."""
        return (self.bottom - self.top) * (self.right - self.left)

    def overlap(self, region: "Region") -> "Region | None":
        """Region that this one and ``region`` have in common."""
        top, bottom = max(self.top, region.top), min(self.bottom, region.bottom)
        left, right = max(self.left, region.left), min(self.right, region.right)
        return Region(top, bottom, left, right) if top < bottom and left < right else None

    def without(self, region: "Region") -> Iterator["Region"]:
        """Rest of this region: above, below, left and right of the overlap with ``region``."""
        hole = self.overlap(region)
        if hole is None:
            yield self
            return
        margins = (
            Region(self.top, hole.top, self.left, self.right),
            Region(hole.bottom, self.bottom, self.left, self.right),
            Region(hole.top, hole.bottom, self.left, hole.left),
            Region(hole.top, hole.bottom, hole.right, self.right),
        )
        yield from (margin for margin in margins if margin.area)

    def window(self, inner: "Region") -> tuple[slice, slice]:
        """Rows and columns of a region within this one, counted from this one's corner."""
        return (
            slice(inner.top - self.top, inner.bottom - self.top),
            slice(inner.left - self.left, inner.right - self.left),
        )


@dataclass(frozen=True, slots=True)
class ShardRegion:
    """A region whose elements, row by row, are consecutive in the flattened shard."""

    offset: int
    """Index of the first one in the flattened shard."""
    region: Region
    """Region of the full matrix that they are."""


def shard_regions(start: int, stop: int, shape: Shape, shard: Shard) -> Iterator[ShardRegion]:
    """Regions of the full matrix that elements ``start`` to ``stop`` of a shard make up.

    Args:
        start: first element of the range, in the flattened shard.
        stop: first element after the range.
        shape: the shard's.
        shard: the part of the full matrix that it is.
    """
    rows, width = _matrix(shape)
    split_by_rows = shard.split is not None and shard.split.dim == 0
    pieces = shard.split.pieces if shard.split is not None else 1
    assert split_by_rows or pieces == 1, "no split along rows has several pieces"
    height = rows // pieces
    first_column = shard.rank * width if shard.split is not None and not split_by_rows else 0
    while start < stop:
        row, column = divmod(start, width)
        piece, row_in_piece = divmod(row, height)
        # The full matrix has the same piece of every rank before the next piece of any.
        top = (piece * shard.size + shard.rank) * height + row_in_piece if split_by_rows else row
        if column or stop - start < width:  # a part of one row
            row_count, column_count = 1, min(width - column, stop - start)
        else:
            row_count = min((stop - start) // width, height - row_in_piece)
            column_count = width
        left = first_column + column
        yield ShardRegion(start, Region(top, top + row_count, left, left + column_count))
        start += row_count * column_count


def full_shape(shape: Shape, shard: Shard) -> tuple[int, int]:
    """Rows and columns of the full matrix, from the shape of a shard."""
    rows, width = _matrix(shape)
    if shard.split is None:
        return rows, width
    return (rows * shard.size, width) if shard.split.dim == 0 else (rows, width * shard.size)


def covered(region: Region, parts: Iterable[Region]) -> bool:
    """Return True if each element of ``region`` is in at least one of ``parts``."""
    uncovered = [region]
    for part in parts:
        uncovered = [remainder for hole in uncovered for remainder in hole.without(part)]
    return not uncovered


def _matrix(shape: Shape) -> tuple[int, int]:
    return (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])
