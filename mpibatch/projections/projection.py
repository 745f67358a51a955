"""One projection of a field: along an axis, or along a turned one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch import reduce
from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field, check_field
from mpibatch.filters._engine.arguments import axis_of
from mpibatch.resample.affine_transforms import rotate

__all__ = ["project"]

_WAYS = ("sum", "max", "mean", "min")

if TYPE_CHECKING:
    from collections.abc import Callable


def project(u: Field, axis: int = 0, angle: float | None = None, how: str = "sum") -> Field:
    """Return a field without one axis: the sum, maximum, mean or minimum along it. Collective.

    Parameters
    ----------
    u : Field
        Of 2 axes or more.
    axis : int, default 0
        Grid axis along which is projected.
    angle : float, optional
        Degrees by which `u` is first turned in the plane of `axis` and the next axis (of the last, the one before),
        about its middle, order 1, with 0 outside. Default: not at all.
    how : {"sum", "max", "mean", "min"}, default "sum"
        What becomes of a line.

    Returns
    -------
    Field
        On a grid of the other axes.

    Raises
    ------
    UsageError
        On all ranks alike, if an argument is not valid.

    Notes
    -----
    Collective. `mpibatch.resample.rotate`, and `mpibatch.sum` and so on along the axis: sums and means are correctly
    rounded, on any decomposition. For sums at many angles see `radon`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: 3 * y + x)
    >>> print(mb.gather_all(mb.project(u, axis=1, how="max")))
    [2. 5.]
    """
    name = "project"
    check_field(name, u)
    along = axis_of(name, axis, u.grid.ndim)
    if u.grid.ndim < 2:
        raise UsageError(f"{name}: a field of one axis would leave none; use mpibatch.sum, max, mean or min")
    if how not in _WAYS:
        raise UsageError(f"{name}: how = {how!r}; give one of {', '.join(_WAYS)}")
    if angle is not None:
        beside = along + 1 if along + 1 < u.grid.ndim else along - 1
        u = rotate(u, angle, axes=(along, beside), reshape=False, order=1)
    ways: dict[str, Callable[..., Field]] = {way: getattr(reduce, way) for way in _WAYS}
    return ways[how](u, along)
