"""The place of frequency zero: in the middle for readers, or first, as transforms have it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from mpibatch.domain import Box
from mpibatch.fields.field import Field, check_field
from mpibatch.fields.redistribution import bring
from mpibatch.filters._engine.arguments import axes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["fftshift", "ifftshift"]


def _rolled(u: Field, steps: Sequence[int]) -> Field:
    """Return the field with its cells moved on along each axis, round its end. Collective."""
    grid, result = u.grid, Field(u.grid, u.dtype, 0, u.components)
    halves = [
        [(0, n - step, step)] + ([(n - step, n, step - n)] if step else [])
        for n, step in zip(grid.shape, steps, strict=True)
    ]
    for parts in itertools.product(*halves):
        region = Box(tuple(p[0] for p in parts), tuple(p[1] for p in parts))
        bring(u, region, [p[2] for p in parts], result)
    return result


def fftshift(u: Field, axes: int | Sequence[int] | None = None) -> Field:
    """Return a spectrum with frequency zero in the middle.

    Parameters
    ----------
    u : Field
        Of any dtype; as `fftn` returns it.
    axes : int or sequence of int, optional
        Axes of the grid. Default: all.

    Returns
    -------
    Field
        On the same grid, without halo: place 0 is at ``n // 2``.

    Raises
    ------
    UsageError
        The same on all ranks, for axes that there are not.

    Notes
    -----
    Collective: each cell travels once, to the rank that owns its new place.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(5).from_function(lambda x: x, "i4")
    >>> print(mb.gather_all(mb.fft.fftshift(u)))
    [3 4 0 1 2]
    """
    check_field("fftshift", u)
    chosen = axes_of("fftshift", axes, u.grid.ndim)
    return _rolled(u, [n // 2 if axis in chosen else 0 for axis, n in enumerate(u.grid.shape)])


def ifftshift(u: Field, axes: int | Sequence[int] | None = None) -> Field:
    """Return a spectrum with frequency zero first: what `fftshift` was given.

    Parameters
    ----------
    u : Field
        Of any dtype.
    axes : int or sequence of int, optional
        Axes of the grid. Default: all.

    Returns
    -------
    Field
        On the same grid, without halo: what was at ``n // 2`` is at place 0.

    Raises
    ------
    UsageError
        The same on all ranks, for axes that there are not.

    Notes
    -----
    Collective: each cell travels once, to the rank that owns its new place.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(5).from_function(lambda x: x, "i4")
    >>> print(mb.gather_all(mb.fft.ifftshift(mb.fft.fftshift(u))))
    [0 1 2 3 4]
    """
    check_field("ifftshift", u)
    chosen = axes_of("ifftshift", axes, u.grid.ndim)
    return _rolled(u, [-(-n // 2) % n if axis in chosen else 0 for axis, n in enumerate(u.grid.shape)])
