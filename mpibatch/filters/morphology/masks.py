"""Binary morphology with the names, parameters and bits of scipy.ndimage.

These filters take any dtype, nonzero cells as set, and give a field of bool. `brute_force` is missing, since the result
does not depend on it (but for structures larger than the array, where scipy 1.17 without it writes past its arrays: the
result is the one with it). Axes and errors: see `mpibatch.filters.passes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpibatch.filters._morphology.masks import erosion, repeated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["binary_closing", "binary_dilation", "binary_erosion", "binary_opening"]


def binary_erosion(
    u: Field,
    structure: Any = None,
    iterations: int = 1,
    mask: Field | None = None,
    border_value: int = 0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Field:
    """Return which cells have all of `structure` around them set.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64; cells other than 0 are
        set. Each component is filtered alone.
    structure : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered. Default: a cross of 3 cells
        along each of them.
    iterations : int, default 1
        How often it is repeated; until nothing changes if below 1.
    mask : Field, optional
        Field on the grid of `u`, without components or with those of `u`: cells where it is 0 keep their value.
        Default: any cell may change.
    border_value : int, default 0
        What cells beyond the walls count as: 0 not set, any other number set. A periodic axis has none.
    origin : int or sequence of int, default 0
        Shift of the window in cells, from -(n // 2) to (n - 1) // 2 for n cells; one for all, or one for each filtered
        axis: a positive one makes a cell read lower indices.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        New field of bool on the grid of `u`, without halo.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. Before each repetition a rank receives the cells within reach of the structure from the ranks around it.
    Repetitions of a box, without `mask`, are one pass of that many times the reach. Others end early if nothing changes
    any more, which is asked by an all-reduce after every 8 of them. Until nothing changes: with a structure that holds
    its center, each rank goes on by itself as far as it can between two exchanges and all-reduces, and there are about
    as many of these as the longest path crosses from one rank to another; with any other structure, one after each
    repetition.

    Equal to scipy.ndimage.binary_erosion of the whole array on any number of ranks; `brute_force` is missing, since the
    result does not depend on it.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y > 4) & (y < 10) & (x > 4) & (x < 10))
    >>> v = mb.filters.binary_erosion(u)
    >>> mb.count_nonzero(u), mb.count_nonzero(v)
    (25, 9)
    """
    return repeated(erosion("binary_erosion", u, structure, iterations, mask, border_value, origin, axes, False))


def binary_dilation(
    u: Field,
    structure: Any = None,
    iterations: int = 1,
    mask: Field | None = None,
    border_value: int = 0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Field:
    """Return the cells that `structure` reaches from any set cell.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64; cells other than 0 are
        set. Each component is filtered alone.
    structure : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered. Default: a cross of 3 cells
        along each of them.
    iterations : int, default 1
        How often it is repeated; until nothing changes if below 1.
    mask : Field, optional
        Field on the grid of `u`, without components or with those of `u`: cells where it is 0 keep their value.
        Default: any cell may change.
    border_value : int, default 0
        What cells beyond the walls count as: 0 not set, any other number set. A periodic axis has none.
    origin : int or sequence of int, default 0
        Shift of the window in cells, from -(n // 2) to (n - 1) // 2 for n cells; one for all, or one for each filtered
        axis: a positive one makes a cell read higher indices.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        New field of bool on the grid of `u`, without halo.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. Before each repetition a rank receives the cells within reach of the structure from the ranks around it.
    Repetitions of a box, without `mask`, are one pass of that many times the reach. Others end early if nothing changes
    any more, which is asked by an all-reduce after every 8 of them. Until nothing changes: with a structure that holds
    its center, each rank goes on by itself as far as it can between two exchanges and all-reduces, and there are about
    as many of these as the longest path crosses from one rank to another; with any other structure, one after each
    repetition.

    Equal to scipy.ndimage.binary_dilation of the whole array on any number of ranks; `brute_force` is missing, since
    the result does not depend on it.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.binary_dilation(u, iterations=2)
    >>> mb.count_nonzero(v)
    13
    """
    return repeated(erosion("binary_dilation", u, structure, iterations, mask, border_value, origin, axes, True))


def binary_opening(
    u: Field,
    structure: Any = None,
    iterations: int = 1,
    origin: int | Sequence[int] = 0,
    mask: Field | None = None,
    border_value: int = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Field:
    """Return the dilation of the erosion: what holds no `structure` is gone.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64; cells other than 0 are
        set. Each component is filtered alone.
    structure : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered. Default: a cross of 3 cells
        along each of them.
    iterations : int, default 1
        How often the erosion, and then the dilation, is repeated; until nothing changes if below 1.
    origin : int or sequence of int, default 0
        Shift of the window in cells, from -(n // 2) to (n - 1) // 2 for n cells; one for all, or one for each filtered
        axis: a positive one makes the erosion read lower, the dilation higher indices.
    mask : Field, optional
        Field on the grid of `u`, without components or with those of `u`: cells where it is 0 keep their value.
        Default: any cell may change.
    border_value : int, default 0
        What cells beyond the walls count as: 0 not set, any other number set. A periodic axis has none.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        New field of bool on the grid of `u`, without halo.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. An erosion and a dilation, each with its repetitions. Before each repetition a rank receives the cells
    within reach of the structure from the ranks around it. Repetitions of a box, without `mask`, are one pass of that
    many times the reach. Others end early if nothing changes any more, which is asked by an all-reduce after every 8 of
    them. Until nothing changes: with a structure that holds its center, each rank goes on by itself as far as it can
    between two exchanges and all-reduces, and there are about as many of these as the longest path crosses from one
    rank to another; with any other structure, one after each repetition.

    Equal to scipy.ndimage.binary_opening of the whole array on any number of ranks; `brute_force` is missing, since the
    result does not depend on it.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 3) | (y > 8))
    >>> v = mb.filters.binary_opening(u, structure=[[1], [1], [1]])
    >>> mb.gather_all(v).any(axis=1)[[3, 9, 14]]
    array([False,  True,  True])
    """
    name = "binary_opening"
    low = repeated(erosion(name, u, structure, iterations, mask, border_value, origin, axes, False))
    return repeated(erosion(name, low, structure, iterations, mask, border_value, origin, axes, True))


def binary_closing(
    u: Field,
    structure: Any = None,
    iterations: int = 1,
    origin: int | Sequence[int] = 0,
    mask: Field | None = None,
    border_value: int = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Field:
    """Return the erosion of the dilation: gaps that hold no `structure` are filled.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64; cells other than 0 are
        set. Each component is filtered alone.
    structure : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered. Default: a cross of 3 cells
        along each of them.
    iterations : int, default 1
        How often the dilation, and then the erosion, is repeated; until nothing changes if below 1.
    origin : int or sequence of int, default 0
        Shift of the window in cells, from -(n // 2) to (n - 1) // 2 for n cells; one for all, or one for each filtered
        axis: a positive one makes the dilation read higher, the erosion lower indices.
    mask : Field, optional
        Field on the grid of `u`, without components or with those of `u`: cells where it is 0 keep their value.
        Default: any cell may change.
    border_value : int, default 0
        What cells beyond the walls count as: 0 not set, any other number set. A periodic axis has none.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        New field of bool on the grid of `u`, without halo.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. An erosion and a dilation, each with its repetitions. Before each repetition a rank receives the cells
    within reach of the structure from the ranks around it. Repetitions of a box, without `mask`, are one pass of that
    many times the reach. Others end early if nothing changes any more, which is asked by an all-reduce after every 8 of
    them. Until nothing changes: with a structure that holds its center, each rank goes on by itself as far as it can
    between two exchanges and all-reduces, and there are about as many of these as the longest path crosses from one
    rank to another; with any other structure, one after each repetition.

    Equal to scipy.ndimage.binary_closing of the whole array on any number of ranks; `brute_force` is missing, since the
    result does not depend on it.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (x != 8) & (x > 3) & (x < 12))
    >>> v = mb.filters.binary_closing(u, structure=[[1, 1, 1]])
    >>> mb.gather_all(v)[8, 3:13].astype(int)
    array([0, 1, 1, 1, 1, 1, 1, 1, 1, 0])
    """
    name = "binary_closing"
    high = repeated(erosion(name, u, structure, iterations, mask, border_value, origin, axes, True))
    return repeated(erosion(name, high, structure, iterations, mask, border_value, origin, axes, False))
