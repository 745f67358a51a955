"""Filters of spectra, which multiply each place by a factor of its frequency: scipy.ndimage's names and bits.

A factor is made of tables, one for each axis, computed by the operations of scipy from global indices; so it does not
matter how the spectrum is cut, and no cell travels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.lazy_names import scipy_module
from mpibatch.base.timing import phase
from mpibatch.fields.field import Field, check_field
from mpibatch.filters._engine.arguments import axis_of, dtype_of, per_axis, real_of, whole
from mpibatch.filters._engine.outputs import fills_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["fourier_ellipsoid", "fourier_gaussian", "fourier_shift", "fourier_uniform"]

Array = npt.NDArray[Any]
CELLS = 1 << 16  # of factors that are made at a time
_INPUTS = frozenset("?bBhHiIlLqQfdFD")


class _FourierCall:
    """What a filter was given: the field, a number for each axis, the axis of a half, and the result's dtype."""

    def __init__(
        self, name: str, u: Any, values: Any, parameter: str, half: tuple[Any, Any], output: Any, kinds: str
    ) -> None:
        check_field(name, u)
        if u.dtype.char not in _INPUTS or not u.dtype.isnative:
            raise UsageError(f"{name}: cannot filter a field of dtype {u.dtype.str}; f4, f8, c8 and c16 can be")
        self.u, grid = u, u.grid
        self.values = [real_of(name, parameter, v) for v in per_axis(name, parameter, values, grid.ndim)]
        n, axis = half
        self.points = whole(name, "n", n)
        self.axis = axis_of(name, axis, grid.ndim)
        if self.points == 0:
            raise UsageError(f"{name}: n = 0 points; give those of the real field, or -1 if the spectrum is whole")
        self.dtype = self._dtype(name, output, kinds)

    def _dtype(self, name: str, output: Any, kinds: str) -> np.dtype[Any]:
        char = self.u.dtype.char
        if output is None:
            return np.dtype(char if char in kinds and char != "d" else kinds[-1] if kinds == "FD" else "d")
        dtype = dtype_of(name, output.dtype if isinstance(output, Field) else output)
        if dtype.char not in kinds or (self.u.dtype.kind == "c" and dtype.kind != "c"):
            raise UsageError(f"{name}: output dtype {dtype} is not supported for a field of {self.u.dtype}; give c16")
        return dtype

    def tables(self, entry: Callable[[float, int, int], float], single: float) -> list[Array]:
        """Return for each axis ``entry(value, points, k)`` of this rank's places, whose frequencies are k. Local.

        Along axes of one place it is `single`. The arrays broadcast against one another.
        """
        tables = []
        box = self.u.box
        for axis, (value, cells) in enumerate(zip(self.values, self.u.grid.shape, strict=True)):
            is_half = axis == self.axis and self.points > 0
            points = self.points if is_half else cells
            places = range(box.start[axis], box.stop[axis])
            waves = places if is_half else (k if k < (cells + 1) // 2 else k - cells for k in places)
            line = [entry(value, points, k) for k in waves] if cells > 1 else [single] * len(places)
            tables.append(np.array(line, dtype="f8"))
        return list(np.ix_(*tables))

    def parts(self, tables: list[Array]) -> Iterator[tuple[slice, list[Array]]]:
        """Yield some places of the first axis, and the tables for them. Local."""
        shape = self.u.box.shape
        if not self.u.owned.size:
            return
        step = max(1, CELLS // max(1, math.prod(shape[1:])))
        for low in range(0, shape[0], step):
            cut = slice(low, min(low + step, shape[0]))
            yield cut, [tables[0][cut], *tables[1:]]

    def multiplied(self, factors: Callable[[list[Array]], Array], tables: list[Array]) -> Field:
        """Return the field times real factors, which are a function of the tables, in f8. Local."""
        u = self.u
        result = Field(u.grid, self.dtype, 0, u.components)
        with phase("compute"):
            for cut, some in self.parts(tables):
                factor = _spread(factors(some), u.components)
                source, target = u.owned[cut], result.owned[cut]
                if self.dtype.kind == "c":
                    target.real = source.real * factor
                    target.imag = source.imag * factor if u.dtype.kind == "c" else 0.0
                else:
                    target[...] = source * factor
        return result


def _spread(factor: Array, components: tuple[int, ...]) -> Array:
    return factor.reshape(factor.shape + (1,) * len(components))


def _product(tables: list[Array]) -> Array:
    factor = tables[0]
    for table in tables[1:]:
        factor = factor * table
    return factor


@fills_output
def fourier_gaussian(
    u: Field,
    sigma: float | Sequence[float],
    n: int = -1,
    axis: int = -1,
    output: npt.DTypeLike | Field | None = None,
) -> Field:
    """Return a spectrum times that of a Gaussian.

    Parameters
    ----------
    u : Field
        A spectrum, as `mpibatch.fft.fftn` or `rfftn` returns it; each component by itself.
    sigma : float or sequence of float
        Standard deviation, in cells of the field that the spectrum is of; of all axes or of each.
    n : int, default -1
        Points along `axis` of the real field, if `u` is half a spectrum; -1 if it is whole.
    axis : int, default -1
        Of which half was kept; without meaning if `n` is negative.
    output : dtype_like or Field, optional
        f4, f8, c8 or c16, or a Field that takes the result. Default: the dtype of `u`, f8 for integers.

    Returns
    -------
    Field
        A new one on the same grid, without halo.

    Raises
    ------
    UsageError
        The same on all ranks, for a parameter that is not valid.

    Notes
    -----
    Local: no cell travels. scipy.ndimage's bits.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4, 6)).full(1.0)
    >>> spectrum = mb.filters.fourier_gaussian(mb.fft.rfft2(u), sigma=1, n=6)
    >>> print(mb.gather_all(mb.fft.irfft2(spectrum))[0])
    [1. 1. 1. 1. 1. 1.]
    """
    work = _FourierCall("fourier_gaussian", u, sigma, "sigma", (n, axis), output, "fdFD")

    def entry(value: float, points: int, k: int) -> float:
        scale = value * math.pi / points
        exponent = -2.0 * scale * scale * k * k
        return 0.0 if abs(exponent) > 50.0 else math.exp(exponent)

    return work.multiplied(_product, work.tables(entry, 1.0))


@fills_output
def fourier_uniform(
    u: Field,
    size: float | Sequence[float],
    n: int = -1,
    axis: int = -1,
    output: npt.DTypeLike | Field | None = None,
) -> Field:
    """Return a spectrum times that of a box, that is of a mean over it.

    Parameters
    ----------
    u : Field
        A spectrum, as `mpibatch.fft.fftn` or `rfftn` returns it; each component by itself.
    size : float or sequence of float
        Width of the box, in cells of the field that the spectrum is of; of all axes or of each.
    n : int, default -1
        Points along `axis` of the real field, if `u` is half a spectrum; -1 if it is whole.
    axis : int, default -1
        Of which half was kept; without meaning if `n` is negative.
    output : dtype_like or Field, optional
        f4, f8, c8 or c16, or a Field that takes the result. Default: the dtype of `u`, f8 for integers.

    Returns
    -------
    Field
        A new one on the same grid, without halo.

    Raises
    ------
    UsageError
        The same on all ranks, for a parameter that is not valid.

    Notes
    -----
    Local: no cell travels. scipy.ndimage's bits.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4, 6)).full(1.0)
    >>> spectrum = mb.filters.fourier_uniform(mb.fft.fft2(u), size=(3, 1))
    >>> mb.gather_all(mb.fft.ifft2(spectrum))[0, 0].real.item()
    1.0
    """
    work = _FourierCall("fourier_uniform", u, size, "size", (n, axis), output, "fdFD")

    def entry(value: float, points: int, k: int) -> float:
        scale = math.pi * value / points
        if k == 0:
            return 1.0
        return math.sin(scale * k) / (scale * k) if scale > 0.0 else 0.0

    return work.multiplied(_product, work.tables(entry, 1.0))


@fills_output
def fourier_ellipsoid(
    u: Field,
    size: float | Sequence[float],
    n: int = -1,
    axis: int = -1,
    output: npt.DTypeLike | Field | None = None,
) -> Field:
    """Return a spectrum times that of an ellipsoid, that is of a mean over it.

    Parameters
    ----------
    u : Field
        A spectrum of 1 to 3 axes, as `mpibatch.fft.fftn` or `rfftn` returns it; each component by itself.
    size : float or sequence of float
        Diameter along all axes or along each, in cells of the field that the spectrum is of.
    n : int, default -1
        Points along `axis` of the real field, if `u` is half a spectrum; -1 if it is whole.
    axis : int, default -1
        Of which half was kept; without meaning if `n` is negative.
    output : dtype_like or Field, optional
        f4, f8, c8 or c16, or a Field that takes the result. Default: the dtype of `u`, f8 for integers.

    Returns
    -------
    Field
        A new one on the same grid, without halo.

    Raises
    ------
    UsageError
        The same on all ranks, for a parameter that is not valid, for 4 axes, and of 2 axes if SciPy, which has the
        Bessel function, is not installed.

    Notes
    -----
    Local: no cell travels. scipy.ndimage's bits; an axis of one place, which it cannot take, has no weight.

    Examples
    --------
    >>> import mpibatch as mb
    >>> spectrum = mb.filters.fourier_ellipsoid(mb.Grid(4).full(1.0), size=2)
    >>> print(mb.gather_all(spectrum).round(3))
    [1.    0.637 0.    0.637]
    """
    work = _FourierCall("fourier_ellipsoid", u, size, "size", (n, axis), output, "fdFD")
    ndim = u.grid.ndim
    if ndim > 3:
        raise UsageError(f"fourier_ellipsoid: the grid has {ndim} axes; of 1, 2 and 3 axes it is defined")
    bessel = scipy_module("special").j1 if ndim == 2 else None
    from mpibatch.filters._loops import spectra

    def entry(value: float, points: int, k: int) -> float:
        distance = k * (math.pi * value / points)
        return distance if ndim == 1 else distance * distance

    def factors(tables: list[Array]) -> Array:
        if ndim == 1:
            radii = tables[0]
        else:
            squares = tables[0]
            for table in tables[1:]:
                squares = squares + table
            radii = np.sqrt(squares)
        result = np.ones_like(radii)
        if bessel is None:
            spectra.ball(radii.reshape(-1), ndim, result.reshape(-1))
            return result
        np.divide(2.0 * bessel(radii), radii, out=result, where=radii > 0.0)
        return result

    return work.multiplied(factors, work.tables(entry, 0.0))


@fills_output
def fourier_shift(
    u: Field,
    shift: float | Sequence[float],
    n: int = -1,
    axis: int = -1,
    output: npt.DTypeLike | Field | None = None,
) -> Field:
    """Return the spectrum of a shifted field.

    Parameters
    ----------
    u : Field
        A spectrum, as `mpibatch.fft.fftn` or `rfftn` returns it; each component by itself.
    shift : float or sequence of float
        How far cells move on, of all axes or of each.
    n : int, default -1
        Points along `axis` of the real field, if `u` is half a spectrum; -1 if it is whole.
    axis : int, default -1
        Of which half was kept; without meaning if `n` is negative.
    output : dtype_like or Field, optional
        c8 or c16, or a Field that takes the result. Default: the dtype of `u` if that is complex, else c16.

    Returns
    -------
    Field
        A new one on the same grid, without halo.

    Raises
    ------
    UsageError
        The same on all ranks, for a parameter that is not valid.

    Notes
    -----
    Local: no cell travels. scipy.ndimage's bits.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).from_function(lambda x: x)
    >>> spectrum = mb.filters.fourier_shift(mb.fft.rfft(u), 1, n=4)
    >>> print(mb.gather_all(mb.fft.irfft(spectrum)).round(12))
    [3. 0. 1. 2.]
    """
    work = _FourierCall("fourier_shift", u, shift, "shift", (n, axis), output, "FD")
    from mpibatch.filters._loops import spectra

    result = Field(u.grid, work.dtype, 0, u.components)
    tables = work.tables(lambda value, points, k: -2.0 * math.pi * value / points * k, 0.0)
    with phase("compute"):
        for cut, some in work.parts(tables):
            angles = 0.0 + some[0]  # of which a zero has no sign
            for table in some[1:]:
                angles = angles + table
            cosines, sines = np.empty_like(angles), np.empty_like(angles)
            spectra.turns(angles.reshape(-1), cosines.reshape(-1), sines.reshape(-1))
            cosines, sines = _spread(cosines, u.components), _spread(sines, u.components)
            source, target = u.owned[cut], result.owned[cut]
            if u.dtype.kind == "c":
                real, imaginary = (part.astype("f8") for part in (source.real, source.imag))
                target.real = real * cosines - imaginary * sines
                target.imag = real * sines + imaginary * cosines
            else:
                target.real, target.imag = source * cosines, source * sines
    return result
