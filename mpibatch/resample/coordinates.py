"""Values at any coordinates, with scipy.ndimage's name and bits."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field
from mpibatch.fields.grid import Grid
from mpibatch.fields.redistribution import gather_all
from mpibatch.mpi import same
from mpibatch.resample._engine.arguments import request_of
from mpibatch.resample._engine.points import sample_points
from mpibatch.resample._engine.samples import coefficients_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["map_coordinates"]

Array = npt.NDArray[Any]


@overload
def map_coordinates(
    input: Field,
    coordinates: Field,
    output: npt.DTypeLike | None = None,
    order: int = 3,
    mode: str = "constant",
    cval: complex = 0.0,
    prefilter: bool = True,
) -> Field: ...
@overload
def map_coordinates(
    input: Field,
    coordinates: Array | Sequence[Any],
    output: npt.DTypeLike | None = None,
    order: int = 3,
    mode: str = "constant",
    cval: complex = 0.0,
    prefilter: bool = True,
) -> Array: ...
def map_coordinates(
    input: Field,
    coordinates: Field | Array | Sequence[Any],
    output: npt.DTypeLike | None = None,
    order: int = 3,
    mode: str = "constant",
    cval: complex = 0.0,
    prefilter: bool = True,
) -> Field | Array:
    """Return the values of a field at any coordinates, as scipy.ndimage's. Collective.

    Parameters
    ----------
    input : Field
        Of bool, integers, f4, f8, or complex, without components if `coordinates` is an array.
    coordinates : Field or array_like
        In cells, from the first one's center, of real numbers. A Field, on any grid of the same communicator, has them
        as its last component (scipy has them first); an array, the same on all ranks, along its first axis.
    output : dtype, optional
        Of the result. Default: that of `input`.
    order : int, default 3
        Of the spline, 0 to 5.
    mode : str, default "constant"
        What lies beyond walls: "constant" (nothing but `cval`), "grid-constant" (cells of `cval`, towards which values
        are interpolated), "nearest", "mirror", "reflect" (or "grid-mirror"), "grid-wrap", or "wrap", whose period is a
        cell less. A periodic axis has "grid-wrap" whatever the mode.
    cval : number, default 0.0
        Value beyond walls of mode "constant" and "grid-constant", and where a coordinate is NaN.
    prefilter : bool, default True
        False if `input` has the coefficients that `spline_filter` makes.

    Returns
    -------
    Field or ndarray
        On the grid of `coordinates`; of an array an array, on all ranks.

    Raises
    ------
    UsageError
        On all ranks alike, if an argument is not valid, or if the cells that are read do not fit into memory.

    Notes
    -----
    Collective. Equal to scipy's result for the whole array to the bit, on any decomposition. Where
    a rank's points are near one another, it receives the rows and columns that its results are made of; else the points
    go, in rounds, to the ranks that own the cells around them, and values return, and no rank reads more than its block
    and a little around it. For order > 1 see `spline_filter1d`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((3, 3)).from_function(lambda y, x: 3 * y + x)
    >>> print(mb.resample.map_coordinates(u, [[0.5, 2.0], [0.5, 1.0]], order=1))
    [2. 7.]
    """
    name = "map_coordinates"
    asked_for = request_of(name, input, order, mode, cval, output)
    ndim = input.grid.ndim
    if isinstance(coordinates, Field):
        _check(name, coordinates.dtype, (*coordinates.components[-1:], 0), ndim, "last component")
        if len(coordinates.components) != 1 or input.components:
            raise UsageError(
                f"{name}: a field of components {input.components} at coordinates of components "
                f"{coordinates.components}; give one without at coordinates of ({ndim},)"
            )
        if coordinates.grid.comm != input.grid.comm:
            raise UsageError(f"{name}: field and coordinates are on different communicators; make both grids on one")
        target, points = coordinates.grid, np.moveaxis(coordinates.owned, -1, 0).astype(np.float64)
    else:
        whole = np.asarray(coordinates)
        _check(name, whole.dtype, whole.shape, ndim, "first axis")
        if input.components or whole.ndim < 2:
            raise UsageError(
                f"{name}: a field of components {input.components} at an array of shape {whole.shape}; give a field "
                f"without, and points along a second axis"
            )
        flat = np.ascontiguousarray(whole.reshape(ndim, -1), np.float64)
        digest = hashlib.blake2b(flat.tobytes(), digest_size=8).hexdigest()
        same(input.grid.comm, f"{name} at {flat.shape[1]} points (digest {digest})")
        if not flat.size:
            return np.empty(whole.shape[1:], asked_for.dtype)
        target = Grid(flat.shape[1], comm=input.grid.comm)
        points = np.ascontiguousarray(flat[:, target.box.start[0] : target.box.stop[0]])

    def work(u: Field, dtype: np.dtype[Any], value: float) -> Field:
        made_of = coefficients_of(u, asked_for.order, asked_for.mode, value, prefilter=prefilter)
        return sample_points(name, made_of, points, Field(target, dtype))

    result = asked_for.done(work)
    return result if isinstance(coordinates, Field) else gather_all(result).reshape(whole.shape[1:])


def _check(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], ndim: int, where: str) -> None:
    if dtype.kind not in "biuf":
        raise UsageError(f"{name}: coordinates of dtype {dtype}; give real numbers")
    if not shape or shape[0] != ndim:
        raise UsageError(
            f"{name}: {shape[0] if shape else 'no'} coordinates as {where} for a field of {ndim} axes; give {ndim}"
        )
