"""Correlation and convolution with the names, parameters and bits of scipy.ndimage (see `passes`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.filters._engine.arguments import axes_of, axis_of, cval_of, mode_of, origins_of
from mpibatch.filters._engine.calls import FilterCall
from mpibatch.filters._engine.footprints import expanded_origins, mirrored
from mpibatch.filters._engine.lines import correlation
from mpibatch.filters._engine.memory import check_memory, padded_bytes, slab_bytes
from mpibatch.filters._engine.outputs import fills_output
from mpibatch.filters._engine.windows import correlate_window, holds
from mpibatch.filters.passes import begin, passes, truths

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mpibatch.fields.field import Field

__all__ = ["convolve", "convolve1d", "correlate", "correlate1d"]

Weights = npt.NDArray[np.float64]


def weights_of(name: str, weights: Any, ndim: int) -> Weights:
    """Return `weights` as f8 with `ndim` axes. Local."""
    try:
        array = np.asarray(weights)
        if array.dtype.kind == "c":
            raise UsageError(f"{name}: weights are complex; filter with their real and imaginary parts")
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{name}: weights = {weights!r} are not numbers; give a sequence of numbers") from None
    if array.ndim != ndim or not array.size:
        raise UsageError(
            f"{name}: weights of shape {array.shape} were given for {ndim} filtered axes;"
            f" give at least one weight, and {ndim} axes"
        )
    return array


@fills_output
def correlate1d(
    u: Field,
    weights: Sequence[float] | Weights,
    axis: int = -1,
    output: npt.DTypeLike | Field | None = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int = 0,
) -> Field:
    """Correlate along one grid axis with `weights`.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    weights : array_like of float, shape (n,)
        Real weights; the center is weight n // 2, moved by `origin` cells. Taken as float64.
    axis : int, default -1
        Grid axis to filter along; a negative one counts from the last.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
    mode : str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). A periodic axis wraps whatever its mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. It is not rounded to the
        dtype of `u`.
    origin : int, default 0
        Shift of the window in cells, from -(n // 2) to (n - 1) // 2: a positive one makes a cell read lower indices.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u` times that of the weights.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. A rank receives the cells within reach (n - 1 in all) from the ranks beside it on that axis. The cost is
    n products a cell, half of them where the weights are symmetric or antisymmetric.

    Sums are taken in float64 in scipy's order. Equal, bit for bit, to scipy.ndimage.correlate1d of the whole array on
    any number of ranks. Cells of a bool result are True where scipy's are not 0.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.correlate1d(u, [1, 2, 3], axis=0, mode="constant")
    >>> mb.gather_all(v)[7:10, 8]
    array([3., 2., 1.])
    """
    name = "correlate1d"
    call = FilterCall(name=name, u=u, output=output, mode=mode, cval=cval, origin=origin, axes=axis)
    return _correlated1d(call, weights_of(name, weights, 1))


@fills_output
def convolve1d(
    u: Field,
    weights: Sequence[float] | Weights,
    axis: int = -1,
    output: npt.DTypeLike | Field | None = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int = 0,
) -> Field:
    """Convolve along one grid axis with `weights`: correlate1d with the weights reversed.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    weights : array_like of float, shape (n,)
        Real weights; the center is weight n // 2, moved by `origin` cells. Taken as float64.
    axis : int, default -1
        Grid axis to filter along; a negative one counts from the last.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
    mode : str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). A periodic axis wraps whatever its mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. It is not rounded to the
        dtype of `u`.
    origin : int, default 0
        Shift of the window in cells, from -(n // 2) to (n - 1) // 2: a positive one makes a cell read higher indices.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u` times that of the weights.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. A rank receives the cells within reach (n - 1 in all) from the ranks beside it on that axis. The cost is
    n products a cell, half of them where the weights are symmetric or antisymmetric.

    Sums are taken in float64 in scipy's order. Equal, bit for bit, to scipy.ndimage.convolve1d of the whole array on
    any number of ranks. Cells of a bool result are True where scipy's are not 0.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.convolve1d(u, [1, 2, 3], axis=0, mode="constant")
    >>> mb.gather_all(v)[7:10, 8]
    array([1., 2., 3.])
    """
    taps = weights_of("convolve1d", weights, 1)
    shift = mirrored("convolve1d", origins_of("convolve1d", origin, taps.shape), taps.shape)
    call = FilterCall(name="convolve1d", u=u, output=output, mode=mode, cval=cval, origin=shift, axes=axis)
    return _correlated1d(call, taps[::-1])


def _correlated1d(call: FilterCall, weights: Weights) -> Field:
    name, u = call.name, call.u
    out = begin(name, u, call.output)
    along = axis_of(name, call.axes, u.grid.ndim)
    (shift,) = origins_of(name, call.origin, (weights.size,))
    mode, cval = mode_of(name, call.mode), cval_of(name, call.cval)
    check_memory(u.grid, f"{name} with {weights.size} weights", slab_bytes(u, along, (weights.size - 1, 0)))
    return passes(u, out, [correlation(along, weights, mode, shift)], cval)


@fills_output
def correlate(
    u: Field,
    weights: Any,
    output: npt.DTypeLike | Field | None = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Correlate with weights of any shape: one axis of `weights` per filtered axis.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    weights : array_like of float
        Real weights, with one axis for each filtered axis, in the order of the grid's axes; n cells along an axis have
        their center at n // 2. Taken as float64.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
    mode : str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). A periodic axis wraps whatever its mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. It is not rounded to the
        dtype of `u`.
    origin : int or sequence of int, default 0
        Shift of the window in cells, from -(n // 2) to (n - 1) // 2; one for all, or one for each filtered axis: a
        positive one makes a cell read lower indices.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u` times that of the weights.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. A rank receives the cells within reach (n - 1 in all along each axis, corners included) from the ranks
    around it, in one exchange. The cost is one product a cell for each weight (those of at most 2**-52 are left out, as
    in scipy); weights that are a product of lines are cheaper as passes of `correlate1d`.

    Sums are taken in float64 in scipy's order. Equal, bit for bit, to scipy.ndimage.correlate of the whole array on any
    number of ranks. Cells of a bool result are True where scipy's are not 0.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.correlate(u, [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    >>> mb.gather_all(v)[7:10, 7:10]
    array([[9., 8., 7.],
           [6., 5., 4.],
           [3., 2., 1.]])
    """
    call = FilterCall(name="correlate", u=u, output=output, mode=mode, cval=cval, origin=origin, axes=axes)
    return _correlated(call, weights)


@fills_output
def convolve(
    u: Field,
    weights: Any,
    output: npt.DTypeLike | Field | None = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Convolve with weights of any shape: correlate with the weights reversed along every axis.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    weights : array_like of float
        Real weights, with one axis for each filtered axis, in the order of the grid's axes; n cells along an axis have
        their center at n // 2. Taken as float64.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
    mode : str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). A periodic axis wraps whatever its mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. It is not rounded to the
        dtype of `u`.
    origin : int or sequence of int, default 0
        Shift of the window in cells, from -(n // 2) to (n - 1) // 2; one for all, or one for each filtered axis: a
        positive one makes a cell read higher indices.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u` times that of the weights.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. A rank receives the cells within reach (n - 1 in all along each axis, corners included) from the ranks
    around it, in one exchange. The cost is one product a cell for each weight (those of at most 2**-52 are left out, as
    in scipy); weights that are a product of lines are cheaper as passes of `convolve1d`.

    Sums are taken in float64 in scipy's order. Equal, bit for bit, to scipy.ndimage.convolve of the whole array on any
    number of ranks. Cells of a bool result are True where scipy's are not 0.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.convolve(u, [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    >>> mb.gather_all(v)[7:10, 7:10]
    array([[1., 2., 3.],
           [4., 5., 6.],
           [7., 8., 9.]])
    """
    call = FilterCall(name="convolve", u=u, output=output, mode=mode, cval=cval, origin=origin, axes=axes)
    return _correlated(call, weights)


def _correlated(call: FilterCall, weights: Any) -> Field:
    name, u = call.name, call.u
    out = begin(name, u, call.output)
    ndim = u.grid.ndim
    along = axes_of(name, call.axes, ndim)
    taps = weights_of(name, weights, len(along))
    # As in scipy, the weights' axes belong to the filtered axes in increasing order, whatever order was asked for.
    window = np.expand_dims(taps, tuple(axis for axis in range(ndim) if axis not in along))
    origins = expanded_origins(name, call.origin, window.shape, along)
    if name == "convolve":
        window = np.flip(window)
        origins = mirrored(name, origins, window.shape)
    mode, cval = mode_of(name, call.mode), cval_of(name, call.cval)
    itemsize = u.dtype.itemsize if holds(u.dtype, cval) else u.dtype.itemsize + 8
    reach = [(0, size - 1) for size in window.shape]
    check_memory(u.grid, f"{name} with weights of shape {taps.shape}", padded_bytes(u, reach, itemsize))
    with timed("compute"):
        correlate_window(u, out, window, origins, mode, cval)
    return truths(out)
