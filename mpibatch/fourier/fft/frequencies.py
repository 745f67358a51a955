"""The frequencies that places of a spectrum stand for, and lengths whose transforms are fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.lazy_names import scipy_module
from mpibatch.fourier._engine.arguments import length_of

__all__ = ["fftfreq", "next_fast_len", "rfftfreq"]


def fftfreq(n: int, d: float = 1.0) -> npt.NDArray[Any]:
    """Return the frequency of each place of the transform of a line.

    Parameters
    ----------
    n : int
        Points of the line.
    d : float, default 1.0
        Distance between them, such as ``grid.spacing[axis]``.

    Returns
    -------
    ndarray
        In cycles per unit of `d`, of all places, on the rank that calls. ``u.box`` tells which of them a rank has.

    Notes
    -----
    Local. Memory for one line.

    Examples
    --------
    >>> import mpibatch as mb
    >>> print(mb.fft.fftfreq(5, d=0.5))
    [ 0.   0.4  0.8 -0.8 -0.4]
    """
    return np.fft.fftfreq(length_of("fftfreq", n, 0), d)


def rfftfreq(n: int, d: float = 1.0) -> npt.NDArray[Any]:
    """Return the frequency of each place of half the transform of a real line.

    Parameters
    ----------
    n : int
        Points of the line.
    d : float, default 1.0
        Distance between them, such as ``grid.spacing[axis]``.

    Returns
    -------
    ndarray
        In cycles per unit of `d`, of all ``n // 2 + 1`` places, on the rank that calls.

    Notes
    -----
    Local. Memory for one line.

    Examples
    --------
    >>> import mpibatch as mb
    >>> print(mb.fft.rfftfreq(5, d=0.5))
    [0.  0.4 0.8]
    """
    return np.fft.rfftfreq(length_of("rfftfreq", n, 0), d)


def next_fast_len(target: int, *, real: bool = False) -> int:
    """Return the least length that is not shorter, and whose transform is fast: a product of small primes.

    Parameters
    ----------
    target : int
        The length to begin from.
    real : bool, default False
        Whether the transform is of real values.

    Returns
    -------
    int
        scipy.fft's.

    Raises
    ------
    UsageError
        If SciPy is not installed.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.fft.next_fast_len(1021)
    1024
    """
    fast: Any = scipy_module("fft").next_fast_len(length_of("next_fast_len", target, 0, "target"), real)
    return int(fast)
