"""Distances in steps from cell to cell, with scipy.ndimage's name and bits."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError, nearest
from mpibatch.base.progress.rounds import note
from mpibatch.base.timing import phase as timed
from mpibatch.domain import Box
from mpibatch.fields.field import Field, check_field
from mpibatch.fields.grid import Grid
from mpibatch.fields.redistribution import bring
from mpibatch.filters._engine.memory import check_memory, largest_block, padded_bytes
from mpibatch.halo import Exchange
from mpibatch.segment._engine.relaxation import total
from mpibatch.segment.distances import check_results

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["distance_transform_cdt"]

Array = npt.NDArray[Any]
Step = tuple[int, ...]
METRICS = ("chessboard", "taxicab", "cityblock", "manhattan")


def distance_transform_cdt(
    input: Field,
    metric: str | npt.ArrayLike = "chessboard",
    return_distances: bool = True,
    return_indices: bool = False,
) -> Any:
    """Return for each cell the steps to the nearest background cell, as scipy.ndimage's. Collective.

    Parameters
    ----------
    input : Field
        Of any dtype; cells that are 0 are background. Of components each is transformed alone.
    metric : str or array_like, default "chessboard"
        What is a step: "chessboard" (to any neighbor), "taxicab", also "cityblock" or "manhattan" (to those that share
        a face), or an array of three cells along each axis, true where a step leads to. As in scipy only its first
        half counts, and steps the other way are those of this half turned around.
    return_distances : bool, default True
        Whether distances are returned.
    return_indices : bool, default False
        Whether it is returned to which background cell the steps lead.

    Returns
    -------
    distances : Field
        Of dtype int32; -1 where no steps lead to the background.
    indices : Field
        With the global index of that cell along each axis as last component, where scipy has a first axis; int32
        (int64 if the grid has an axis of 2**31 cells or more). A cell's own index where no steps lead away.

    Raises
    ------
    UsageError
        If nothing is to be returned, or if the metric is none.

    Notes
    -----
    Collective. Equal to the bit to scipy's two sweeps over the whole array, ties included. Each rank sweeps over its
    block, and again when a neighbor's cells have changed: exchanges of faces, and all-reduces, as often as the longest
    way of steps crosses from one rank to another, and one more for each of the two directions.

    Along a periodic axis steps go around: they are those in the middle of three copies of the array in a row. This is
    how they are found, with three times the memory and the time for each such axis.

    Method: doi:10.1145/321356.321357.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch.segment import distance_transform_cdt
    >>> u = mb.scatter(np.array([[0, 1, 1, 1], [1, 1, 1, 1]]), mb.Grid((2, 4)))
    >>> mb.gather_all(distance_transform_cdt(u, "taxicab"))
    array([[0, 1, 2, 3],
           [1, 2, 3, 4]], dtype=int32)
    """
    name = "distance_transform_cdt"
    check_field(name, input)
    steps = _steps(name, metric, input.grid.ndim)
    check_results(name, return_distances, return_indices)
    check_memory(input.grid, name, _room(input, return_distances, return_indices), "its sweeps", "take more ranks")
    is_ring = any(input.grid.periodic)
    distances, sites = _swept(_three_turns(input) if is_ring else input, steps, return_indices)
    results = []
    if return_distances:
        results.append(distances.like(halo=0))
        results[-1].owned[...] = distances.owned
    if sites is not None:
        results.append(_indices(sites, input.grid.shape))
    if is_ring:
        results = [_middle_turn(result, input.grid) for result in results]
    return results[0] if len(results) == 1 else tuple(results)


def _room(u: Field, return_distances: bool, return_indices: bool) -> int:
    """Return the bytes that are taken beside what is returned, from the largest block. Local."""
    grid, ndim = u.grid, u.grid.ndim
    cells = math.prod(largest_block(grid)) * math.prod(u.components)
    index = 4 if max(grid.shape) < 1 << 31 else 8
    turned = 3 ** sum(grid.periodic)
    around = padded_bytes(u, ((1, 1),) * ndim, 4 + (8 if return_indices else 0))
    # While sweeps begin anew, what they began with and what they begin with; in the end, indices along all axes.
    most = around + cells * (8 + (16 if return_indices else 0))
    made = (4 if return_distances else 0) + (index * ndim if return_indices else 0)
    if return_indices:
        most = max(most, around + cells * (8 * ndim + 8 + made))
    return turned * (most + cells) + cells if turned > 1 else most - cells * made


def _three_turns(u: Field) -> Field:
    """Return which cells are not 0 on a grid of three copies in a row along each periodic axis. Collective."""
    grid, cells = u.grid, u.like(np.bool_, 0)
    cells.owned[...] = u.owned != 0
    turns = [range(3 if is_ring else 1) for is_ring in grid.periodic]
    shape = [len(along) * n for along, n in zip(turns, grid.shape, strict=True)]
    result = Field(Grid(shape, comm=grid.comm, topology=grid.topology), np.bool_, 0, u.components)
    for turn in itertools.product(*turns):
        bring(cells, _all_of(grid), [k * n for k, n in zip(turn, grid.shape, strict=True)], result)
    return result


def _middle_turn(u: Field, grid: Grid) -> Field:
    """Return the copy in the middle, on the grid of one. Collective."""
    result = Field(grid, u.dtype, 0, u.components)
    back = [-n if is_ring else 0 for n, is_ring in zip(grid.shape, grid.periodic, strict=True)]
    middle = Box(tuple(-n for n in back), tuple(n - m for n, m in zip(grid.shape, back, strict=True)))
    bring(u, middle, back, result)
    return result


def _all_of(grid: Grid) -> Box:
    return Box((0,) * grid.ndim, grid.shape)


def _steps(name: str, metric: Any, ndim: int) -> list[Step]:
    """Return the steps of the forward sweep, in scipy's order."""
    every = list(itertools.product((-1, 0, 1), repeat=ndim))
    first = every[: len(every) // 2]
    if isinstance(metric, str):
        if metric not in METRICS:
            raise UsageError(f"{name}: metric {metric!r} is unknown{nearest(metric, METRICS)}")
        return [step for step in first if metric == "chessboard" or sum(map(abs, step)) == 1]
    try:
        shape = np.shape(metric)
        truths = np.asarray(metric, bool)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: metric = {metric!r} is no array; give 3 cells along each axis") from None
    if shape != (3,) * ndim:
        raise UsageError(
            f"{name}: a metric of shape {shape} was given for a grid of {ndim} axes; give one of shape {(3,) * ndim}, "
            f"or one of {', '.join(METRICS)}"
        )
    return [step for step, is_step in zip(first, truths.reshape(-1), strict=False) if is_step]


def _swept(u: Field, steps: list[Step], with_sites: bool) -> tuple[Field, Field | None]:
    """Return steps to the background, and where they lead as a place in the flat global array. Collective."""
    distances = u.like(np.int32, 1)
    distances.padded[...] = -1
    fields, sites = [distances], None
    begin = np.where(u.owned != 0, np.int32(-1), np.int32(0))
    origins = np.zeros((0, *begin.shape[1:]), np.int64)
    if with_sites:
        sites = u.like(np.int64, 1)
        sites.padded[...] = -1
        fields.append(sites)
        mine = np.ix_(*(np.arange(low, high) for low, high in zip(u.box.start, u.box.stop, strict=True)))
        flat = np.ravel_multi_index(mine, u.grid.shape)
        origins = np.broadcast_to(flat.reshape(flat.shape + (1,) * len(u.components)), begin.shape).copy()
    with Exchange(fields, mode="constant", cval=-1) as exchange:
        _sweep_until_settled(distances, sites, (begin, origins), steps, False, exchange)
        # The way back begins with what the way forth came to.
        begin = distances.owned.copy()
        origins = sites.owned.copy() if sites is not None else origins
        _sweep_until_settled(distances, sites, (begin, origins), steps, True, exchange)
    return distances, sites


def _sweep_until_settled(
    distances: Field, sites: Field | None, begin: tuple[Array, Array], steps: list[Step], backward: bool, fill: Exchange
) -> None:
    """Sweep over the block until no cell around it changes. Collective.

    A cell follows from those before it alone, so that there is one solution, from wherever sweeps begin.
    """
    from mpibatch.segment._loops.chamfer import sweep

    grid, padded = distances.grid, distances.padded
    cells = int(np.prod(distances.components, dtype=np.int64))
    strides = [stride // padded.itemsize for stride in padded.strides[: grid.ndim]]
    # Of scipy's order the step within a row is the last.
    offsets, own = (
        np.array([np.dot(step, strides) for step in steps if any(step[:-1]) == is_other], np.int64)
        for is_other in (True, False)
    )
    bases = np.array(strides[-1], np.int64)
    for n, stride in zip(grid.box.shape, strides[:-1], strict=False):
        bases = np.add.outer(bases, np.arange(1, n + 1) * stride)
    bases = bases.reshape(-1)
    shape = (bases.size, grid.box.shape[-1] * cells)
    is_cut = grid.size > 1
    changed = True
    while True:
        if changed and distances.owned.size:
            with timed("compute"):
                sweep(
                    begin[0].reshape(shape).view(np.uint32),
                    begin[1].reshape(shape if sites is not None else (0, shape[1])),
                    bases,
                    -offsets if backward else offsets,
                    -own if backward else own,
                    backward,
                    padded.reshape(-1).view(np.uint32),
                    sites.padded.reshape(-1) if sites is not None else np.empty(0, np.int64),
                )
        if not is_cut:
            note(0)
            return
        fields = [distances] if sites is None else [distances, sites]
        before = [part.copy() for field in fields for part in _around(field)]
        fill()
        after = (part for field in fields for part in _around(field))
        changed = any(not np.array_equal(old, new) for old, new in zip(before, after, strict=True))
        if not total(distances, int(changed)):
            return


def _around(u: Field) -> Iterator[Array]:
    """Yield the halo of one cell, side by side: views."""
    if u.owned.size:
        for axis in range(u.grid.ndim):
            for place in (0, -1):
                yield u.padded[(slice(None),) * axis + (place,)]


def _indices(sites: Field, shape: Sequence[int]) -> Field:
    """Return places in the flat global array, or in copies in a row, as indices along each axis, the last component."""
    grid = sites.grid
    dtype = np.int32 if max(grid.shape) < 1 << 31 else np.int64
    result = Field(grid, dtype, 0, (*sites.components, grid.ndim))
    for axis, places in enumerate(np.unravel_index(sites.owned, grid.shape)):
        result.owned[..., axis] = places % shape[axis]
    return result
