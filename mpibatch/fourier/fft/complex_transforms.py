"""Transforms of complex values, and of real ones as complex: scipy.fft's names, parameters and bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.fourier._engine.arguments import axis_of, check_norm, extents_of, float_dtype, length_of, scale, size_of
from mpibatch.fourier._engine.mirrors import both_halves
from mpibatch.fourier._engine.passes import complex_passes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["fft", "fft2", "fftn", "ifft", "ifft2", "ifftn"]


def _transform(name: str, u: Field, axes: Sequence[int], sizes: Sequence[int], norm: str | None) -> Field:
    kind = float_dtype(name, u).kind
    forward = not name.startswith("i")
    factor = scale(check_norm(name, norm), size_of(sizes), float_dtype(name, u), forward=forward)
    if not axes:
        return u.copy()
    passes = complex_passes if kind == "c" else both_halves
    return passes(name, u, axes, sizes, factor, forward=forward)


def _along_one(name: str, u: Field, n: int | None, axis: int, norm: str | None) -> Field:
    float_dtype(name, u)
    number = axis_of(name, axis, u.grid.ndim)
    return _transform(name, u, [number], [length_of(name, n, u.grid.shape[number])], norm)


def _along_axes(name: str, u: Field, s: Sequence[int] | None, axes: Sequence[int] | None, norm: str | None) -> Field:
    float_dtype(name, u)
    return _transform(name, u, *extents_of(name, u, s, axes), norm)


def fft(u: Field, n: int | None = None, axis: int = -1, norm: str | None = None) -> Field:
    """Return the discrete Fourier transform of lines along an axis.

    Parameters
    ----------
    u : Field
        Of f4, f8, c8 or c16; integers and bool are transformed as f8. Each component by itself.
    n : int, optional
        Points along the axis: lines are cut off, or padded with zeros. Default: all.
    axis : int, default -1
        The axis of the grid.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.

    Returns
    -------
    Field
        Of c8 or c16, without halo; on `u.grid`, or, of another length, on a grid that is cut alike.

    Raises
    ------
    UsageError
        The same on all ranks, for an axis, a length, a norm or a dtype that is not valid, or if
        SciPy is not installed.
    RunError
        If whole lines do not fit into memory.

    Notes
    -----
    Collective: if the axis is cut, cells go to ranks that have whole lines, and back. A line must fit into a rank's
    memory.

    scipy.fft's bits, whatever the decomposition (J. W. Cooley, J. W. Tukey, doi:10.1090/S0025-5718-1965-0178586-1).

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).from_function(lambda x: x)
    >>> print(mb.gather_all(mb.fft.fft(u)))
    [ 6.-0.j -2.+2.j -2.-0.j -2.-2.j]
    """
    return _along_one("fft", u, n, axis, norm)


def ifft(u: Field, n: int | None = None, axis: int = -1, norm: str | None = None) -> Field:
    """Return the inverse Fourier transform of lines along an axis.

    Parameters
    ----------
    u : Field
        Of f4, f8, c8 or c16; integers and bool are transformed as f8. Each component by itself.
    n : int, optional
        Points along the axis: lines are cut off, or padded with zeros. Default: all.
    axis : int, default -1
        The axis of the grid.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.

    Returns
    -------
    Field
        Of c8 or c16, without halo; on `u.grid`, or, of another length, on a grid that is cut alike.

    Raises
    ------
    UsageError
        The same on all ranks, for an axis, a length, a norm or a dtype that is not valid, or if
        SciPy is not installed.
    RunError
        If whole lines do not fit into memory.

    Notes
    -----
    Collective: if the axis is cut, cells go to ranks that have whole lines, and back. A line must fit into a rank's
    memory.

    scipy.fft's bits, whatever the decomposition (J. W. Cooley, J. W. Tukey, doi:10.1090/S0025-5718-1965-0178586-1).

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).from_function(lambda x: x)
    >>> print(mb.gather_all(mb.fft.ifft(mb.fft.fft(u))).real)
    [0. 1. 2. 3.]
    """
    return _along_one("ifft", u, n, axis, norm)


def fft2(u: Field, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None) -> Field:
    """Return the discrete Fourier transform along two axes.

    Parameters
    ----------
    u : Field
        Of f4, f8, c8 or c16; integers and bool are transformed as f8. Each component by itself.
    s : sequence of int, optional
        Points along each transformed axis, -1 for as many as there are; lines are cut off, or padded with zeros.
        Default: all.
    axes : sequence of int, default (-2, -1)
        Axes of the grid, each once.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.

    Returns
    -------
    Field
        Of c8 or c16, without halo; on `u.grid`, or, of another length, on a grid that is cut alike.

    Raises
    ------
    UsageError
        The same on all ranks, for axes, lengths, a norm or a dtype that is not valid, or if
        SciPy is not installed.
    RunError
        If whole lines do not fit into memory.

    Notes
    -----
    Collective: cells go to ranks that have whole lines, and back; where several axes are cut, on from axis to axis, and
    back at the end. A line must fit into a rank's memory.

    scipy.fft's bits, whatever the decomposition.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((3, 4)).full(0.5)
    >>> print(mb.gather_all(mb.fft.fft2(u)).real[0])
    [6. 0. 0. 0.]
    """
    return _along_axes("fft2", u, s, axes, norm)


def ifft2(u: Field, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None) -> Field:
    """Return the inverse Fourier transform along two axes.

    Parameters
    ----------
    u : Field
        Of f4, f8, c8 or c16; integers and bool are transformed as f8. Each component by itself.
    s : sequence of int, optional
        Points along each transformed axis, -1 for as many as there are; lines are cut off, or padded with zeros.
        Default: all.
    axes : sequence of int, default (-2, -1)
        Axes of the grid, each once.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.

    Returns
    -------
    Field
        Of c8 or c16, without halo; on `u.grid`, or, of another length, on a grid that is cut alike.

    Raises
    ------
    UsageError
        The same on all ranks, for axes, lengths, a norm or a dtype that is not valid, or if
        SciPy is not installed.
    RunError
        If whole lines do not fit into memory.

    Notes
    -----
    Collective: cells go to ranks that have whole lines, and back; where several axes are cut, on from axis to axis, and
    back at the end. A line must fit into a rank's memory.

    scipy.fft's bits, whatever the decomposition.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 2)).full(1.0)
    >>> print(mb.gather_all(mb.fft.ifft2(u)).real)
    [[1. 0.]
     [0. 0.]]
    """
    return _along_axes("ifft2", u, s, axes, norm)


def fftn(u: Field, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None) -> Field:
    """Return the discrete Fourier transform along all or some axes.

    Parameters
    ----------
    u : Field
        Of f4, f8, c8 or c16; integers and bool are transformed as f8. Each component by itself.
    s : sequence of int, optional
        Points along each transformed axis, -1 for as many as there are; lines are cut off, or padded with zeros.
        Default: all.
    axes : sequence of int, optional
        Axes of the grid, each once. Default: all, or as many of the last ones as `s` has entries.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.

    Returns
    -------
    Field
        Of c8 or c16, without halo; on `u.grid`, or, of another length, on a grid that is cut alike.

    Raises
    ------
    UsageError
        The same on all ranks, for axes, lengths, a norm or a dtype that is not valid, or if
        SciPy is not installed.
    RunError
        If whole lines do not fit into memory.

    Notes
    -----
    Collective: cells go to ranks that have whole lines, and back; where several axes are cut, on from axis to axis, and
    back at the end. A line must fit into a rank's memory.

    scipy.fft's bits, whatever the decomposition: axes in the order given, the norm's factor after the first one.
    Of real values SciPy computes one half, and mirrors it; so does this, with one more exchange for each axis that is
    cut: see `rfftn`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3, 4)).full(1j, "c16")
    >>> spectrum = mb.fft.fftn(u)
    >>> spectrum.shape, spectrum.dtype.name, mb.count_nonzero(spectrum)
    ((2, 3, 4), 'complex128', 1)
    """
    return _along_axes("fftn", u, s, axes, norm)


def ifftn(
    u: Field, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Field:
    """Return the inverse Fourier transform along all or some axes.

    Parameters
    ----------
    u : Field
        Of f4, f8, c8 or c16; integers and bool are transformed as f8. Each component by itself.
    s : sequence of int, optional
        Points along each transformed axis, -1 for as many as there are; lines are cut off, or padded with zeros.
        Default: all.
    axes : sequence of int, optional
        Axes of the grid, each once. Default: all, or as many of the last ones as `s` has entries.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.

    Returns
    -------
    Field
        Of c8 or c16, without halo; on `u.grid`, or, of another length, on a grid that is cut alike.

    Raises
    ------
    UsageError
        The same on all ranks, for axes, lengths, a norm or a dtype that is not valid, or if
        SciPy is not installed.
    RunError
        If whole lines do not fit into memory.

    Notes
    -----
    Collective: cells go to ranks that have whole lines, and back; where several axes are cut, on from axis to axis, and
    back at the end. A line must fit into a rank's memory.

    scipy.fft's bits, whatever the decomposition.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4, 4)).from_function(lambda y, x: y + x)
    >>> back = mb.fft.ifftn(mb.fft.fftn(u))
    >>> bool(mb.max(abs(back - u)) < 1e-14)
    True
    """
    return _along_axes("ifftn", u, s, axes, norm)
