"""Fields on finer, coarser and shifted cells, with scipy.ndimage's names and bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.domain import Box
from mpibatch.fields.field import Field
from mpibatch.filters._engine.arguments import per_axis, real_of
from mpibatch.resample._engine.arguments import ResampleRequest, grid_for, request_of
from mpibatch.resample._engine.requests import Mesh
from mpibatch.resample._engine.samples import coefficients_of, resample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from mpibatch.fields.grid import Grid

__all__ = ["on_mesh", "shift", "zoom"]


def zoom(
    input: Field,
    zoom: float | Sequence[float],
    output: npt.DTypeLike | None = None,
    order: int = 3,
    mode: str = "constant",
    cval: complex = 0.0,
    prefilter: bool = True,
    *,
    grid_mode: bool = False,
) -> Field:
    """Return a field on more or fewer cells, as scipy.ndimage's. Collective.

    Parameters
    ----------
    input : Field
        Of bool, integers, f4, f8, or complex. Of components each is zoomed alone.
    zoom : float or sequence of float
        By how much, along all axes or along each: `n` cells become ``round(n * zoom)``.
    output : dtype, optional
        Of the result. Default: that of `input`.
    order : int, default 3
        Of the spline, 0 to 5.
    mode : str, default "constant"
        What lies beyond walls: "constant" (nothing but `cval`), "grid-constant" (cells of `cval`, towards which values
        are interpolated), "nearest", "mirror", "reflect" (or "grid-mirror"), "grid-wrap", or "wrap", whose period is a
        cell less. A periodic axis has "grid-wrap" whatever the mode.
    cval : number, default 0.0
        Value beyond walls of mode "constant" and "grid-constant".
    prefilter : bool, default True
        False if `input` has the coefficients that `spline_filter` makes.
    grid_mode : bool, default False
        Whether cells have an extent, which is kept; else the distance between the first and the last cell's center is.

    Returns
    -------
    Field
        On a grid of its own, with spacing and origin to match.

    Raises
    ------
    UsageError
        On all ranks alike, if an argument is not valid, or no cell would be left.

    Notes
    -----
    Collective. Equal to scipy's result for the whole array to the bit, on any decomposition. A rank receives the cells
    that its results are made of. For order > 1 see `spline_filter1d`.

    With `grid_mode`, take "grid-constant" for "constant", and "grid-wrap" for "wrap", as scipy advises. Of complex
    fields scipy 1.17 forgets `grid_mode`, which holds here for all dtypes.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.Grid((3, 3)).from_function(lambda y, x: 3 * y + x, "i4")
    >>> print(mb.gather_all(mb.resample.zoom(u, 2, order=0, grid_mode=True, mode="nearest"))[0])
    [0 0 1 1 2 2]
    """
    name = "zoom"
    asked_for = request_of(name, input, order, mode, cval, output)
    grid = input.grid
    factors = [real_of(name, "zoom", factor, 0.0) for factor in per_axis(name, "zoom", zoom, grid.ndim)]
    shape = tuple(round(n * factor) for n, factor in zip(grid.shape, factors, strict=True))
    if 0 in shape:
        raise UsageError(f"{name}: zoom = {zoom!r} of {grid.shape} cells leaves {shape}; give larger numbers")
    if all(factor == 1 for factor in factors) and prefilter:
        same = input.like(halo=0)
        same.owned[...] = input.owned
        return same.astype(asked_for.dtype)
    old, new = np.array(grid.shape), np.array(shape)
    if not grid_mode:
        old, new = old - 1, new - 1
    steps = np.divide(old, new, out=np.ones(grid.ndim), where=new != 0)
    spacing = [size * step for size, step in zip(grid.spacing, steps.tolist(), strict=True)]
    moved = 0.5 * (steps - 1) if grid_mode else np.zeros(grid.ndim)
    origin = [zero + size * by for zero, size, by in zip(grid.origin, grid.spacing, moved.tolist(), strict=True)]
    target = grid_for(input, shape, spacing, origin)
    lines = []
    for low, high, step in zip(target.box.start, target.box.stop, steps, strict=True):
        index = np.arange(low, high, dtype=np.float64)
        lines.append((index + 0.5) * step - 0.5 if grid_mode else index * step)
    return on_mesh(asked_for, target, lines, prefilter=prefilter)


def shift(
    input: Field,
    shift: float | Sequence[float],
    output: npt.DTypeLike | None = None,
    order: int = 3,
    mode: str = "constant",
    cval: complex = 0.0,
    prefilter: bool = True,
) -> Field:
    """Return a field moved by some cells, as scipy.ndimage's. Collective.

    Parameters
    ----------
    input : Field
        Of bool, integers, f4, f8, or complex. Of components each is moved alone.
    shift : float or sequence of float
        By how many cells, along all axes or along each; positive towards higher indices.
    output : dtype, optional
        Of the result. Default: that of `input`.
    order : int, default 3
        Of the spline, 0 to 5.
    mode : str, default "constant"
        What lies beyond walls: "constant" (nothing but `cval`), "grid-constant" (cells of `cval`, towards which values
        are interpolated), "nearest", "mirror", "reflect" (or "grid-mirror"), "grid-wrap", or "wrap", whose period is a
        cell less. A periodic axis has "grid-wrap" whatever the mode.
    cval : number, default 0.0
        Value beyond walls of mode "constant" and "grid-constant".
    prefilter : bool, default True
        False if `input` has the coefficients that `spline_filter` makes.

    Returns
    -------
    Field
        A new one on the grid of `input`, without halo.

    Raises
    ------
    UsageError
        On all ranks alike, if an argument is not valid.

    Notes
    -----
    Collective. Equal to scipy's result for the whole array to the bit, on any decomposition. A rank receives the cells
    that its results are made of. For order > 1 see `spline_filter1d`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).from_function(lambda x: x * x)
    >>> print(mb.gather_all(mb.resample.shift(u, 0.5, order=1, mode="nearest")))
    [0.  0.5 2.5 6.5]
    """
    name = "shift"
    asked_for = request_of(name, input, order, mode, cval, output)
    grid = input.grid
    by = [real_of(name, "shift", entry) for entry in per_axis(name, "shift", shift, grid.ndim)]
    bounds = zip(grid.box.start, grid.box.stop, by, strict=True)
    lines = [np.arange(low, high, dtype=np.float64) + -entry for low, high, entry in bounds]
    return on_mesh(asked_for, grid, lines, prefilter=prefilter)


def on_mesh(asked_for: ResampleRequest, grid: Grid, lines: list[Any], *, prefilter: bool) -> Field:
    """Return a field on `grid` of the values at a mesh of coordinates, of which each rank has its part. Collective."""

    def work(u: Field, dtype: np.dtype[Any], cval: float) -> Field:
        made_of = coefficients_of(u, asked_for.order, asked_for.mode, cval, prefilter=prefilter)
        result = Field(grid, dtype, 0, u.components)
        return resample(asked_for.name, made_of, Mesh(Box((0,) * grid.ndim, grid.box.shape), lines), result)

    return asked_for.done(work)
