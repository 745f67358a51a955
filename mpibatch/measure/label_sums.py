"""Sums, means, variances, centers and histograms by label, with scipy.ndimage's names and order of arguments.

See `_groups.groups` for what `labels` and `index` choose. Each result is exact, and rounded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.measure._engine.power_sums import all_powers, power_sums
from mpibatch.measure._groups.groups import groups_of, has_many, mask_of, reduced
from mpibatch.measure._groups.sums import centers, histograms, quotients
from mpibatch.reduce import bin_counts, moments, totals
from mpibatch.reduce.operands import check_dtype
from mpibatch.reduce.slot_sums import sums

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["center_of_mass", "histogram", "mean", "standard_deviation", "sum_labels", "variance"]


def sum_labels(input: Field, labels: Field | None = None, index: Any = None) -> Any:
    """Return the sum of the values of each label.

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
    float, int or array
        The exact sum, rounded once: a float, an int of bool and integers; f8 in the shape of `index` if it is an array.

    Raises
    ------
    UsageError
        On every rank, for fields of different grids, labels that are no integers, an index without
        labels.

    Notes
    -----
    Collective, with one pass through the owned cells. Of an array of labels each rank has a row of 56 bytes for each
    label; halves of the rows are exchanged, in as many steps as the number of ranks has binary digits, and the result
    is on every rank.
    Not scipy's last bits: those of the exact sum, as `mpibatch.sum`. A label that is nowhere has the sum 0.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(6)
    >>> u = mb.scatter(np.array([1.0, 2.0, 4.0, 8.0, 0.0, 3.0]), grid)
    >>> labels = mb.scatter(np.array([1, 1, 0, 2, 2, 2]), grid)
    >>> print(mb.measure.sum_labels(u, labels, [1, 2]), mb.measure.sum_labels(u, labels, 1))
    [ 3. 11.] 3.0
    """
    return reduced("sum_labels", input, labels, index, totals.sum, lambda groups: sums(groups, "sum"))


def mean(input: Field, labels: Field | None = None, index: Any = None) -> Any:
    """Return the mean of the values of each label.

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
        The exact mean, rounded once; f8 in the shape of `index` if it is an array. NaN of a label that is nowhere.

    Raises
    ------
    UsageError
        On every rank, for fields of different grids, labels that are no integers, an index without
        labels.

    Notes
    -----
    Collective, with one pass through the owned cells. Of an array of labels each rank has a row of 56 bytes for each
    label; halves of the rows are exchanged, in as many steps as the number of ranks has binary digits, and the result
    is on every rank.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(6)
    >>> u = mb.scatter(np.array([1.0, 2.0, 4.0, 8.0, 0.0, 3.0]), grid)
    >>> labels = mb.scatter(np.array([1, 1, 0, 2, 2, 2]), grid)
    >>> print(mb.measure.mean(u, labels, [1, 2]))
    [1.5        3.66666667]
    """
    return reduced("mean", input, labels, index, totals.mean, lambda groups: sums(groups, "mean"))


def variance(input: Field, labels: Field | None = None, index: Any = None) -> Any:
    """Return the variance of the values of each label.

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
        The exact variance, rounded once: ``statistics.pvariance``. In the shape of `index` if that is an array. NaN
        of a label that is nowhere.

    Raises
    ------
    UsageError
        On every rank, for fields of different grids, labels that are no integers, an index without
        labels.

    Notes
    -----
    Collective, with one pass through the owned cells. Of an array of labels each rank has a row of 88 bytes for each
    label; halves of the rows are exchanged, in as many steps as the number of ranks has binary digits, and the result
    is on every rank.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(6)
    >>> u = mb.scatter(np.array([1.0, 2.0, 4.0, 8.0, 0.0, 3.0]), grid)
    >>> labels = mb.scatter(np.array([1, 1, 0, 2, 2, 2]), grid)
    >>> print(mb.measure.variance(u, labels, [1, 2]))
    [ 0.25       10.88888889]
    """
    return reduced("variance", input, labels, index, moments.var, lambda groups: sums(groups, "var"))


def standard_deviation(input: Field, labels: Field | None = None, index: Any = None) -> Any:
    """Return the standard deviation of the values of each label.

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
        The root of the exact variance, rounded once. In the shape of `index` if that is an array. NaN of a label
        that is nowhere.

    Raises
    ------
    UsageError
        On every rank, for fields of different grids, labels that are no integers, an index without
        labels.

    Notes
    -----
    Collective, with one pass through the owned cells. Of an array of labels each rank has a row of 88 bytes for each
    label; halves of the rows are exchanged, in as many steps as the number of ranks has binary digits, and the result
    is on every rank.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(6)
    >>> u = mb.scatter(np.array([1.0, 2.0, 4.0, 8.0, 0.0, 3.0]), grid)
    >>> labels = mb.scatter(np.array([1, 1, 0, 2, 2, 2]), grid)
    >>> print(mb.measure.standard_deviation(u, labels, 1))
    0.5
    """
    return reduced("standard_deviation", input, labels, index, moments.std, lambda groups: sums(groups, "std"))


def center_of_mass(input: Field, labels: Field | None = None, index: Any = None) -> Any:
    """Return the center of mass of each label: the mean of the coordinates, weighted by the values.

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
    tuple of float, or list of them
        Global coordinates, each an exact quotient, rounded once. NaN of a label that is nowhere, or has a NaN.

    Raises
    ------
    UsageError
        On every rank, for fields of different grids, labels that are no integers, an index without
        labels.

    Notes
    -----
    Collective, with one pass through the owned cells. Of an array of labels each rank has a row for each label, of
    120 bytes in 2-D; halves of the rows are exchanged, in as many steps as the number of ranks has binary digits, and
    the result is on every rank.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(6)
    >>> u = mb.scatter(np.array([1.0, 2.0, 4.0, 8.0, 0.0, 3.0]), grid)
    >>> labels = mb.scatter(np.array([1, 1, 0, 2, 2, 2]), grid)
    >>> mb.measure.center_of_mass(u, labels, 1)
    (0.6666666666666666,)
    """
    call = "center_of_mass"
    if labels is not None and index is not None:
        groups = groups_of(call, input, labels, index)
        rows = [tuple(row) for row in centers(groups)[groups.order].tolist()]
        return rows if np.ndim(index) else rows[0]
    mask = mask_of(call, input, labels, index)
    if mask is not None:
        return tuple(centers(groups_of(call, input, mask, 1))[0].tolist())
    check_dtype(input, call)
    powers = power_sums(
        input, all_powers(input.ndim, 1, 1), f"{call} of a field of shape {input.shape} and dtype {input.dtype}"
    )
    # The powers are in ascending order, that of the last axis first.
    mass, *others = powers.values()
    return tuple(quotients([mass, *reversed(others)]))


def histogram(input: Field, min: float, max: float, bins: int, labels: Field | None = None, index: Any = None) -> Any:
    """Return the histogram of the values of each label.

    Parameters
    ----------
    input : Field
        Values, of bool, integers or floats of up to 8 bytes.
    min, max : float
        The least and the greatest edge.
    bins : int
        Number of bins of equal width.
    labels : Field, optional
        Integers on the same grid, such as `label` returns. Without components they hold for all of the values'.
        Default: all cells are one region.
    index : int or array of int, optional
        Which labels. Default: all above 0, together.

    Returns
    -------
    array of int64
        Counts; of an array of labels in its shape, with the bins as a last axis.

    Raises
    ------
    UsageError
        On every rank, for fields of different grids, labels that are no integers, an index without labels, and edges
        that NumPy refuses.

    Notes
    -----
    Collective: an all-reduce of 2 KiB, which settles that all ranks ask for the same, and one of the result. What is
    outside the edges, and NaN, is not counted.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(6)
    >>> u = mb.scatter(np.array([1.0, 2.0, 4.0, 8.0, 0.0, 3.0]), grid)
    >>> labels = mb.scatter(np.array([1, 1, 0, 2, 2, 2]), grid)
    >>> print(mb.measure.histogram(u, 0, 8, 4, labels, [1, 2]))
    [[1 1 0 0]
     [1 1 0 1]]
    """
    call = "histogram"
    try:
        edges = np.linspace(min, max, bins + 1)
    except (TypeError, ValueError):
        edges = np.empty(0)
    if edges.ndim != 1 or edges.size < 2 or not np.isfinite(edges).all() or min > max:
        raise UsageError(
            f"{call} by label with min={min!r}, max={max!r}, bins={bins!r} is not valid; give finite numbers in "
            "ascending order, and a positive number of bins"
        )
    if has_many(labels, index):
        groups = groups_of(f"{call} with min={min}, max={max}, bins={bins}", input, labels, index)
        return groups.given(histograms(groups, edges))
    return bin_counts.histogram(input, edges, where=mask_of(call, input, labels, index))[0]
