"""Transforms of real values, of which one half is kept, and back: scipy.fft's names, parameters and bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError
from mpibatch.fourier._engine.arguments import axis_of, check_norm, extents_of, float_dtype, length_of, scale, size_of
from mpibatch.fourier._engine.passes import from_half, half_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftn"]


def _forward(name: str, u: Field, axes: Sequence[int], sizes: Sequence[int], norm: str | None) -> Field:
    factor = scale(check_norm(name, norm), size_of(sizes), float_dtype(name, u, real=True), forward=True)
    return half_of(name, u, axes, sizes, factor, forward=True)


def _backward(name: str, u: Field, axes: Sequence[int], sizes: Sequence[int], norm: str | None) -> Field:
    factor = scale(check_norm(name, norm), size_of(sizes), float_dtype(name, u), forward=False)
    return from_half(name, u, axes, sizes, factor)


def _extents(
    name: str, u: Field, s: Sequence[int] | None, axes: Sequence[int] | None, *, is_half: bool
) -> tuple[list[int], list[int]]:
    float_dtype(name, u, real=not is_half)
    numbers, sizes = extents_of(name, u, s, axes)
    if not numbers:
        raise UsageError(f"{name}: axes = {axes!r} names none; give one axis or more")
    if is_half and s is None:
        sizes[-1] = _even(name, u, numbers[-1], "s")
    return numbers, sizes


def _even(name: str, u: Field, axis: int, parameter: str) -> int:
    n = 2 * (u.grid.shape[axis] - 1)
    if not n:
        raise UsageError(f"{name}: half a spectrum of 1 place along axis {axis} is of 1 point; give {parameter}")
    return n


def rfft(u: Field, n: int | None = None, axis: int = -1, norm: str | None = None) -> Field:
    """Return the half of the Fourier transform of real lines that determines the other.

    Parameters
    ----------
    u : Field
        Of f4 or f8; integers and bool are transformed as f8. Each component by itself.
    n : int, optional
        Points along the axis: lines are cut off, or padded with zeros. Default: all.
    axis : int, default -1
        The axis of the grid.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.

    Returns
    -------
    Field
        Of c8 or c16, without halo; on a grid with ``n // 2 + 1`` places along the transformed axis, cut alike.

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

    scipy.fft's bits, whatever the decomposition.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).from_function(lambda x: x)
    >>> print(mb.gather_all(mb.fft.rfft(u)))
    [ 6.+0.j -2.+2.j -2.+0.j]
    """
    float_dtype("rfft", u, real=True)
    number = axis_of("rfft", axis, u.grid.ndim)
    return _forward("rfft", u, [number], [length_of("rfft", n, u.grid.shape[number])], norm)


def irfft(u: Field, n: int | None = None, axis: int = -1, norm: str | None = None) -> Field:
    """Return the real lines of which a field is half the Fourier transform.

    Parameters
    ----------
    u : Field
        Half a spectrum, as `rfft` returns it: of f4, f8, c8 or c16. Each component by itself.
    n : int, optional
        Points of the result along the axis. Default: ``2 * (places - 1)``, an even number.
    axis : int, default -1
        The axis of the grid.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.

    Returns
    -------
    Field
        Of f4 or f8, without halo; on a grid with n points along the transformed axis, cut alike: that of the field
        which the spectrum was made of.

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

    scipy.fft's bits, whatever the decomposition.

    Half a spectrum does not tell whether its field had an even or an odd number of points: give n of an odd one.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(5).from_function(lambda x: x)
    >>> back = mb.fft.irfft(mb.fft.rfft(u), n=5)
    >>> back.grid is u.grid
    True
    >>> print(mb.gather_all(back).round(12))
    [0. 1. 2. 3. 4.]
    """
    float_dtype("irfft", u)
    number = axis_of("irfft", axis, u.grid.ndim)
    length = _even("irfft", u, number, "n") if n is None else length_of("irfft", n, 0)
    return _backward("irfft", u, [number], [length], norm)


def rfft2(u: Field, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None) -> Field:
    """Return half of the Fourier transform of real values along two axes.

    Parameters
    ----------
    u : Field
        Of f4 or f8; integers and bool are transformed as f8. Each component by itself.
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
        Of c8 or c16, without halo; on a grid with ``n // 2 + 1`` places along the last axis, cut alike.

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

    scipy.fft's bits, whatever the decomposition: the last axis first, with the norm's factor, then the others.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.fft.rfft2(mb.Grid((3, 8)).full(1.0)).shape
    (3, 5)
    """
    return _forward("rfft2", u, *_extents("rfft2", u, s, axes, is_half=False), norm)


def irfft2(u: Field, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None) -> Field:
    """Return the real values of which a field is half the Fourier transform along two axes.

    Parameters
    ----------
    u : Field
        Half a spectrum, as `rfft2` returns it: of f4, f8, c8 or c16. Each component by itself.
    s : sequence of int, optional
        Points of the result along each transformed axis. Default: as many as there are places, along the last axis
        ``2 * (places - 1)``.
    axes : sequence of int, default (-2, -1)
        Axes of the grid, each once; the last one is that of which half was kept.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.

    Returns
    -------
    Field
        Of f4 or f8, without halo; on a grid with n points along the last axis, cut alike: that of the field
        which the spectrum was made of.

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

    scipy.fft's bits, whatever the decomposition: the last axis last, with the norm's factor behind it.

    Half a spectrum does not tell whether its field had an even or an odd number of points: give s of an odd one.

    Examples
    --------
    >>> import mpibatch as mb
    >>> half = mb.fft.rfft2(mb.Grid((3, 8)).full(1.0))
    >>> print(mb.gather_all(mb.fft.irfft2(half))[0])
    [1. 1. 1. 1. 1. 1. 1. 1.]
    """
    return _backward("irfft2", u, *_extents("irfft2", u, s, axes, is_half=True), norm)


def rfftn(
    u: Field, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Field:
    """Return half of the Fourier transform of real values along all or some axes.

    Parameters
    ----------
    u : Field
        Of f4 or f8; integers and bool are transformed as f8. Each component by itself.
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
        Of c8 or c16, without halo; on a grid with ``n // 2 + 1`` places along the last axis, cut alike.

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

    scipy.fft's bits, whatever the decomposition: the last axis first, with the norm's factor, then the others.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.random.Generator(seed=1).normal(mb.Grid((4, 6, 7)))
    >>> mb.fft.rfftn(u).shape
    (4, 6, 4)
    """
    return _forward("rfftn", u, *_extents("rfftn", u, s, axes, is_half=False), norm)


def irfftn(
    u: Field, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Field:
    """Return the real values of which a field is half the Fourier transform along axes.

    Parameters
    ----------
    u : Field
        Half a spectrum, as `rfftn` returns it: of f4, f8, c8 or c16. Each component by itself.
    s : sequence of int, optional
        Points of the result along each transformed axis. Default: as many as there are places, along the last axis
        ``2 * (places - 1)``.
    axes : sequence of int, optional
        Axes of the grid, each once; the last one is that of which half was kept. Default: all, or as many of the last
        ones as `s` has entries.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.

    Returns
    -------
    Field
        Of f4 or f8, without halo; on a grid with n points along the last axis, cut alike: that of the field
        which the spectrum was made of.

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

    scipy.fft's bits, whatever the decomposition: the last axis last, with the norm's factor behind it.

    Half a spectrum does not tell whether its field had an even or an odd number of points: give s of an odd one.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.random.Generator(seed=1).normal(mb.Grid((4, 6, 7)))
    >>> back = mb.fft.irfftn(mb.fft.rfftn(u), s=u.shape)
    >>> bool(mb.max(abs(back - u)) < 1e-14)
    True
    """
    return _backward("irfftn", u, *_extents("irfftn", u, s, axes, is_half=True), norm)
