"""Fields that are turned, scaled and sheared, with scipy.ndimage's names and bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.domain import Box
from mpibatch.fields.field import Field
from mpibatch.fields.grid import Grid
from mpibatch.filters._engine.arguments import axes_of, integers_of, per_axis, real_of
from mpibatch.resample._engine.arguments import ResampleRequest, grid_for, request_of
from mpibatch.resample._engine.degrees import cosine, sine
from mpibatch.resample._engine.requests import Affine, Planes
from mpibatch.resample._engine.samples import coefficients_of, resample
from mpibatch.resample.zooms import on_mesh

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["affine_transform", "rotate"]


def affine_transform(
    input: Field,
    matrix: npt.ArrayLike,
    offset: float | Sequence[float] = 0.0,
    output_shape: Sequence[int] | None = None,
    output: npt.DTypeLike | None = None,
    order: int = 3,
    mode: str = "constant",
    cval: complex = 0.0,
    prefilter: bool = True,
    *,
    output_grid: Grid | None = None,
) -> Field:
    """Return the values of a field at ``matrix @ index + offset``, as scipy.ndimage's. Collective.

    Parameters
    ----------
    input : Field
        Of bool, integers, f4, f8, or complex. Of components each is transformed alone.
    matrix : array_like
        From indices of the result to indices of `input`: of as many rows and columns as the grid has axes, or one more
        column, or row and column (homogeneous coordinates); or the diagonal alone.
    offset : float or sequence of float, default 0.0
        Of all axes or of each; not looked at if `matrix` has a column for it.
    output_shape : sequence of int, optional
        Cells of the result along each axis. Default: those of `input`.
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
    output_grid : Grid, optional
        Where the result goes, of the same communicator, instead of `output_shape`.

    Returns
    -------
    Field
        On the grid of `input`, or on `output_grid`, or on one of its own of `output_shape` cells, with the spacing of
        `input`.

    Raises
    ------
    UsageError
        On all ranks alike, if an argument is not valid.

    Notes
    -----
    Collective. Equal to scipy's result for the whole array to the bit, on any decomposition. A rank receives the cells
    that its results are made of, in pieces where they are many. For order > 1 see `spline_filter1d`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: 3 * y + x)
    >>> print(mb.gather_all(mb.resample.affine_transform(u, [[0, 1], [1, 0]], output_shape=(3, 2), order=1)))
    [[0. 3.]
     [1. 4.]
     [2. 5.]]
    """
    name = "affine_transform"
    asked_for = request_of(name, input, order, mode, cval, output)
    rows, moved = _map_of(name, input.grid.ndim, matrix, offset)
    target = _target(name, input, output_shape, output_grid)
    if rows.ndim == 1:
        if not rows.all():
            raise UsageError(f"{name}: the diagonal matrix {rows.tolist()} has a 0; give it as a full matrix")
        starts = moved / rows
        lines = [
            (np.arange(low, high, dtype=np.float64) + start) * factor
            for low, high, start, factor in zip(target.box.start, target.box.stop, starts, rows, strict=True)
        ]
        return on_mesh(asked_for, target, lines, prefilter=prefilter)
    return _transformed(asked_for, target, rows, moved, prefilter=prefilter)


def _transformed(asked_for: ResampleRequest, grid: Grid, matrix: Any, offset: Any, *, prefilter: bool) -> Field:
    def work(u: Field, dtype: np.dtype[Any], cval: float) -> Field:
        made_of = coefficients_of(u, asked_for.order, asked_for.mode, cval, prefilter=prefilter)
        result = Field(grid, dtype, 0, u.components)
        box = Box((0,) * grid.ndim, grid.box.shape)
        return resample(asked_for.name, made_of, Affine(box, grid.box.start, matrix, offset), result)

    return asked_for.done(work)


def _map_of(name: str, ndim: int, matrix: Any, offset: Any) -> tuple[Any, Any]:
    """Return the matrix, or its diagonal, and the offset, checked. Local."""
    try:
        rows = np.array(matrix, np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: matrix = {matrix!r} is not numeric; give {ndim} rows of {ndim}") from None
    moved = np.array([real_of(name, "offset", entry) for entry in per_axis(name, "offset", offset, ndim)])
    if rows.ndim == 2 and rows.shape[1] == ndim + 1 and rows.shape[0] in (ndim, ndim + 1):
        last = [0.0] * ndim + [1.0]
        if rows.shape[0] == ndim + 1 and rows[ndim].tolist() != last:
            raise UsageError(f"{name}: the last row of a homogeneous matrix is {last}, not {rows[ndim].tolist()}")
        rows, moved = rows[:ndim, :ndim].copy(), rows[:ndim, ndim].copy()
    if rows.shape not in ((ndim,), (ndim, ndim)):
        raise UsageError(
            f"{name}: a matrix of shape {rows.shape} was given for a grid of {ndim} axes; give {ndim} rows of {ndim}, "
            f"or of {ndim + 1}"
        )
    if not (np.isfinite(rows).all() and np.isfinite(moved).all()):
        raise UsageError(f"{name}: matrix or offset are not finite; give finite numbers")
    return rows, moved


def _target(name: str, u: Field, shape: Sequence[int] | None, grid: Grid | None) -> Grid:
    """Return the grid of the result. Collective."""
    if grid is not None:
        if shape is not None or not isinstance(grid, Grid) or grid.ndim != u.grid.ndim or grid.comm != u.grid.comm:
            raise UsageError(
                f"{name}: output_grid = {grid!r} with output_shape = {shape!r}; give one of the two, and a grid of "
                f"{u.grid.ndim} axes on the field's communicator"
            )
        return grid
    if shape is None:
        return u.grid
    cells = integers_of(name, "output_shape", shape, u.grid.ndim, 1)
    return u.grid if cells == u.grid.shape else grid_for(u, cells, u.grid.spacing, u.grid.origin)


def rotate(
    input: Field,
    angle: float,
    axes: tuple[int, int] = (1, 0),
    reshape: bool = True,
    output: npt.DTypeLike | None = None,
    order: int = 3,
    mode: str = "constant",
    cval: complex = 0.0,
    prefilter: bool = True,
) -> Field:
    """Return a field turned in the plane of two axes, as scipy.ndimage's. Collective.

    Parameters
    ----------
    input : Field
        Of 2 axes or more, of bool, integers, f4, f8, or complex. Of components each is turned alone.
    angle : float
        In degrees.
    axes : tuple of two int, default (1, 0)
        The plane.
    reshape : bool, default True
        Whether the result has as many cells as hold all of the turned field.
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
        False if `input` has the coefficients that `spline_filter` makes, along the two axes alone.

    Returns
    -------
    Field
        On the grid of `input`, or on one of its own, whose middle is where that of `input` is.

    Raises
    ------
    UsageError
        On all ranks alike, if an argument is not valid.

    Notes
    -----
    Collective. Equal to scipy's result for the whole array to the bit, on any decomposition. A rank receives the cells
    that its results are made of, in pieces where they are many. For order > 1 see `spline_filter1d`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: 3 * y + x)
    >>> print(mb.gather_all(mb.resample.rotate(u, 90, order=1)))
    [[2. 5.]
     [1. 4.]
     [0. 3.]]
    """
    name = "rotate"
    asked_for = request_of(name, input, order, mode, cval, output)
    grid = input.grid
    if grid.ndim < 2:
        raise UsageError(f"{name}: a field of {grid.ndim} axis has no plane to turn in; give one of 2 axes or more")
    plane = sorted(axes_of(name, axes, grid.ndim))
    if len(plane) != 2:
        raise UsageError(f"{name}: axes = {axes!r}; give the two axes of a plane")
    degrees = real_of(name, "angle", angle)
    c, s = cosine(degrees), sine(degrees)
    turn = np.array([[c, s], [-s, c]])
    inside = np.array([grid.shape[axis] for axis in plane])
    iy, ix = inside.tolist()
    outside = (np.ptp(turn @ [[0, 0, iy, iy], [0, ix, 0, ix]], axis=1) + 0.5).astype(int) if reshape else inside
    offset = (inside - 1) / 2 - turn @ ((outside - 1) / 2)
    shape, origin = list(grid.shape), list(grid.origin)
    for axis, old, new in zip(plane, inside.tolist(), outside.tolist(), strict=True):
        shape[axis] = new
        origin[axis] += grid.spacing[axis] * (old - new) / 2
    target = grid if tuple(shape) == grid.shape else grid_for(input, shape, grid.spacing, origin)
    box = Box((0,) * grid.ndim, target.box.shape)

    def work(u: Field, dtype: np.dtype[Any], value: float) -> Field:
        made_of = coefficients_of(u, asked_for.order, asked_for.mode, value, prefilter=prefilter, axes=plane)
        planes = Planes(box, target.box.start, (plane[0], plane[1]), turn, offset)
        return resample(name, made_of, planes, Field(target, dtype, 0, u.components))

    return asked_for.done(work)
