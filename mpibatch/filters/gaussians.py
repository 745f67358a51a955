"""Gaussian smoothing and derivatives, with scipy.ndimage's names, parameters and bits (see `passes`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.filters._engine.arguments import axes_of, axis_of, cval_of, integers_of, modes_of, real_of, sigmas_of
from mpibatch.filters._engine.footprints import spread
from mpibatch.filters._engine.lines import Pass, correlation
from mpibatch.filters._engine.memory import check_memory, slab_bytes
from mpibatch.filters._engine.outputs import fills_output
from mpibatch.filters.derivatives import generic_gradient_magnitude, generic_laplace
from mpibatch.filters.passes import begin, checked, passes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mpibatch.fields.field import Field

__all__ = ["gaussian_filter", "gaussian_filter1d", "gaussian_gradient_magnitude", "gaussian_laplace"]

NEGLIGIBLE = 1e-15  # standard deviations up to this one do not smooth, as in scipy


def gaussian_weights(sigma: float, order: int, radius: int) -> npt.NDArray[np.float64]:
    """Return the 2 radius + 1 samples of a Gaussian of sum 1, or of its derivative, to correlate with. Local.

    The derivative is a polynomial q(x) times the Gaussian: with p' = -x / sigma**2, each differentiation maps q to
    q' + q p', a matrix that acts on q's coefficients. Operations and their order are scipy's, for equal bits.
    """
    variance = sigma * sigma
    x = np.arange(-radius, radius + 1)
    samples = np.exp(-0.5 / variance * x**2)
    samples = samples / samples.sum()
    if order:
        powers = np.arange(order + 1)
        step = np.diag(powers[1:], 1) + np.diag(np.ones(order) / -variance, -1)
        coefficients = np.zeros(order + 1)
        coefficients[0] = 1
        for _ in range(order):
            coefficients = step.dot(coefficients)
        samples = (x[:, None] ** powers).dot(coefficients) * samples
    return np.ascontiguousarray(samples[::-1])


@fills_output
def gaussian_filter1d(
    u: Field,
    sigma: float,
    axis: int = -1,
    order: int = 0,
    output: npt.DTypeLike | Field | None = None,
    mode: str = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
    *,
    radius: int | None = None,
) -> Field:
    """Smooth along one grid axis by a Gaussian, or take its derivative of the given order.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    sigma : float
        Standard deviation in cells, at least 0; up to 1e-15 the field is copied, whatever the order.
    axis : int, default -1
        Grid axis to filter along; a negative one counts from the last.
    order : int, default 0
        0 smooths, n > 0 takes the n-th derivative of the smoothed field.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
    mode : str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). A periodic axis wraps whatever its mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. It is not rounded to the
        dtype of `u`.
    truncate : float, default 4.0
        Radius of the kernel in standard deviations, at least 0: the radius in cells is int(truncate * sigma + 0.5).
    radius : int, optional
        Radius of the kernel in cells, at least 0, instead of `truncate`.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u` (per cell to the power
        `order`).

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. A rank receives the `radius` cells before and after its block from the ranks beside it on that axis. The
    cost is 2 radius + 1 products a cell, half of them where the kernel is symmetric or antisymmetric.

    Sums are taken in float64 in scipy's order. Equal, bit for bit, to scipy.ndimage.gaussian_filter1d of the whole
    array on any number of ranks. Cells of a bool result are True where scipy's are not 0.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: 3 * x)
    >>> slope = mb.filters.gaussian_filter1d(u, 1.0, axis=1, order=1)
    >>> round(float(mb.max(slope)), 2)
    3.0
    """
    name = "gaussian_filter1d"
    checked(name, u)
    along = axis_of(name, axis, u.grid.ndim)
    wishes = _Wishes(sigma=sigma, order=order, output=output, mode=mode, cval=cval, truncate=truncate, radius=radius)
    return passes(u, *_planned(name, u, (along,), wishes))


@fills_output
def gaussian_filter(
    u: Field,
    sigma: float | Sequence[float],
    order: int | Sequence[int] = 0,
    output: npt.DTypeLike | Field | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
    *,
    radius: int | Sequence[int] | None = None,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Smooth by a Gaussian, axis after axis.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    sigma : float or sequence of float
        Standard deviation in cells, at least 0; one for all, or one for each filtered axis. Up to 1e-15 it leaves an
        axis alone, whatever the order.
    order : int or sequence of int, default 0
        0 smooths, n > 0 takes the n-th derivative of the smoothed field; one for all, or one for each filtered axis.
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
    truncate : float, default 4.0
        Radius of the kernel in standard deviations, at least 0: the radius in cells is int(truncate * sigma + 0.5).
    radius : int or sequence of int, optional
        Radius of the kernel in cells, at least 0, instead of `truncate`; one for all, or one for each filtered axis.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u` (per cell for each order of a
        derivative).

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. One pass along each filtered axis, before which a rank receives `radius` cells before and after its
    block from the ranks beside it on that axis. The cost of a pass is 2 radius + 1 products a cell, half of them where
    the kernel is symmetric or antisymmetric. All passes but the first work in place.

    Sums are taken in float64 in scipy's order. Equal, bit for bit, to scipy.ndimage.gaussian_filter of the whole array
    on any number of ranks. Cells of a bool result are True where scipy's are not 0.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.gaussian_filter(u, sigma=1.0)
    >>> round(float(mb.sum(v)), 6), round(float(mb.max(v)), 3)
    (1.0, 0.159)
    """
    name = "gaussian_filter"
    checked(name, u)
    wishes = _Wishes(sigma=sigma, order=order, output=output, mode=mode, cval=cval, truncate=truncate, radius=radius)
    return passes(u, *_planned(name, u, axes_of(name, axes, u.grid.ndim), wishes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wishes:
    """What a Gaussian filter is asked for, as it is given."""

    sigma: Any
    order: Any
    output: Any
    mode: Any
    cval: Any
    truncate: Any
    radius: Any


def _planned(name: str, u: Field, axes: Sequence[int], wishes: _Wishes) -> tuple[Field, list[Pass], float]:
    """Return the field for the result, the passes, and the value beyond the walls. Collective."""
    out = begin(name, u, wishes.output)
    count = len(axes)
    sigmas = sigmas_of(name, wishes.sigma, count)
    orders = integers_of(name, "order", wishes.order, count, 0)
    modes = modes_of(name, wishes.mode, count)
    cval, cut = cval_of(name, wishes.cval), real_of(name, "truncate", wishes.truncate, 0.0)
    if wishes.radius is None:
        radii = tuple(int(cut * deviation + 0.5) for deviation in sigmas)
    else:
        radii = integers_of(name, "radius", wishes.radius, count, 0)
    todo = [k for k in range(count) if sigmas[k] > NEGLIGIBLE]
    for k in todo:
        operation = f"{name} with sigma {sigmas[k]:g} ({2 * radii[k] + 1:.6g} weights) along axis {axes[k]}"
        check_memory(u.grid, operation, slab_bytes(u, axes[k], (radii[k], radii[k])) + 64 * radii[k])
    steps = [correlation(axes[k], gaussian_weights(sigmas[k], orders[k], radii[k]), modes[k]) for k in todo]
    return out, steps, cval


@fills_output
def gaussian_laplace(
    u: Field,
    sigma: float | Sequence[float],
    output: npt.DTypeLike | Field | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    *,
    axes: int | Iterable[int] | None = None,
    truncate: float = 4.0,
    radius: int | Sequence[int] | None = None,
) -> Field:
    """Sum Gaussian second derivatives over the filtered axes.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    sigma : float or sequence of float
        Standard deviation in cells, at least 0; one for all, or one for each filtered axis. Axes that are not filtered
        are not smoothed.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
        Each pass is rounded to it.
    mode : str or sequence of str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). One for all, or one for each filtered axis, which then holds for all passes of
        that axis's derivative. A periodic axis wraps whatever its mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. It is not rounded to the
        dtype of `u`.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.
    truncate : float, default 4.0
        Radius of the kernel in standard deviations, at least 0: the radius in cells is int(truncate * sigma + 0.5).
    radius : int or sequence of int, optional
        Radius of the kernel in cells, at least 0, instead of `truncate`; one for all, or one for each grid axis.

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
    Collective. One `gaussian_filter` for each of the n filtered axes, so n * n passes; before each a rank receives
    `radius` cells before and after its block from the ranks beside it. Needs memory for two more fields of the result's
    dtype.

    Sums are taken in the dtype of the result. Equal, bit for bit, to scipy.ndimage.gaussian_laplace of the whole array
    on any number of ranks.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: x**2 + y**2)
    >>> v = mb.filters.gaussian_laplace(u, sigma=1.0)
    >>> round(float(mb.gather_all(v)[8, 8]), 1)
    4.0
    """
    name = "gaussian_laplace"
    checked(name, u)
    ndim = u.grid.ndim
    along = axes_of(name, axes, ndim)
    sigmas = spread(ndim, along, sigmas_of(name, sigma, len(along)), 0.0)

    def second(v: Field, axis: int, output: Any, mode: str, cval: float) -> Field:
        order = [2 if a == axis else 0 for a in range(ndim)]
        return gaussian_filter(v, sigmas, order, output, mode, cval, truncate, radius=radius)

    return generic_laplace(u, second, output, mode, cval, axes=along)


@fills_output
def gaussian_gradient_magnitude(
    u: Field,
    sigma: float | Sequence[float],
    output: npt.DTypeLike | Field | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    *,
    axes: int | Iterable[int] | None = None,
    truncate: float = 4.0,
    radius: int | Sequence[int] | None = None,
) -> Field:
    """Take the length of the gradient of Gaussian derivatives along the filtered axes.

    As in scipy, every derivative smooths along *all* grid axes, also those that `axes` leaves out.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    sigma : float or sequence of float
        Standard deviation in cells, at least 0; one for all, or one for each grid axis.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
        Each pass is rounded to it.
    mode : str or sequence of str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). One for all, or one for each filtered axis, which then holds for all passes of
        that axis's derivative. A periodic axis wraps whatever its mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. It is not rounded to the
        dtype of `u`.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.
    truncate : float, default 4.0
        Radius of the kernel in standard deviations, at least 0: the radius in cells is int(truncate * sigma + 0.5).
    radius : int or sequence of int, optional
        Radius of the kernel in cells, at least 0, instead of `truncate`; one for all, or one for each grid axis.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u` per cell.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. One `gaussian_filter` along all grid axes for each filtered axis; before each pass a rank receives
    `radius` cells before and after its block from the ranks beside it. Needs memory for two more fields of the result's
    dtype.

    Squares, sums and the root are taken in the dtype of the result. Equal, bit for bit, to
    scipy.ndimage.gaussian_gradient_magnitude of the whole array on any number of ranks.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: 3 * x + 4 * y)
    >>> v = mb.filters.gaussian_gradient_magnitude(u, sigma=1.0)
    >>> round(float(mb.gather_all(v)[8, 8]), 2)
    5.0
    """
    checked("gaussian_gradient_magnitude", u)
    ndim = u.grid.ndim

    def first(v: Field, axis: int, output: Any, mode: str, cval: float) -> Field:
        order = [1 if a == axis else 0 for a in range(ndim)]
        return gaussian_filter(v, sigma, order, output, mode, cval, truncate, radius=radius)

    return generic_gradient_magnitude(u, first, output, mode, cval, axes=axes)
