"""Discrete derivatives with scipy.ndimage's names, parameters and bits (see `linear`).

`sobel` and `prewitt` are, as in scipy, derivatives along one axis; scikit-image's edge *magnitude* is
`edges.sobel_magnitude`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import cast
from mpibatch.fields.field import Field
from mpibatch.filters._engine import arguments as ask
from mpibatch.filters._engine.memory import check_memory, slab_bytes
from mpibatch.filters.linear import begin, copied, correlate1d, passes

__all__ = ["generic_gradient_magnitude", "generic_laplace", "laplace", "prewitt", "sobel"]

Derivative = Callable[..., Field]


def sobel(
    u: Field,
    axis: int = -1,
    output: npt.DTypeLike | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
) -> Field:
    """Take Sobel's derivative along one grid axis: central difference, smoothed by 1-2-1 along the others. Collective.

    mode : one name, or one per grid axis.
    """
    return _smoothed_difference("sobel", (1.0, 2.0, 1.0), u, axis, output, mode, cval)


def prewitt(
    u: Field,
    axis: int = -1,
    output: npt.DTypeLike | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
) -> Field:
    """Take Prewitt's derivative along one grid axis: central difference, summed by 1-1-1 along the others. Collective.

    mode : one name, or one per grid axis.
    """
    return _smoothed_difference("prewitt", (1.0, 1.0, 1.0), u, axis, output, mode, cval)


def _smoothed_difference(
    name: str, smooth: tuple[float, ...], u: Field, axis: Any, output: Any, mode: Any, cval: Any
) -> Field:
    out = begin(name, u, output)
    ndim = u.grid.ndim
    along = ask.axis_of(name, axis, ndim)
    modes, wall = ask.modes_of(name, mode, ndim), ask.cval_of(name, cval)
    check_memory(u.grid, name, max(slab_bytes(u, a, (1, 1)) for a in range(ndim)))
    others = [(a, np.array(smooth), modes[a]) for a in range(ndim) if a != along]
    return passes(u, out, [(along, np.array((-1.0, 0.0, 1.0)), modes[along]), *others], wall)


def laplace(
    u: Field,
    output: npt.DTypeLike | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    *,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Sum the second differences (1, -2, 1) along the filtered axes. Collective."""

    def second(v: Field, axis: int, output: Any, mode: str, cval: float) -> Field:
        return correlate1d(v, (1.0, -2.0, 1.0), axis, output, mode, cval)

    return generic_laplace(u, second, output, mode, cval, axes=axes)


def generic_laplace(
    u: Field,
    derivative2: Derivative,
    output: npt.DTypeLike | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    extra_arguments: Sequence[Any] = (),
    extra_keywords: Mapping[str, Any] | None = None,
    *,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Sum ``derivative2(u, axis, output, mode, cval, *extra_arguments, **extra_keywords)`` over the axes. Collective.

    `derivative2` returns a Field of the dtype `output`. Sums are taken in that dtype.
    """
    name = "generic_laplace"
    begun = begin(name, u, output)
    terms = _terms(name, u, derivative2, begun.dtype, mode, cval, extra_arguments, extra_keywords or {}, axes)
    total = next(terms, None)
    if total is None:
        return copied(u, begun)
    for term in terms:
        np.add(total.owned, term.owned, out=total.owned)
    return total


def generic_gradient_magnitude(
    u: Field,
    derivative: Derivative,
    output: npt.DTypeLike | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    extra_arguments: Sequence[Any] = (),
    extra_keywords: Mapping[str, Any] | None = None,
    *,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Take the root of the sum over the axes of squares of ``derivative(u, axis, output, mode, cval, …)``. Collective.

    `derivative` returns a Field of the dtype `output`. Squares, sums and the root are taken in that dtype.
    """
    name = "generic_gradient_magnitude"
    begun = begin(name, u, output)
    terms = _terms(name, u, derivative, begun.dtype, mode, cval, extra_arguments, extra_keywords or {}, axes)
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
    name: str,
    u: Field,
    derivative: Derivative,
    dtype: np.dtype[Any],
    mode: Any,
    cval: Any,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    axes: Any,
) -> Iterator[Field]:
    """Yield the derivative along each filtered axis, one at a time to keep memory low. Collective."""
    along = ask.axes_of(name, axes, u.grid.ndim)
    modes, wall = ask.modes_of(name, mode, len(along)), ask.cval_of(name, cval)
    for axis, where in zip(along, modes, strict=True):
        yield derivative(u, axis, dtype, where, wall, *arguments, **keywords)
