"""Discrete cosine transforms: scipy.fft's names, parameters and bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.fourier._engine.wave_passes import Waves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["dct", "dctn", "idct", "idctn"]


def dct(
    u: Field,
    type: int = 2,
    n: int | None = None,
    axis: int = -1,
    norm: str | None = None,
    *,
    orthogonalize: bool | None = None,
) -> Field:
    """Return the discrete cosine transform of lines along an axis.

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

    scipy.fft's bits, whatever the decomposition (J. Makhoul, doi:10.1109/TASSP.1980.1163351).

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).from_function(lambda x: x)
    >>> print(mb.gather_all(mb.fft.dct(u, type=1)).round(12) + 0.0)
    [ 9. -4.  0. -1.]
    """
    return Waves.of("dct", type, norm, orthogonalize).of_lines(u, n, axis)


def idct(
    u: Field,
    type: int = 2,
    n: int | None = None,
    axis: int = -1,
    norm: str | None = None,
    *,
    orthogonalize: bool | None = None,
) -> Field:
    """Return the inverse discrete cosine transform of lines along an axis.

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
    >>> print(mb.gather_all(mb.fft.idct(mb.fft.dct(u))).round(12))
    [0. 1. 2. 3.]
    """
    return Waves.of("idct", type, norm, orthogonalize).of_lines(u, n, axis)


def dctn(
    u: Field,
    type: int = 2,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str | None = None,
    *,
    orthogonalize: bool | None = None,
) -> Field:
    """Return the discrete cosine transform along all or some axes.

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
    >>> print(mb.gather_all(mb.fft.dctn(u, norm="ortho")).round(3)[0])
    [3.464 0.    0.    0.   ]
    """
    return Waves.of("dctn", type, norm, orthogonalize).over_axes(u, s, axes)


def idctn(
    u: Field,
    type: int = 2,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str | None = None,
    *,
    orthogonalize: bool | None = None,
) -> Field:
    """Return the inverse discrete cosine transform along all or some axes.

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
    >>> back = mb.fft.idctn(mb.fft.dctn(u))
    >>> bool(mb.max(abs(back - u)) < 1e-14)
    True
    """
    return Waves.of("idctn", type, norm, orthogonalize).over_axes(u, s, axes)
