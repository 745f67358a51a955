"""Discrete sine transforms: scipy.fft's names, parameters and bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.fourier._engine.wave_passes import Waves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["dst", "dstn", "idst", "idstn"]


def dst(
    u: Field,
    type: int = 2,
    n: int | None = None,
    axis: int = -1,
    norm: str | None = None,
    *,
    orthogonalize: bool | None = None,
) -> Field:
    """Return the discrete sine transform of lines along an axis.

    Parameters
    ----------
    u : Field
        Of f4, f8, c8 or c16; integers and bool are transformed as f8. Each component by itself.
    type : int, default 2
        1 to 4, as in scipy.fft.
    n : int, optional
        Points along the axis: lines are cut off, or padded with zeros. Default: all.
    axis : int, default -1
        The axis of the grid.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.
    orthogonalize : bool, optional
        Whether ends are scaled, so that the matrix is orthogonal. Default: if `norm` is "ortho". As in scipy.fft, it
        has no meaning for complex values.

    Returns
    -------
    Field
        Of f4, f8, c8 or c16, without halo; on `u.grid`, or, of another length, on a grid that is cut alike.

    Raises
    ------
    UsageError
        The same on all ranks, for a type, an axis, a length, a norm or a dtype that is not valid, or if
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
    >>> print(mb.gather_all(mb.fft.dst(u, type=1)).round(3))
    [ 9.233 -6.882  2.18  -1.625]
    """
    return Waves.of("dst", type, norm, orthogonalize).of_lines(u, n, axis)


def idst(
    u: Field,
    type: int = 2,
    n: int | None = None,
    axis: int = -1,
    norm: str | None = None,
    *,
    orthogonalize: bool | None = None,
) -> Field:
    """Return the inverse discrete sine transform of lines along an axis.

    Parameters
    ----------
    u : Field
        Of f4, f8, c8 or c16; integers and bool are transformed as f8. Each component by itself.
    type : int, default 2
        1 to 4, as in scipy.fft.
    n : int, optional
        Points along the axis: lines are cut off, or padded with zeros. Default: all.
    axis : int, default -1
        The axis of the grid.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.
    orthogonalize : bool, optional
        Whether ends are scaled, so that the matrix is orthogonal. Default: if `norm` is "ortho". As in scipy.fft, it
        has no meaning for complex values.

    Returns
    -------
    Field
        Of f4, f8, c8 or c16, without halo; on `u.grid`, or, of another length, on a grid that is cut alike.

    Raises
    ------
    UsageError
        The same on all ranks, for a type, an axis, a length, a norm or a dtype that is not valid, or if
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
    >>> print(mb.gather_all(mb.fft.idst(mb.fft.dst(u))).round(12))
    [0. 1. 2. 3.]
    """
    return Waves.of("idst", type, norm, orthogonalize).of_lines(u, n, axis)


def dstn(
    u: Field,
    type: int = 2,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str | None = None,
    *,
    orthogonalize: bool | None = None,
) -> Field:
    """Return the discrete sine transform along all or some axes.

    Parameters
    ----------
    u : Field
        Of f4, f8, c8 or c16; integers and bool are transformed as f8. Each component by itself.
    type : int, default 2
        1 to 4, as in scipy.fft.
    s : sequence of int, optional
        Points along each transformed axis, -1 for as many as there are; lines are cut off, or padded with zeros.
        Default: all.
    axes : sequence of int, optional
        Axes of the grid, each once. Default: all, or as many of the last ones as `s` has entries.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.
    orthogonalize : bool, optional
        Whether ends are scaled, so that the matrix is orthogonal. Default: if `norm` is "ortho". As in scipy.fft, it
        has no meaning for complex values.

    Returns
    -------
    Field
        Of f4, f8, c8 or c16, without halo; on `u.grid`, or, of another length, on a grid that is cut alike.

    Raises
    ------
    UsageError
        The same on all ranks, for a type, axes, lengths, a norm or a dtype that is not valid, or if
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
    >>> u = mb.Grid((3, 4)).full(1.0)
    >>> print(mb.gather_all(mb.fft.dstn(u, norm="ortho")).round(3)[0])
    [3.017 0.    1.25  0.   ]
    """
    return Waves.of("dstn", type, norm, orthogonalize).over_axes(u, s, axes)


def idstn(
    u: Field,
    type: int = 2,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str | None = None,
    *,
    orthogonalize: bool | None = None,
) -> Field:
    """Return the inverse discrete sine transform along all or some axes.

    Parameters
    ----------
    u : Field
        Of f4, f8, c8 or c16; integers and bool are transformed as f8. Each component by itself.
    type : int, default 2
        1 to 4, as in scipy.fft.
    s : sequence of int, optional
        Points along each transformed axis, -1 for as many as there are; lines are cut off, or padded with zeros.
        Default: all.
    axes : sequence of int, optional
        Axes of the grid, each once. Default: all, or as many of the last ones as `s` has entries.
    norm : str, optional
        Which way is divided by the number of points: "backward", the default, "forward", or "ortho", each by its root.
    orthogonalize : bool, optional
        Whether ends are scaled, so that the matrix is orthogonal. Default: if `norm` is "ortho". As in scipy.fft, it
        has no meaning for complex values.

    Returns
    -------
    Field
        Of f4, f8, c8 or c16, without halo; on `u.grid`, or, of another length, on a grid that is cut alike.

    Raises
    ------
    UsageError
        The same on all ranks, for a type, axes, lengths, a norm or a dtype that is not valid, or if
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
    >>> u = mb.Grid((3, 4)).from_function(lambda y, x: y * x)
    >>> back = mb.fft.idstn(mb.fft.dstn(u))
    >>> bool(mb.max(abs(back - u)) < 1e-14)
    True
    """
    return Waves.of("idstn", type, norm, orthogonalize).over_axes(u, s, axes)
