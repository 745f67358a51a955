"""Order statistics along some axes of a Field: lines are brought to one rank each, where NumPy sorts them."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import as_numbers
from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.domain import Decomposition
from mpibatch.fields.grid import Grid
from mpibatch.fields.redistribution import move, redistribute
from mpibatch.reduce.axes import Lines, grid_of
from mpibatch.reduce.operands import Operand, add_up, agree

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpibatch.fields.field import Field

__all__ = ["sort_lines", "type_of_rows"]

Array = npt.NDArray[Any]


def sort_lines(
    lines: Lines,
    text: str,
    shape: tuple[int, ...],
    reduce_lines: Callable[[Array, tuple[int, ...]], Array],
    reduce_rows: Callable[[Array, Array], Array],
    reduce_all: Callable[[Operand], Any],
) -> Field | Array:
    """Return what `reduce_lines` makes of lines that lie whole on a rank. Collective.

    `shape` is that of the result for one line: axes that come first in what `reduce_lines` returns, as NumPy has them,
    and last in ours. `reduce_rows` does the same for sorted rows, of which so many elements count, and at least one;
    `reduce_all` for all elements of a field, wherever they lie.
    """
    u, op = lines.op.u, lines.op
    agree(u.grid.comm, text)
    if math.prod(u.shape[a] for a in lines.reduced) == 0:
        raise UsageError(f"{op.request} along axis={lines.reduced} of a field of shape {u.shape}: lines of no elements")
    if not lines.kept_grid:
        return _by_component(lines, shape, type_of_rows(reduce_rows, u.dtype), reduce_all)
    pencils = _whole_lines(lines, u)
    mask = None if op.mask is None else _whole_lines(lines, _mask_field(op)).owned
    if mask is None and op.skips_nan and u.dtype.kind == "f":
        # NumPy's nanquantile returns the type of the first line: f4 of NaN alone, and else f8.
        mask = np.broadcast_to(np.True_, pencils.owned.shape)
    with phase("compute"), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # lines of NaN, and ranks without lines
        plain = as_numbers(pencils.owned)
        if mask is None:
            results = _reduce_whole(lines, plain, shape, reduce_lines)
        else:
            results, is_nothing = _reduce_chosen(lines, plain, mask, reduce_rows)
            results = results.reshape((*shape, *(plain.shape[a] for a in lines.kept)))
        results = np.moveaxis(results, range(len(shape)), range(results.ndim - len(shape), results.ndim))
    if mask is not None:
        _check_nothing(lines, results.dtype, is_nothing=is_nothing)
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


def type_of_rows(reduce_rows: Callable[[Array, Array], Array], dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of what `reduce_rows` makes of some elements of a type, whatever they are. Local."""
    plain = np.dtype("u1") if dtype.kind == "b" else dtype
    result: np.dtype[Any] = np.asarray(reduce_rows(np.zeros((1, 1), plain), np.ones(1, np.int64))).dtype
    return result


def _reduce_whole(
    lines: Lines, values: Array, shape: tuple[int, ...], reduce_lines: Callable[[Array, tuple[int, ...]], Array]
) -> Array:
    """Return the results of whole lines, of the dtype and the shape that they have where there are some. Local."""
    if values.size:
        return np.asarray(reduce_lines(values, lines.reduced))
    # Of no lines NumPy's functions without NaN return other types and shapes.
    of_one = np.asarray(reduce_lines(np.zeros((1,) * values.ndim, values.dtype), lines.reduced))
    return np.empty((*shape, *(values.shape[a] for a in lines.kept)), of_one.dtype)


def _reduce_chosen(
    lines: Lines, values: Array, mask: Array, reduce_rows: Callable[[Array, Array], Array]
) -> tuple[Array, bool]:
    """Return the results of what is chosen of whole lines, and whether there is nothing in one of them. Local.

    Floats are NaN where there is nothing, or a NaN among it.
    """
    order = (*lines.kept, *lines.reduced)
    turned = values.transpose(order)
    rows = turned.reshape(math.prod(turned.shape[: len(lines.kept)]), lines.length)
    chosen = mask.transpose(order).reshape(rows.shape)
    if rows.dtype.kind == "f":
        is_nan = np.isnan(rows)
        has_nan = np.zeros(len(rows), bool) if lines.op.skips_nan else (is_nan & chosen).any(axis=1)
        chosen = chosen & ~is_nan
        last = np.array(np.nan, rows.dtype)
    else:
        has_nan, last = np.zeros(len(rows), bool), np.array(np.iinfo(rows.dtype).max, rows.dtype)
    # What is not chosen comes last, or among equal ones.
    ordered = np.sort(np.where(chosen, rows, last), axis=1)
    count = np.count_nonzero(chosen, axis=1)
    results = np.asarray(reduce_rows(ordered, np.maximum(count, 1)))
    if results.dtype.kind == "f":
        results[..., has_nan | (count == 0)] = np.nan
    return results, bool((count == 0).any())


def _check_nothing(lines: Lines, dtype: np.dtype[Any], *, is_nothing: bool) -> None:
    """Raise UsageError on all ranks if there are integers to be of nothing. Collective."""
    if lines.agree(flag=is_nothing) and dtype.kind != "f":
        raise UsageError(f"{lines.text}: there are lines of no elements, and no integer for these; choose some in each")


def _mask_field(op: Operand) -> Field:
    """Return which elements are chosen as a field like that of the elements. Local."""
    mask = op.u.like("?", 0)
    mask.owned[...] = op.mask
    return mask


def _whole_lines(lines: Lines, u: Field) -> Field:
    """Return a field on a grid whose reduced axes are not cut. Collective."""
    if lines.size == 1:
        return u
    topology = [1 if a in lines.reduced else None for a in range(u.grid.ndim)]
    return redistribute(u, Grid(u.grid.shape, comm=u.grid.comm, topology=topology))


def _by_component(
    lines: Lines, shape: tuple[int, ...], dtype: np.dtype[Any], reduce_all: Callable[[Operand], Any]
) -> Array:
    """Return the results of lines along all axes of the grid, one after the other, of this dtype. Collective."""
    u, op = lines.op.u, lines.op
    kept = [a - u.grid.ndim for a in lines.kept]
    others = tuple(n for i, n in enumerate(u.components) if i not in kept)
    results = np.empty((*lines.components, *shape), dtype)
    is_nothing = False
    for index in np.ndindex(lines.components):
        which: list[Any] = [slice(None)] * len(u.components)
        for a, i in zip(kept, index, strict=True):
            which[a] = i
        component = u.like(halo=0, components=others)
        component.owned[...] = u.owned[(..., *which)]
        mask = None if op.mask is None else np.broadcast_to(op.mask, u.local_shape)[(..., *which)]
        some = Operand(component, op.request, mask, op.skips_nan)
        if mask is None or add_up(u.grid.comm, np.array([np.count_nonzero(mask)], np.int64), lines.text)[0]:
            results[index] = reduce_all(some)
        else:
            results[index] = np.nan if dtype.kind == "f" else 0
            is_nothing = True
    if is_nothing:
        _check_nothing(lines, dtype, is_nothing=True)
    return results[()]
