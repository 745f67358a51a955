"""Passes along one axis after the other of Fields that may be cut along each.

The first pass needs no more than the nearest background cell before and after each block, line by line. Of the others,
one along an axis that is cut gets as many cells around the block as can matter, if that is less than a block; else
the field is redistributed, so that lines are whole. A line along a periodic axis goes on in both directions with what
it has at its other end; more than half a turn away nothing is the nearest.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch import reduce
from mpibatch.base.errors import UsageError
from mpibatch.base.progress.rounds import note
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.fields.pencils import are_whole, before_and_after, pencils
from mpibatch.fields.redistribution import redistribute
from mpibatch.filters._engine.memory import check_memory, largest_block
from mpibatch.halo import padded_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mpibatch.fields.grid import Grid

__all__ = [
    "Sites",
    "check_sites",
    "check_squares",
    "columns",
    "nearest_places",
    "nearest_sites",
    "place_type",
    "squared_distances",
]

Array = npt.NDArray[Any]
MOST_WORK = 1 << 62  # the largest products of the envelope of parabolas stay below 2**63


def columns(array: Array, axis: int) -> Array:
    """Return a C-contiguous array as (outer, cells along the axis, inner): the same memory. Local."""
    shape = array.shape
    result = array.reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
    assert np.may_share_memory(result, array) or not array.size
    return result


def nearest_places(inside: Array, grid: Grid, axis: int, out: Array, labels: Sequence[Array] = ()) -> list[Array]:
    """Write the place on the axis of the nearest background cell of each line, negative if there is none. Collective.

    Of two that are equally near it is the lower one. `inside` is False for background, and `out` an array of the same
    shape. Returned is for each of `labels`, arrays of this shape, what it holds in the cells at those places. Places
    are counted as those of the block's own cells are from `first_place` on.
    """
    from mpibatch.segment._loops import sites, squares

    view, start = columns(inside, axis), first_place(grid, axis)
    ends = [np.full((view.shape[0], view.shape[2]), -1, out.dtype) for _ in range(2)]
    is_alone = are_whole(grid, axis) and not grid.periodic[axis]
    if not is_alone:
        with timed("compute"):
            squares.first_and_last(view, start, *ends)
    first, last = ([end, *_at(end, start, labels, axis)] for end in ends)
    before, after = last, first
    if not is_alone:
        before, after = before_and_after(grid, axis, last, first, is_ring=grid.periodic[axis])
    with timed("compute"):
        squares.nearest_on_line(view, start, before[0], after[0], columns(out, axis))
        results = [np.empty_like(part) for part in labels]
        for part, low, high, result in zip(labels, before[1:], after[1:], results, strict=True):
            sites.choose(columns(out, axis), start, columns(part, axis), low, high, columns(result, axis))
    return results


def first_place(grid: Grid, axis: int) -> int:
    """Return the place where the block begins on an axis: on a periodic one a turn further than its index. Local."""
    return grid.box.start[axis] + (grid.shape[axis] if grid.periodic[axis] else 0)


def _at(places: Array, start: int, labels: Sequence[Array], axis: int) -> list[Array]:
    """Return what arrays hold at global places on the lines, with anything where these are negative."""
    if not all(part.shape[axis] for part in labels):
        return [np.zeros(places.shape, part.dtype) for part in labels]
    local = np.maximum(places.astype(np.int64) - start, 0)[:, None, :]
    return [np.take_along_axis(columns(part, axis), local, axis=1)[:, 0, :] for part in labels]


def squared_distances(inside: Array, grid: Grid, components: tuple[int, ...]) -> tuple[Field, int]:
    """Return squared distances to the background in cells, and the number that stands for infinity. Collective."""
    from mpibatch.segment._loops import squares

    dtype, far = _squares_of(grid)
    cut = [axis for axis in range(grid.ndim) if not are_whole(grid, axis)]
    # In whole numbers the axes may come in any order: first one for which lines need not be whole (or else the first,
    # whose columns lie side by side in memory), last those that are cut, when distances are short already.
    first = cut[0] if cut else 0
    field = Field(grid, dtype, 0, components)
    nearest_places(inside, grid, first, field.owned)
    with timed("compute"):
        squares.squares(columns(field.owned, first), first_place(grid, first), far)
    note(grid.ndim - 1)
    rest = [axis for axis in reversed(range(grid.ndim)) if axis != first]
    for number, axis in enumerate(sorted(rest, key=cut.__contains__), 2):
        # What is nearer than a cell's own value, or nothing is.
        is_alone = are_whole(field.grid, axis) and not grid.periodic[axis]
        reach = None if is_alone else _short(reduce.max(field), far, 1)
        (field,) = along(axis, [(field, far)], reach, lambda arrays, _: squares.envelopes(arrays[0], far))
        note(grid.ndim - number)
    return redistribute(field, grid) if field.grid is not grid else field, far


def _squares_of(grid: Grid) -> tuple[type[np.int32 | np.int64], int]:
    """Return the type of squared distances, and the number that stands for infinity. Local."""
    lengths = [2 * n if is_periodic else n for n, is_periodic in zip(grid.shape, grid.periodic, strict=True)]
    diagonal = sum((n - 1) ** 2 for n in lengths)
    if diagonal * max(lengths) >= MOST_WORK:
        raise UsageError(
            f"distances on a grid of shape {grid.shape}: their squares do not fit into 64 bits; cut the domain"
        )
    # The sum of infinity and the square of a line's length is still a number of the type.
    return (np.int32, 1 << 30) if diagonal < 1 << 30 else (np.int64, 1 << 62)


def check_squares(name: str, u: Field) -> None:
    """Raise if there is no room for `squared_distances` and the roots of them. Collective."""
    grid = u.grid
    item = np.dtype(_squares_of(grid)[0]).itemsize
    cut = [axis for axis in range(grid.ndim) if not are_whole(grid, axis)]
    first = cut[0] if cut else 0
    most = max([item, *(item + _beside(grid, axis, item, item, 2) for axis in range(grid.ndim) if axis != first)])
    # The roots are made when there is nothing but the squares.
    _check(name, u, _mask_bytes(u) + max(item, most - 8))


def check_sites(name: str, u: Field, sampling: Any, labels: int, places: bool, returned: int) -> None:
    """Raise if there is no room for `nearest_sites`, and for indices as one field. Collective.

    `labels` : bytes of a cell of what is brought; `returned` : of what the caller returns.
    """
    grid, turns = u.grid, 2 if sampling is None else 3
    place = place_type(grid).itemsize
    brought = labels + (place if places else 0)
    waits = 0 if places else place  # where nobody needs them, the first places wait for the next field
    most = place + labels + 8 + labels
    for axis in range(1, grid.ndim):
        before, brought = 8 + brought, brought + (place if places else 0)
        most = max(most, waits + 8 + brought + _beside(grid, axis, before, 8 + brought, turns, 4))
    if places:
        most = max(most, 8 + 2 * brought + 1)
    _check(name, u, max(0, (1 if labels else _mask_bytes(u)) + most - returned))


def _mask_bytes(u: Field) -> int:
    return 0 if u.dtype == np.bool_ and not any(map(any, u.halo)) else 1


def _check(name: str, u: Field, each: int) -> None:
    cells = math.prod(largest_block(u.grid)) * math.prod(u.components)
    check_memory(u.grid, name, each * cells, "its passes along axes", "take more ranks")


def _beside(grid: Grid, axis: int, before: int, fields: int, turns: int, chosen: int = 0) -> int:
    """Return the bytes of a cell that `along` takes at most beside fields of `fields` bytes. Local.

    Lines that are not whole, or go on around, are copied with the cells around, at most `turns` times as many, which
    are received and sent apart, one field after the other; or the fields of `before` bytes are redistributed.
    """
    is_cut, is_ring = not are_whole(grid, axis), grid.periodic[axis]
    copied = turns * fields + max(turns * chosen, 2 * (turns - 1) * min(8, fields))
    if is_ring:
        return copied + (before if is_cut else 0)
    if not is_cut:
        return chosen
    # With three turns nobody knows how far is enough, and lines are made whole.
    return before + chosen if turns == 3 else copied


def place_type(grid: Grid) -> np.dtype[Any]:
    """Return the type of places on an axis: on a periodic one they are counted over three turns. Local."""
    is_small = max(grid.shape) * (3 if any(grid.periodic) else 1) < 1 << 31
    return np.dtype(np.int32 if is_small else np.int64)


def _short(most: Any, far: float, less: int) -> int | None:
    """Return how far cells may matter whose squared distance is less than `most`, or as much; None: any. Local."""
    return None if most >= far else math.isqrt(max(0, int(most) - less))


def along(
    axis: int,
    parts: Sequence[tuple[Field, Any]],
    reach: int | None,
    work: Callable[[list[Array], int], Any],
    new: Sequence[npt.DTypeLike] = (),
    has_turns: bool = False,
) -> list[Field]:
    """Let `work` change fields along an axis, and return them, on their own or on another grid. Collective.

    Parameters
    ----------
    axis : int
        Along which lines must be whole, or have all cells that matter.
    parts : sequence of (Field, value)
        Fields without halo on one grid, which may be changed, and what stands beyond walls.
    reach : int or None
        How many cells before and after a cell matter to it, the same on all ranks; None if all may. On a periodic axis
        these are no more than half a turn, but a whole one with `has_turns`.
    work : callable
        Takes the arrays as columns, and the global place where they begin; changes them in place.
    new : sequence of dtype
        Of fields and arrays behind the others, which `work` fills.
    """
    fields = [field for field, _ in parts]
    grid = fields[0].grid
    n, is_whole = grid.shape[axis], are_whole(grid, axis)
    if grid.periodic[axis]:
        reach = n if has_turns else min(n // 2, n if reach is None else reach)
    if reach == 0 or (is_whole and not grid.periodic[axis]):
        arrays = [field.owned for field in fields]
    elif reach is not None and (is_whole or 2 * reach <= -(-n // grid.topology[axis])):
        widths = tuple((reach, reach) if a == axis else (0, 0) for a in range(grid.ndim))
        arrays = [padded_copy(field, widths, "constant", value, corners=False) for field, value in parts]
    else:
        whole = pencils(grid, axis)
        moved = [(redistribute(field, whole), value) for field, value in parts]
        return along(axis, moved, reach, work, new, has_turns)
    for dtype in new:
        fields.append(fields[0].like(dtype))
        is_copy = arrays[0] is not fields[0].owned
        arrays.append(np.empty(arrays[0].shape, dtype) if is_copy else fields[-1].owned)
    if fields[0].owned.size:
        around = (arrays[0].shape[axis] - grid.box.shape[axis]) // 2
        middle = (slice(None),) * axis + (slice(around, around + grid.box.shape[axis]),)
        with timed("compute"):
            work([columns(array, axis) for array in arrays], grid.box.start[axis] - around)
            if around:
                for field, array in zip(fields, arrays, strict=True):
                    field.owned[...] = array[middle]
    return fields


class Sites:
    """The nearest background cell of each cell: its squared distance, and what belongs to it.

    Attributes
    ----------
    weights : Field
        The squared distances, infinite where there is no background.
    brought : list of Field
        What was asked to be brought from the nearest background cell, or its place along each axis.
    """

    def __init__(self, weights: Field, brought: list[Field]) -> None:
        self.weights, self.brought = weights, brought


def nearest_sites(
    inside: Array,
    grid: Grid,
    components: tuple[int, ...],
    sampling: Sequence[float] | None,
    labels: Array | None = None,
    places: bool = False,
    most: float = math.inf,
) -> Sites:
    """Return the nearest background cells, chosen by scipy's operations in their order. Collective.

    Parameters
    ----------
    inside : ndarray of bool
        False for background: the owned cells.
    grid, components
        Where they lie.
    sampling : sequence of float or None
        Spacing along each axis; None is 1, where all arithmetic is exact, and cells that are far off can be left out.
    labels : ndarray, optional
        What is to be brought from the nearest background cell.
    places : bool
        Whether its place along each axis is to be brought.
    most : float
        Distance beyond which results do not matter (with `sampling` None).
    """
    from mpibatch.segment._loops import sites

    spacing = sampling or (1.0,) * grid.ndim
    dtype = place_type(grid)
    first = Field(grid, dtype, 0, components)
    payload = nearest_places(inside, grid, 0, first.owned, () if labels is None else (labels,))
    weights = Field(grid, np.float64, 0, components)
    with timed("compute"):
        sites.place_squares(columns(first.owned, 0), first_place(grid, 0), spacing[0], columns(weights.owned, 0))
        if grid.periodic[0]:
            np.remainder(first.owned, grid.shape[0], out=first.owned, where=first.owned >= 0)
    brought = [first] if places else []
    del first
    while payload:
        brought.append(Field(grid, payload[0].dtype, 0, components))
        brought[-1].owned[...] = payload.pop(0)
    note(grid.ndim - 1)
    for axis in range(1, grid.ndim):
        reach = None
        if sampling is None and not (are_whole(weights.grid, axis) and not grid.periodic[axis]):
            limit = math.floor(most) if most < math.inf else None
            known = _short(reduce.max(weights), math.inf, 0)
            reach = known if limit is None else limit if known is None else min(known, limit)
        # Rounded distances are scipy's only if all that it sees of three turns takes part.
        has_turns = sampling is not None
        weights, brought = _next(axis, weights, brought, reach, spacing[axis], dtype if places else None, has_turns)
        note(grid.ndim - 1 - axis)
    if weights.grid is not grid:
        weights, brought = redistribute(weights, grid), [redistribute(part, grid) for part in brought]
    return Sites(weights, brought)


def _next(
    axis: int, weights: Field, brought: list[Field], reach: int | None, spacing: float, dtype: Any, has_turns: bool
) -> tuple[Field, list[Field]]:
    """Take one more axis into account; with a dtype, bring places on it, too. Collective."""
    from mpibatch.segment._loops import sites

    def work(arrays: list[Array], start: int) -> None:
        chosen = np.empty(arrays[0].shape, np.int32 if arrays[0].shape[1] < 1 << 31 else np.int64)
        sites.sites(arrays[0], spacing, chosen)
        for array in arrays[1 : 1 + len(brought)]:
            sites.bring(array, chosen)
        if dtype is not None:
            np.add(chosen, start, out=arrays[-1], casting="unsafe")
            if weights.grid.periodic[axis]:
                arrays[-1] %= weights.grid.shape[axis]

    parts = [(weights, math.inf), *((part, 0) for part in brought)]
    result, *moved = along(axis, parts, reach, work, () if dtype is None else (dtype,), has_turns)
    return result, moved
