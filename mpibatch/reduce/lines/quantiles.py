"""Order statistics along some axes of a Field: lines are brought to one rank each, where NumPy sorts them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.domain import Decomposition
from mpibatch.fields.field import Field
from mpibatch.fields.grid import Grid
from mpibatch.fields.redistribution import move, redistribute
from mpibatch.mpi import same
from mpibatch.reduce.axes import Lines, grid_of
from mpibatch.reduce.operands import Operand

__all__ = ["sort_lines"]

Array = npt.NDArray[Any]


def sort_lines(
    lines: Lines,
    text: str,
    shape: tuple[int, ...],
    reduce_lines: Callable[[Array, tuple[int, ...]], Array],
    reduce_all: Callable[[Operand], Any],
) -> Field | Array:
    """Return what `reduce_lines` makes of lines that lie whole on a rank. Collective.

    `shape` is that of the result for one line: axes that come first in what `reduce_lines` returns, as NumPy has them,
    and last in ours. `reduce_all` does the same for all elements of a field, wherever they lie.
    """
    u, op = lines.op.u, lines.op
    same(u.grid.comm, text)
    if op.mask is not None:
        raise UsageError(
            f"{op.request} along axis={lines.reduced} with where= was asked for; it has that for all axes only: set "
            "the others to NaN, and take mpibatch.nanmedian or nanquantile"
        )
    if math.prod(u.shape[a] for a in lines.reduced) == 0:
        raise UsageError(f"{op.request} along axis={lines.reduced} of a field of shape {u.shape}: lines of no elements")
    if not lines.kept_grid:
        return _by_component(lines, shape, reduce_all)
    pencils = _whole_lines(lines)
    with phase("compute"), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # lines of NaN, and ranks without lines
        plain = pencils.owned.view("u1") if u.dtype.kind == "b" else pencils.owned
        results = np.asarray(reduce_lines(plain, lines.reduced))
        results = np.moveaxis(results, range(len(shape)), range(results.ndim - len(shape), results.ndim))
    components = (*lines.components, *shape)
    if pencils is u and not any(a < u.grid.ndim for a in lines.reduced):
        local = u.like(results.dtype, 0, components)
        local.owned[...] = results
        return local
    result = grid_of(u.grid, lines.kept_grid).empty(results.dtype, 0, components)
    axes = pencils.grid.decomposition.axes
    shares = Decomposition(tuple(axes[a] for a in lines.kept_grid))
    move(u.grid.comm, shares, np.ascontiguousarray(results), result.grid.decomposition, result.owned)
    return result


def _whole_lines(lines: Lines) -> Field:
    """Return the field on a grid whose reduced axes are not cut. Collective."""
    u = lines.op.u
    if lines.size == 1:
        return u
    topology = [1 if a in lines.reduced else None for a in range(u.grid.ndim)]
    return redistribute(u, Grid(u.grid.shape, comm=u.grid.comm, topology=topology))


def _by_component(lines: Lines, shape: tuple[int, ...], reduce_all: Callable[[Operand], Any]) -> Array:
    """Return the results of lines along all axes of the grid, one after the other. Collective."""
    u, op = lines.op.u, lines.op
    kept = [a - u.grid.ndim for a in lines.kept]
    others = tuple(n for i, n in enumerate(u.components) if i not in kept)
    results = []
    for index in np.ndindex(lines.components):
        which: list[Any] = [slice(None)] * len(u.components)
        for a, i in zip(kept, index, strict=True):
            which[a] = i
        component = u.like(halo=0, components=others)
        component.owned[...] = u.owned[(..., *which)]
        results.append(reduce_all(Operand(component, op.request, None, op.skips_nan)))
    return np.array(results).reshape((*lines.components, *shape))[()]
