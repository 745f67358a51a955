"""Extremes, where they are, and medians by label, with scipy.ndimage's names and order of arguments.

See `_groups.groups` for what `labels` and `index` choose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.measure._groups.groups import Groups, groups_of, has_many, mask_of, reduced
from mpibatch.measure._groups.order import extremes, medians
from mpibatch.reduce import limits, quantiles

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["extrema", "maximum", "maximum_position", "median", "minimum", "minimum_position"]


def _place(u: Field, flat: int) -> tuple[int, ...]:
    """Return the coordinates of a flat index, -1 each for none. Local."""
    return tuple(int(i) for i in np.unravel_index(flat, u.shape)) if flat >= 0 else (-1,) * u.ndim


def _places(groups: Groups, flat: npt.NDArray[np.int64]) -> list[tuple[int, ...]]:
    return [_place(groups.u, i) for i in flat[groups.order].tolist()]


def minimum(input: Field, labels: Field | None = None, index: Any = None) -> Any:
    """Return the least value of each label.

    Parameters
    ----------
    input : Field
        Values, of bool, integers or floats of up to 8 bytes.
    labels : Field, optional
        Integers on the same grid, such as `label` returns. Without components they hold for all of the values'.
        Default: all cells are one region.
    index : int or array of int, optional
        Which labels. Default: all above 0, together.

    Returns
    -------
    scalar or array
        Of the values' dtype, in the shape of `index` if that is an array. NaN if a value is NaN. Of an array of
        labels, one that is nowhere has NaN, or 0 of integers.

    Raises
    ------
    UsageError
        On every rank, for fields of different grids, labels that are no integers, an index without
        labels, and if a single label is nowhere.

    Notes
    -----
    Collective, with one pass through the owned cells. Of an array of labels each rank has a row of 16 bytes for each
    label; halves of the rows are exchanged, in as many steps as the number of ranks has binary digits, and the result
    is on every rank.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(6)
    >>> u = mb.scatter(np.array([1.0, 2.0, 4.0, 8.0, 0.0, 3.0]), grid)
    >>> labels = mb.scatter(np.array([1, 1, 0, 2, 2, 2]), grid)
    >>> print(mb.measure.minimum(u, labels, [1, 2]))
    [1. 0.]
    """
    return reduced("minimum", input, labels, index, limits.min, lambda groups: extremes(groups)[0][0])


def maximum(input: Field, labels: Field | None = None, index: Any = None) -> Any:
    """Return the greatest value of each label.

    Parameters
    ----------
    input : Field
        Values, of bool, integers or floats of up to 8 bytes.
    labels : Field, optional
        Integers on the same grid, such as `label` returns. Without components they hold for all of the values'.
        Default: all cells are one region.
    index : int or array of int, optional
        Which labels. Default: all above 0, together.

    Returns
    -------
    scalar or array
        Of the values' dtype, in the shape of `index` if that is an array. NaN if a value is NaN. Of an array of
        labels, one that is nowhere has NaN, or 0 of integers.

    Raises
    ------
    UsageError
        On every rank, for fields of different grids, labels that are no integers, an index without
        labels, and if a single label is nowhere.

    Notes
    -----
    Collective, with one pass through the owned cells. Of an array of labels each rank has a row of 16 bytes for each
    label; halves of the rows are exchanged, in as many steps as the number of ranks has binary digits, and the result
    is on every rank.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(6)
    >>> u = mb.scatter(np.array([1.0, 2.0, 4.0, 8.0, 0.0, 3.0]), grid)
    >>> labels = mb.scatter(np.array([1, 1, 0, 2, 2, 2]), grid)
    >>> print(mb.measure.maximum(u, labels, [1, 2]))
    [2. 8.]
    """
    return reduced("maximum", input, labels, index, limits.max, lambda groups: extremes(groups)[1][0])


def minimum_position(input: Field, labels: Field | None = None, index: Any = None) -> Any:
    """Return where the least value of each label is.

    Parameters
    ----------
    input : Field
        Values, of bool, integers or floats of up to 8 bytes.
    labels : Field, optional
        Integers on the same grid, such as `label` returns. Without components they hold for all of the values'.
        Default: all cells are one region.
    index : int or array of int, optional
        Which labels. Default: all above 0, together.

    Returns
    -------
    tuple of int, or list of them
        Global coordinates of the first such element in C order, the first NaN if there is one. Of an array of labels,
        one that is nowhere has -1 each.

    Raises
    ------
    UsageError
        On every rank, for fields of different grids, labels that are no integers, an index without
        labels, and if a single label is nowhere.

    Notes
    -----
    Collective, with one pass through the owned cells. Of an array of labels each rank has a row of 16 bytes for each
    label; halves of the rows are exchanged, in as many steps as the number of ranks has binary digits, and the result
    is on every rank.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(6)
    >>> u = mb.scatter(np.array([1.0, 2.0, 4.0, 8.0, 0.0, 3.0]), grid)
    >>> labels = mb.scatter(np.array([1, 1, 0, 2, 2, 2]), grid)
    >>> mb.measure.minimum_position(u, labels, [1, 2])
    [(0,), (4,)]
    """
    call = "minimum_position"
    if has_many(labels, index):
        groups = groups_of(call, input, labels, index)
        return _places(groups, extremes(groups)[0][1])
    return _place(input, limits.argmin(input, where=mask_of(call, input, labels, index)))


def maximum_position(input: Field, labels: Field | None = None, index: Any = None) -> Any:
    """Return where the greatest value of each label is.

    Parameters
    ----------
    input : Field
        Values, of bool, integers or floats of up to 8 bytes.
    labels : Field, optional
        Integers on the same grid, such as `label` returns. Without components they hold for all of the values'.
        Default: all cells are one region.
    index : int or array of int, optional
        Which labels. Default: all above 0, together.

    Returns
    -------
    tuple of int, or list of them
        Global coordinates of the first such element in C order, the first NaN if there is one. Of an array of labels,
        one that is nowhere has -1 each.

    Raises
    ------
    UsageError
        On every rank, for fields of different grids, labels that are no integers, an index without
        labels, and if a single label is nowhere.

    Notes
    -----
    Collective, with one pass through the owned cells. Of an array of labels each rank has a row of 16 bytes for each
    label; halves of the rows are exchanged, in as many steps as the number of ranks has binary digits, and the result
    is on every rank.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(6)
    >>> u = mb.scatter(np.array([1.0, 2.0, 4.0, 8.0, 0.0, 3.0]), grid)
    >>> labels = mb.scatter(np.array([1, 1, 0, 2, 2, 2]), grid)
    >>> mb.measure.maximum_position(u, labels, [1, 2])
    [(1,), (3,)]
    """
    call = "maximum_position"
    if has_many(labels, index):
        groups = groups_of(call, input, labels, index)
        return _places(groups, extremes(groups)[1][1])
    return _place(input, limits.argmax(input, where=mask_of(call, input, labels, index)))


def extrema(input: Field, labels: Field | None = None, index: Any = None) -> Any:
    """Return the extremes of each label, and where they are.

    Parameters
    ----------
    input : Field
        Values, of bool, integers or floats of up to 8 bytes.
    labels : Field, optional
        Integers on the same grid, such as `label` returns. Without components they hold for all of the values'.
        Default: all cells are one region.
    index : int or array of int, optional
        Which labels. Default: all above 0, together.

    Returns
    -------
    minimums, maximums : scalar or array
        As `minimum` and `maximum` return them.
    minimum_positions, maximum_positions : tuple of int, or list of them
        As `minimum_position` and `maximum_position` return them.

    Raises
    ------
    UsageError
        On every rank, for fields of different grids, labels that are no integers, an index without
        labels, and if a single label is nowhere.

    Notes
    -----
    Collective, with one pass through the owned cells. Of an array of labels each rank has a row of 32 bytes for each
    label; halves of the rows are exchanged, in as many steps as the number of ranks has binary digits, and the result
    is on every rank.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(6)
    >>> u = mb.scatter(np.array([1.0, 2.0, 4.0, 8.0, 0.0, 3.0]), grid)
    >>> labels = mb.scatter(np.array([1, 1, 0, 2, 2, 2]), grid)
    >>> low, high, where_low, where_high = mb.measure.extrema(u, labels, [1, 2])
    >>> print(low, high, where_low, where_high)
    [1. 0.] [2. 8.] [(0,), (4,)] [(1,), (3,)]
    """
    call = "extrema"
    if has_many(labels, index):
        groups = groups_of(call, input, labels, index)
        (low, first), (high, last) = extremes(groups)
        return groups.given(low), groups.given(high), _places(groups, first), _places(groups, last)
    mask = mask_of(call, input, labels, index)
    low, high = limits.minmax(input, where=mask)
    first, last = limits.argmin(input, where=mask), limits.argmax(input, where=mask)
    return low, high, _place(input, first), _place(input, last)


def median(input: Field, labels: Field | None = None, index: Any = None) -> Any:
    """Return the median of the values of each label.

    Parameters
    ----------
    input : Field
        Values, of bool, integers or floats of up to 8 bytes.
    labels : Field, optional
        Integers on the same grid, such as `label` returns. Without components they hold for all of the values'.
        Default: all cells are one region.
    index : int or array of int, optional
        Which labels. Default: all above 0, together.

    Returns
    -------
    float or array
        What ``np.median`` returns for these values; in the shape of `index` if that is an array. NaN if a value is NaN,
        and of a label that is nowhere.

    Raises
    ------
    UsageError
        On every rank, for fields of different grids, labels that are no integers, an index without
        labels.

    Notes
    -----
    Collective. Labels within one rank are settled there; of those that several ranks have digits are counted, in eight
    all-reduces of 2 KiB for each of them, and no value leaves its rank. Two passes through the owned cells, and 8
    bytes for each that has one of the labels; the result is on every rank.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(6)
    >>> u = mb.scatter(np.array([1.0, 2.0, 4.0, 8.0, 0.0, 3.0]), grid)
    >>> labels = mb.scatter(np.array([1, 1, 0, 2, 2, 2]), grid)
    >>> print(mb.measure.median(u, labels, [1, 2, 3]))
    [1.5 3.  nan]
    """
    if labels is not None and index is not None and not np.ndim(index):
        return median(input, labels, [index])[0]
    return reduced("median", input, labels, index, quantiles.median, medians)
