"""Power spectra: how much of a field's mean square is at which wave number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.filters._engine.arguments import real_of
from mpibatch.fourier._engine.arguments import float_dtype
from mpibatch.fourier.fft.complex_transforms import fftn
from mpibatch.fourier.fft.real_transforms import rfftn
from mpibatch.reduce.occurrences import MOST_WEIGHED, bincount

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["PowerSpectrum", "power_spectrum"]

MOST = MOST_WEIGHED  # shells


class PowerSpectrum(NamedTuple):
    """Shells of wave numbers, the same on all ranks.

    Parameters
    ----------
    k : ndarray of f8
        The middle of each shell, in cycles per unit of length.
    power : ndarray of f8
        What each shell has of the mean square of the field.
    modes : ndarray of i8
        How many places of the whole spectrum are in each.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.power_spectrum(mb.Grid(8).full(3.0)).modes.tolist()
    [1, 2, 2, 2, 1]
    """

    k: npt.NDArray[Any]
    power: npt.NDArray[Any]
    modes: npt.NDArray[np.int64]


def power_spectrum(u: Field, dk: float | None = None) -> PowerSpectrum:
    """Return the power spectrum of a field, in shells of equal width around wave number zero.

    Parameters
    ----------
    u : Field
        Of f4, f8, c8 or c16; integers and bool count as f8. Of several components the sum of theirs.
    dk : float, optional
        Width of a shell, in cycles per unit of length. Default: one cycle over the longest side of the grid;
        where these would be more than 2**22 shells (one axis of over 8 million cells), the least multiple for which
        they are not.

    Returns
    -------
    PowerSpectrum
        The arrays `k`, `power` and `modes`, the same on all ranks. Shell i has the wave vectors whose length,
        with the grid's spacing, rounds to ``i * dk``; the first has the mean, and the last one the corners.

    Raises
    ------
    UsageError
        The same on all ranks, for a `dk` or a dtype that is not valid, or if SciPy is not installed.
    RunError
        If whole lines do not fit into memory.

    Notes
    -----
    Collective. With F the transform of the N cells, ``power`` is the sum of ``|F / N|**2`` over a shell, exact and
    rounded once; so all of them add up to the mean of ``abs(u)**2`` (Parseval's theorem). The spectral density, as
    cosmologists write it, is ``volume * power / modes``.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.Grid((16, 16), spacing=0.5).from_function(lambda y, x: 1 + np.sin(2 * np.pi * y / 4))
    >>> spectrum = mb.power_spectrum(u)
    >>> [(k, round(power, 12)) for k, power in zip(spectrum.k.tolist(), spectrum.power.tolist()) if power > 1e-12]
    [(0.0, 1.0), (0.25, 0.5)]
    """
    name = "power_spectrum"
    is_complex = float_dtype(name, u).kind == "c"
    shape, spacing = u.grid.shape, u.grid.spacing
    if not all(math.isfinite(d) and d for d in spacing):
        raise UsageError(f"{name}: the grid's spacing {spacing} gives no wave numbers; give a grid with another one")
    steps = [1.0 / (n * abs(d)) for n, d in zip(shape, spacing, strict=True)]
    longest = math.sqrt(math.fsum((n // 2 * step) ** 2 for n, step in zip(shape, steps, strict=True)))
    least = longest / (MOST - 2)
    width = min(steps) * max(1, math.ceil(least / min(steps))) if dk is None else real_of(name, "dk", dk)
    if width <= 0 or width < least:
        raise UsageError(
            f"{name}: dk = {width:g} for wave numbers up to {longest:g}; give one > 0, for {MOST} shells at most: "
            f"{least:.6g} or more"
        )
    wide = u.astype("c16" if is_complex else "f8")
    half = fftn(wide, norm="forward") if is_complex else rfftn(wide, norm="forward")
    shells = half.like("i8", components=())
    squares: npt.NDArray[Any] = np.zeros(1)
    for axis, (places, step) in enumerate(zip(np.ix_(*_places(half)), steps, strict=True)):
        n = shape[axis]
        waves = np.where(places > n // 2, places - n, places) * step
        squares = squares + waves * waves
    shells.owned[...] = np.floor(np.sqrt(squares) / width + 0.5)
    power = half.like("f8")
    power.owned[...] = half.owned.real**2 + half.owned.imag**2
    weights = shells.like("i8")
    weights.owned[...] = 1
    if not is_complex:
        # What is mirrored in the other half counts twice.
        last = _places(half)[-1]
        twice = np.where((last > 0) & (2 * last != shape[-1]), 2, 1)
        weights.owned[...] *= twice
        power.owned[...] *= twice.reshape(twice.shape + (1,) * len(power.components))
    modes = bincount(shells, weights)
    if power.components:
        each = power.like("i8")
        each.owned[...] = shells.owned.reshape(shells.owned.shape + (1,) * len(power.components))
        shells = each
    return PowerSpectrum(np.arange(len(modes)) * width, bincount(shells, power), np.rint(modes).astype("i8"))


def _places(u: Field) -> list[npt.NDArray[np.int64]]:
    return [np.arange(low, high) for low, high in zip(u.box.start, u.box.stop, strict=True)]
