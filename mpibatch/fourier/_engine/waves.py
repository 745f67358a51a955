"""Cosine and sine transforms of lines with any factor, where SciPy puts it: between its parts.

Each is a transform of real or complex values between sums and rotations of pairs (J. Makhoul, "A fast cosine transform
in one and two dimensions", doi:10.1109/TASSP.1980.1163351). SciPy multiplies the factor of an n-dim transform in
between them, in the first axis; rounding tells, so the other parts are done here, by the operations that it does.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.lazy_names import scipy_module

__all__ = ["scaled_waves"]

Array = npt.NDArray[Any]
ROOT2 = 1.414213562373095048801688724209698


def scaled_waves(x: Array, kind: int, factor: Any, *, is_cosine: bool, is_ortho: bool) -> Array:
    """Return the transform of type `kind` along the second of three axes of real values, a new array. Local."""
    c = np.moveaxis(x, 1, 0).copy()
    root2 = c.dtype.type(ROOT2)
    half = root2 * c.dtype.type(0.5)
    n = len(c)
    ends = (0, n - 1) if kind == 1 else (0,) if is_cosine else (n - 1,)
    is_ortho = is_ortho and kind != 4 and (is_cosine or kind != 1)
    if is_ortho and kind != 2:
        for end in ends:
            c[end] *= root2
    if kind == 1:
        fft = scipy_module("fft")
        c = (fft.dct if is_cosine else fft.dst)(c, 1, axis=0) * factor
    else:
        # Sines are cosines of lines with every other sign changed, and the other way round.
        if not is_cosine and kind == 2:
            np.negative(c[1::2], out=c[1::2])
        elif not is_cosine:
            c = c[::-1].copy()
        c = (_second, _third, _fourth)[kind - 2](c, factor)
        if not is_cosine and kind == 2:
            c = c[::-1].copy()
        elif not is_cosine:
            np.negative(c[1::2], out=c[1::2])
    if is_ortho and kind != 3:
        for end in ends:
            c[end] *= half
    return np.moveaxis(c, 0, 1)


def _second(c: Array, factor: Any) -> Array:
    n = len(c)
    c[0] *= 2
    if n % 2 == 0:
        c[n - 1] *= 2
    first, second = c[2::2].copy(), c[1 : n - 1 : 2].copy()
    c[2::2] = first - second
    c[1 : n - 1 : 2] = second + first
    spectrum = np.zeros((n // 2 + 1, *c.shape[1:]), np.result_type(c.dtype, np.complex64))
    spectrum.real[0], spectrum.real[1:], spectrum.imag[1 : (n + 1) // 2] = c[0], c[1::2], c[2::2]
    c = scipy_module("fft").irfft(spectrum, n, axis=0, norm="forward") * factor
    low, high, cosines, sines = _pairs(c)
    sums, differences = cosines * c[high] + sines * c[low], cosines * c[low] - sines * c[high]
    point5 = c.dtype.type(0.5)
    c[low], c[high] = point5 * (sums + differences), point5 * (sums - differences)
    if n % 2 == 0:
        c[n // 2] *= _cosines(n, c.dtype.char)[n // 2 - 1]
    return c


def _third(c: Array, factor: Any) -> Array:
    n = len(c)
    low, high, cosines, sines = _pairs(c)
    sums, differences = c[low] + c[high], c[low] - c[high]
    c[low], c[high] = cosines * differences + sines * sums, cosines * sums - sines * differences
    if n % 2 == 0:
        c[n // 2] *= 2 * _cosines(n, c.dtype.char)[n // 2 - 1]
    c = _real_parts(c) * factor
    first, second = c[1 : n - 1 : 2].copy(), c[2::2].copy()
    c[1 : n - 1 : 2] = first - second
    c[2::2] = second + first
    return c


def _fourth(c: Array, factor: Any) -> Array:
    return _fourth_odd(c, factor) if len(c) % 2 else _fourth_even(c, factor)


def _fourth_even(c: Array, factor: Any) -> Array:
    n = len(c)
    real, imaginary = _rotations(n, c.dtype.char)
    real, imaginary = (part[:, None, None] for part in (real, imaginary))
    y = np.empty((n // 2, *c.shape[1:]), np.result_type(c.dtype, np.complex64))
    forth, back = c[0::2], c[::-2]
    y.real, y.imag = forth * real - back * imaginary, forth * imaginary + back * real
    y = scipy_module("fft").fft(y, axis=0)
    a, b = y.real * factor, y.imag * factor
    c[0::2] = 2 * (a * real - b * imaginary)
    c[1::2] = (-2 * (b * real + a * imaginary))[::-1]
    return c


def _fourth_odd(c: Array, factor: Any) -> Array:
    n, middle = len(c), len(c) // 2
    # Every fourth place of the line, its mirror image, and both again with the other sign.
    turn, place = np.divmod(middle + 4 * np.arange(n), n)
    sign = np.where((turn == 1) | (turn == 2), -1, 1).astype(c.dtype)
    y = _real_parts(c[np.where(turn % 2, n - 1 - place, place)] * sign[:, None, None]) * factor
    root2 = c.dtype.type(ROOT2)

    def signed(number: npt.NDArray[np.intp]) -> Array:
        signs: Array = np.where(number & 2, -root2, root2)
        return signs[:, None, None]

    c[middle] = y[0] * (-root2 if (middle + 1) & 2 else root2)
    k = np.arange(1, middle, 2)
    i = np.arange(len(k))
    c[i] = y[2 * k - 1] * signed(i + 1) + y[2 * k] * signed(i)
    c[n - 1 - i] = y[2 * k - 1] * signed(n - i) - y[2 * k] * signed(n - 1 - i)
    c[middle - 1 - i] = y[2 * k + 1] * signed(middle - i) - y[2 * k + 2] * signed(middle - 1 - i)
    c[middle + 1 + i] = y[2 * k + 1] * signed(middle + i + 2) + y[2 * k + 2] * signed(middle + 1 + i)
    if middle % 2:
        i, k = np.array([len(i)]), np.array([middle])
        c[i] = y[2 * k - 1] * signed(i + 1) + y[2 * k] * signed(i)
        c[n - 1 - i] = y[2 * k - 1] * signed(i + 2) + y[2 * k] * signed(i + 1)
    return c


def _real_parts(c: Array) -> Array:
    """The real transform as real numbers: the first, then real and imaginary parts in turn."""
    n = len(c)
    spectrum = scipy_module("fft").rfft(c, axis=0)
    parts = np.empty_like(c)
    parts[0], parts[1::2], parts[2::2] = spectrum.real[0], spectrum.real[1:], spectrum.imag[1 : (n + 1) // 2]
    return parts


def _pairs(c: Array) -> tuple[slice, slice, Array, Array]:
    """Places from both ends of lines, and the cosine and the sine by which they are rotated."""
    n = len(c)
    table = _cosines(n, c.dtype.char)[:, None, None]
    count = (n + 1) // 2 - 1
    return slice(1, 1 + count), slice(n - 1, n - 1 - count, -1), table[:count], table[n - 2 : n - 2 - count : -1]


@functools.lru_cache(16)
def _cosines(n: int, char: str) -> Array:
    """The cosines of quarter steps, k pi / (2 n) for k = 1 … n."""
    return _roots(4 * n, np.arange(1, n + 1))[0].astype(char)


@functools.lru_cache(16)
def _rotations(n: int, char: str) -> tuple[Array, Array]:
    real, imaginary = _roots(16 * n, 8 * np.arange(n // 2) + 1)
    return real.astype(char), (-imaginary).astype(char)


def _roots(n: int, places: npt.NDArray[np.intp]) -> tuple[Array, Array]:
    """Powers of the n-th root of unity, each a product of two from short tables, in f8, as SciPy rounds them."""
    angle = float(np.longdouble(0.25) * np.longdouble("3.141592653589793238462643383279502884197") / n)
    shift = 1
    while 4**shift < (n + 2) // 2:
        shift += 1
    is_low = 2 * places <= n
    folded = np.where(is_low, places, n - places)
    fine = np.array([_root(k, n, angle) for k in range(1 << shift)])
    coarse = np.array([_root(k << shift, n, angle) for k in range(int(folded.max(initial=0) >> shift) + 1)])
    (a, b), (c, d) = fine[folded & ((1 << shift) - 1)].T, coarse[folded >> shift].T
    return a * c - b * d, np.where(is_low, 1, -1) * (a * d + b * c)


def _root(k: int, n: int, angle: float) -> tuple[float, float]:
    """Cosine and sine of an eighth of a turn at most, brought to the octant of `k`, no more than half way round."""
    if k == 0:
        return 1.0, 0.0
    octant, rest = divmod(8 * k, n)
    # Angles are measured from the nearer axis.
    x = (rest if octant % 2 == 0 else n - rest) * angle
    near, far = math.cos(x), math.sin(x)
    return ((near, far), (far, near), (-far, near), (-near, far), (-near, -far))[octant]
