"""Steps along one axis after the other, two of them joined: what the first makes goes into the second while in cache.

So a field goes through memory once for both, and what the first makes is sent as it is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.fields.field import Field
from mpibatch.fields.lines import LEAST_MESSAGE, Cut, WholeLines, columns_of
from mpibatch.fields.pencils import alike
from mpibatch.fields.plans import planned

if TYPE_CHECKING:
    from mpibatch.fields.grid import Grid

__all__ = ["AxisStep", "along_both", "both_bytes"]

Array = npt.NDArray[Any]

# Bytes of a piece where no message is sent: of two steps all that they need stays in a core's cache; and of any.
LEAST, MOST = 2**19, 2**22
COMPUTE = phase("compute")


@dataclass(frozen=True)
class AxisStep:
    """What is done to all lines of an axis: `work` fills lines of so many cells of a dtype (see `along_lines`)."""

    axis: int
    cells: int
    dtype: np.dtype[Any]
    work: Any

    def after(self, grid: Grid) -> Grid:
        """Return the grid of what it makes. Collective."""
        return alike(grid, [*grid.shape[: self.axis], self.cells, *grid.shape[self.axis + 1 :]])


def along_both(u: Field, first: AxisStep, second: AxisStep, into: Field | None = None) -> Field | None:
    """Return a field after two steps, of which the first goes into the second a piece at a time. Collective.

    None, the same on all ranks, if they cannot be joined: the axis of the first must not be cut, one of both must be
    the last, and pieces must be small, and enough for the ranks along the axis of the second.

    Parameters
    ----------
    u, into : see `along_lines`.
    first, second : what is done to lines of one axis, then to those of another. Their works do not look at the cut,
        and the second's may get one array twice.
    """
    grid = u.grid
    values, itemsize = math.prod(u.components), max(first.dtype.itemsize, second.dtype.itemsize)
    middle = first.after(grid)
    new = second.after(middle)
    key = ("both", first.axis, first.cells, second.axis, second.cells, values, itemsize)
    both: _Both = planned(grid, key, lambda: _Both(middle, new, first.axis, second.axis, values, itemsize))
    if both.lines is None:
        return None
    result = Field(new, second.dtype, 0, u.components) if into is None else into
    both.lines.run(_First(both, u.owned, first), columns_of(result.owned, second.axis), grid.comm, second.work)
    return result


def both_bytes(u: Field, axis: int) -> int:
    """Return the bytes that a rank needs beside its fields, at most, for two steps that are joined. Local."""
    parts = u.grid.topology[axis]
    return (10 if parts > 1 else 3) * max(MOST, parts * LEAST_MESSAGE)


class _Both:
    """How two steps are joined; holds no field. `lines`, those of the second, are None where it cannot be."""

    def __init__(self, middle: Grid, new: Grid, first: int, second: int, values: int, itemsize: int) -> None:
        self.lines: WholeLines | None = None
        self.is_behind = first > second
        low, high = self.ends = min(first, second), max(first, second)
        axes = middle.decomposition.axes
        largest = [max(high - low for low, high in map(blocks.bounds, range(blocks.parts))) for blocks in axes]
        between = math.prod(largest[low + 1 : high])
        # Lines of the second axis that lie on one of the first stay together.
        grain = middle.shape[first] * values * (1 if self.is_behind else between)
        groups = math.prod(largest[:low]) * (between if self.is_behind else 1)
        is_small = grain * middle.shape[second] * itemsize <= MOST
        if middle.topology[first] == 1 and high == middle.ndim - 1 and groups >= axes[second].parts and is_small:
            own = middle.shape[first] * math.prod(middle.box.shape[low + 1 : high])
            grains = (1, grain) if self.is_behind else (max(1, own), values)
            least = LEAST if axes[second].parts == 1 else None
            self.lines = WholeLines(middle, new, second, values, itemsize, grains, least)


class _First:
    """The lines of the second axis, as the first step makes them of a field's cells."""

    def __init__(self, both: _Both, owned: Array, step: AxisStep) -> None:
        self.dtype, self._step, self._both = step.dtype, step, both
        (low, high), shape = both.ends, owned.shape
        between = math.prod(shape[low + 1 : high])
        parts = 1 if both.lines is None or both.lines.is_local else len(both.lines.ranks)
        # Used in turn, for each rank's lines of this piece and of the next.
        self._buffers = [np.empty(0, self.dtype) for _ in range(1 if parts == 1 else 2 * parts)]
        self._cells = owned.reshape(
            math.prod(shape[:low]), shape[low], between, shape[high], math.prod(shape[high + 1 :])
        )

    def make(self, cut: Cut) -> Array:
        """Return the lines of a cut. Local."""
        assert self._both.lines is not None
        (rows, columns), grains, cells = cut, self._both.lines.grains, self._step.cells
        if self._both.is_behind:
            some = self._cells[rows, :, columns.start // grains[1] : columns.stop // grains[1]]
            lines = some.reshape(math.prod(some.shape[:3]), *some.shape[3:])
            shape = (*some.shape[:2], columns.stop - columns.start)
        else:
            some = self._cells[rows.start // grains[0] : rows.stop // grains[0]]
            lines = some.reshape(*some.shape[:2], math.prod(some.shape[2:]))
            shape = (rows.stop - rows.start, *some.shape[3:])
        made = self._array(len(lines), cells, lines.shape[2])
        with COMPUTE:
            self._step.work(lines, made, cut)
        return made.reshape(shape)

    def _array(self, *shape: int) -> Array:
        size, buffer = math.prod(shape), self._buffers.pop(0)
        self._buffers.append(buffer if buffer.size >= size else np.empty(size, self.dtype))
        return self._buffers[-1][:size].reshape(shape)
