"""Derivatives along several axes, summed: Laplacians and gradient magnitudes, with scipy.ndimage's names and bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import cast
from mpibatch.fields.field import Field
from mpibatch.filters._engine.arguments import axes_of, cval_of, modes_of
from mpibatch.filters._engine.calls import FilterCall
from mpibatch.filters._engine.outputs import fills_output
from mpibatch.filters.correlation import correlate1d
from mpibatch.filters.passes import begin, copied

__all__ = ["generic_gradient_magnitude", "generic_laplace", "laplace"]

Derivative = Callable[..., Field]


@fills_output
def laplace(
    u: Field,
    output: npt.DTypeLike | Field | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    *,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Sum the second differences (1, -2, 1) along the filtered axes.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
        Each pass is rounded to it.
    mode : str or sequence of str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). One for all, or one for each filtered axis. A periodic axis wraps whatever its
        mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. It is not rounded to the
        dtype of `u`.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u` per squared cell.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. One pass along each filtered axis, before which a rank receives one cell before and after its block from
    the ranks beside it on that axis. Needs memory for two more fields of the result's dtype.

    Sums are taken in the dtype of the result. Equal, bit for bit, to scipy.ndimage.laplace of the whole array on any
    number of ranks.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: x**2 + y**2)
    >>> v = mb.filters.laplace(u)
    >>> float(mb.gather_all(v)[8, 8])
    4.0
    """

    def second(v: Field, axis: int, output: Any, mode: str, cval: float) -> Field:
        return correlate1d(v, (1.0, -2.0, 1.0), axis, output, mode, cval)

    return generic_laplace(u, second, output, mode, cval, axes=axes)


@fills_output
def generic_laplace(
    u: Field,
    derivative2: Derivative,
    output: npt.DTypeLike | Field | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    extra_arguments: Sequence[Any] = (),
    extra_keywords: Mapping[str, Any] | None = None,
    *,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Sum a second derivative over the filtered axes.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    derivative2 : callable
        Called on every rank as ``derivative2(u, axis, output, mode, cval, *extra_arguments, **extra_keywords)`` for one
        axis after another; returns a new Field of the dtype `output`, which is overwritten.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
    mode : str or sequence of str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). One for all, or one for each filtered axis. A periodic axis wraps whatever its
        mode. The function gets that of its axis.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed.
    extra_arguments : sequence, default ()
        Further positional arguments of the function.
    extra_keywords : mapping, optional
        Further keyword arguments of the function.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        The sum, of dtype `output`, in the unit of what `derivative2` returns; where `axes` is empty, `u` itself in that
        dtype.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid; further what the function raises.

    Notes
    -----
    Collective. Halo and cost are those of `derivative2`, once for each filtered axis; its results are made one at a
    time. Sums are taken in their dtype. Equal to scipy.ndimage.generic_laplace with the same derivative, which here
    takes and returns Fields.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: x**2 + y**2)
    >>> def second(v, axis, output, mode, cval):
    ...     return mb.filters.correlate1d(v, [1, -2, 1], axis, output, mode, cval)
    >>> v = mb.filters.generic_laplace(u, second)
    >>> float(mb.gather_all(v)[8, 8])
    4.0
    """
    name = "generic_laplace"
    begun = begin(name, u, output)
    call = FilterCall(name=name, u=u, output=begun.dtype, mode=mode, cval=cval, axes=axes)
    terms = _terms(call, derivative2, extra_arguments, extra_keywords or {})
    total = next(terms, None)
    if total is None:
        return copied(u, begun)
    for term in terms:
        np.add(total.owned, term.owned, out=total.owned)
    return total


@fills_output
def generic_gradient_magnitude(
    u: Field,
    derivative: Derivative,
    output: npt.DTypeLike | Field | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    extra_arguments: Sequence[Any] = (),
    extra_keywords: Mapping[str, Any] | None = None,
    *,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Take the root of the sum over the filtered axes of the squares of a derivative.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    derivative : callable
        Called on every rank as ``derivative(u, axis, output, mode, cval, *extra_arguments, **extra_keywords)`` for one
        axis after another; returns a new Field of the dtype `output`, which is overwritten.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
    mode : str or sequence of str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). One for all, or one for each filtered axis. A periodic axis wraps whatever its
        mode. The function gets that of its axis.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed.
    extra_arguments : sequence, default ()
        Further positional arguments of the function.
    extra_keywords : mapping, optional
        Further keyword arguments of the function.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        The root, of dtype `output`, in the unit of what `derivative` returns; where `axes` is empty, `u` itself in that
        dtype.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid; further what the function raises.

    Notes
    -----
    Collective. Halo and cost are those of `derivative`, once for each filtered axis; its results are made one at a
    time. Squares, sums and the root are taken in their dtype. Equal to scipy.ndimage.generic_gradient_magnitude with
    the same derivative, which here takes and returns Fields.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: 3 * x + 4 * y)
    >>> v = mb.filters.generic_gradient_magnitude(u, mb.filters.sobel)
    >>> float(mb.gather_all(v)[8, 8])
    40.0
    """
    name = "generic_gradient_magnitude"
    begun = begin(name, u, output)
    call = FilterCall(name=name, u=u, output=begun.dtype, mode=mode, cval=cval, axes=axes)
    terms = _terms(call, derivative, extra_arguments, extra_keywords or {})
    total = next(terms, None)
    if total is None:
        return copied(u, begun)
    np.multiply(total.owned, total.owned, out=total.owned)
    for term in terms:
        np.multiply(term.owned, term.owned, out=term.owned)
        np.add(total.owned, term.owned, out=total.owned)
    total.owned[...] = cast(np.sqrt(total.owned), total.dtype)
    return total


def _terms(
    call: FilterCall, derivative: Derivative, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> Iterator[Field]:
    """Yield the derivative along each filtered axis, one at a time to keep memory low. Collective."""
    along = axes_of(call.name, call.axes, call.u.grid.ndim)
    modes, cval = modes_of(call.name, call.mode, len(along)), cval_of(call.name, call.cval)
    for axis, mode in zip(along, modes, strict=True):
        yield derivative(call.u, axis, call.output, mode, cval, *arguments, **keywords)
