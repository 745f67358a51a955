"""Gaussian smoothing and derivatives, with scipy.ndimage's names, parameters and bits (see `linear`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.fields.field import Field
from mpibatch.filters._engine import arguments as ask
from mpibatch.filters._engine.memory import check_memory, slab_bytes
from mpibatch.filters.derivatives import generic_gradient_magnitude, generic_laplace
from mpibatch.filters.linear import begin, checked, copied, passes

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


def gaussian_filter1d(
    u: Field,
    sigma: float,
    axis: int = -1,
    order: int = 0,
    output: npt.DTypeLike | None = None,
    mode: str = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
    *,
    radius: int | None = None,
) -> Field:
    """Smooth along one grid axis by a Gaussian, or take its derivative of the given order. Collective.

    Parameters as for `gaussian_filter`, for one axis.
    """
    name = "gaussian_filter1d"
    checked(name, u)
    along = ask.axis_of(name, axis, u.grid.ndim)
    return _gaussian(name, u, (along,), sigma, order, output, mode, cval, truncate, radius)


def gaussian_filter(
    u: Field,
    sigma: float | Sequence[float],
    order: int | Sequence[int] = 0,
    output: npt.DTypeLike | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
    *,
    radius: int | Sequence[int] | None = None,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Smooth by a Gaussian, axis after axis. Collective.

    sigma : standard deviation in cells; 0 leaves an axis alone. order : 0 smooths, n > 0 takes the n-th derivative.
    truncate : the kernel's radius in standard deviations. radius : the radius in cells, instead.
    sigma, order, mode, radius : one for all filtered axes, or one each.
    """
    name = "gaussian_filter"
    checked(name, u)
    return _gaussian(name, u, ask.axes_of(name, axes, u.grid.ndim), sigma, order, output, mode, cval, truncate, radius)


def _gaussian(
    name: str,
    u: Field,
    axes: Sequence[int],
    sigma: Any,
    order: Any,
    output: Any,
    mode: Any,
    cval: Any,
    truncate: Any,
    radius: Any,
) -> Field:
    out = begin(name, u, output)
    count = len(axes)
    sigmas = ask.sigmas_of(name, sigma, count)
    orders = ask.integers_of(name, "order", order, count, 0)
    modes = ask.modes_of(name, mode, count)
    wall, cut = ask.cval_of(name, cval), ask.real_of(name, "truncate", truncate, 0.0)
    if radius is None:
        radii = tuple(int(cut * one + 0.5) for one in sigmas)
    else:
        radii = ask.integers_of(name, "radius", radius, count, 0)
    todo = [k for k in range(count) if sigmas[k] > NEGLIGIBLE]
    for k in todo:
        asked = f"{name} with sigma {sigmas[k]:g} ({2 * radii[k] + 1:.6g} weights) along axis {axes[k]}"
        check_memory(u.grid, asked, slab_bytes(u, axes[k], (radii[k], radii[k])) + 64 * radii[k])
    if not todo:
        return copied(u, out)
    return passes(u, out, [(axes[k], gaussian_weights(sigmas[k], orders[k], radii[k]), modes[k]) for k in todo], wall)


def gaussian_laplace(
    u: Field,
    sigma: float | Sequence[float],
    output: npt.DTypeLike | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    *,
    axes: int | Iterable[int] | None = None,
    truncate: float = 4.0,
    radius: int | Sequence[int] | None = None,
) -> Field:
    """Sum Gaussian second derivatives over the filtered axes. Collective.

    One `mode` per axis holds for that axis's derivative. truncate, radius : as in `gaussian_filter`; a radius per axis
    has one value per grid axis.
    """
    name = "gaussian_laplace"
    checked(name, u)
    ndim = u.grid.ndim
    along = ask.axes_of(name, axes, ndim)
    given = dict(zip(along, ask.sigmas_of(name, sigma, len(along)), strict=True))
    sigmas = tuple(given.get(axis, 0.0) for axis in range(ndim))

    def second(v: Field, axis: int, output: Any, mode: str, cval: float) -> Field:
        order = [2 if a == axis else 0 for a in range(ndim)]
        return gaussian_filter(v, sigmas, order, output, mode, cval, truncate, radius=radius)

    return generic_laplace(u, second, output, mode, cval, axes=along)


def gaussian_gradient_magnitude(
    u: Field,
    sigma: float | Sequence[float],
    output: npt.DTypeLike | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    *,
    axes: int | Iterable[int] | None = None,
    truncate: float = 4.0,
    radius: int | Sequence[int] | None = None,
) -> Field:
    """Take the length of the gradient of Gaussian derivatives along the filtered axes. Collective.

    As in scipy, every derivative smooths along *all* grid axes (`sigma` has one value per grid axis), also those
    that `axes` leaves out. truncate, radius : as in `gaussian_filter`.
    """
    checked("gaussian_gradient_magnitude", u)
    ndim = u.grid.ndim

    def first(v: Field, axis: int, output: Any, mode: str, cval: float) -> Field:
        order = [1 if a == axis else 0 for a in range(ndim)]
        return gaussian_filter(v, sigma, order, output, mode, cval, truncate, radius=radius)

    return generic_gradient_magnitude(u, first, output, mode, cval, axes=axes)
