"""Labels numbered one after the other, and joined: scikit-image's names, parameters and values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.filters._engine.arguments import whole
from mpibatch.filters._engine.memory import check_memory, largest_block
from mpibatch.measure._engine.census import Census
from mpibatch.measure._engine.rows import fold_rows
from mpibatch.measure._engine.shares import Shares
from mpibatch.mpi import MPI, same
from mpibatch.mpi.prefix import sums_before
from mpibatch.mpi.routes import ask, forward
from mpibatch.segment._engine.arguments import MOST, check_labels, check_together

if TYPE_CHECKING:
    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid

__all__ = ["LabelMap", "join_segmentations", "relabel_sequential"]

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


class LabelMap:
    """Which label becomes which, of which each rank has its share; made by `relabel_sequential`.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Of the ranks that share the labels.
    pairs : ndarray of int64
        Rows (label, new label), each label on one rank alone.
    shares : Shares
        Which rank has the labels of which range.
    dtypes : tuple of dtype
        Of the labels, and of the new ones.

    Attributes
    ----------
    in_values, out_values : ndarray
        This rank's labels, in order, and what they become. Ranks have ranges of the labels in the order of ranks.
    dtype : numpy.dtype
        Of what labels become.

    Notes
    -----
    Collective. A rank has room for the labels of its range, whatever the greatest label is.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(6).from_function(lambda x: np.array([7, 0, 0, 90, 7, 7])[x.astype(int)], "i4")
    >>> new, forward, inverse = segment.relabel_sequential(u)
    >>> mb.gather_all(inverse[new]).tolist()
    [7, 0, 0, 90, 7, 7]
    """

    __slots__ = ("_comm", "_ins", "_outs", "_shares", "dtype", "in_values", "out_values")

    def __init__(
        self, comm: MPI.Intracomm, pairs: Ints, shares: Shares, dtypes: tuple[np.dtype[Any], np.dtype[Any]]
    ) -> None:
        self._comm, self._shares, self.dtype = comm, shares, dtypes[1]
        mine = forward(comm, self._shares.owners(pairs[:, 0]), pairs)
        mine = mine[np.argsort(mine[:, 0], kind="stable")]
        self._ins, self._outs = np.ascontiguousarray(mine[:, 0]), np.ascontiguousarray(mine[:, 1])
        self.in_values, self.out_values = self._ins.astype(dtypes[0]), self._outs.astype(dtypes[1])

    def __getitem__(self, labels: Field) -> Field:
        """Return a field of what the labels become, without a halo; 0 for labels that are not known. Collective."""
        check_labels("a map of labels", labels)
        with timed("compute"):
            census = Census(labels.owned)
        out = labels.like(self.dtype, 0)
        new = self.look_up(census.values)
        with timed("compute"):
            census.put(new, out.owned)
        return out

    def gather(self) -> tuple[Array, Array]:
        """Return all labels, in order, and what they become, on every rank.

        Returns
        -------
        in_values, out_values : ndarray
            As scikit-image's map has them.

        Notes
        -----
        Collective. For maps that every rank has room for.

        Examples
        --------
        >>> import mpibatch as mb
        >>> from mpibatch import segment
        >>> u = mb.Grid(6).from_function(lambda x: 10 * (x // 2), "i4")
        >>> _, forward, _ = segment.relabel_sequential(u)
        >>> print(*forward.gather())
        [ 0 10 20] [0 1 2]
        """
        counts = np.array(self._comm.allgather(len(self._ins)), np.int64)
        results = []
        for part in (self.in_values, self.out_values):
            results.append(np.empty(int(counts.sum()), part.dtype))
            self._comm.Allgatherv(part, [results[-1], counts])
        return results[0], results[1]

    def look_up(self, labels: Ints) -> Ints:
        """Return what labels that this rank has become, 0 for those that are not known.

        Parameters
        ----------
        labels : ndarray of int64
            Of one axis; each rank gives its own.

        Returns
        -------
        ndarray of int64
            A number for each.

        Notes
        -----
        Collective. Each label is asked of the rank that has it in its share.

        Examples
        --------
        >>> import numpy as np
        >>> import mpibatch as mb
        >>> from mpibatch import segment
        >>> u = mb.Grid(6).from_function(lambda x: 10 * (x // 2), "i4")
        >>> _, forward, _ = segment.relabel_sequential(u)
        >>> forward.look_up(np.array([20, 15, 10])).tolist()
        [2, 0, 1]
        """
        is_in = (labels >= self._shares.low) & (labels <= self._shares.high)
        known = labels[is_in]
        result = np.zeros(len(labels), np.int64)
        with timed("halo"):
            result[is_in] = ask(self._comm, self._shares.owners(known), known, self._answer)[:, 0]
        return result

    def _answer(self, keys: Ints) -> Ints:
        """Return what labels of this rank's share become, 0 if they are not known. Local."""
        place = np.minimum(np.searchsorted(self._ins, keys), max(len(self._ins) - 1, 0))
        if not len(self._ins):
            return np.zeros((len(keys), 1), np.int64)
        return np.where(self._ins[place] == keys, self._outs[place], 0).reshape(-1, 1)

    def __repr__(self) -> str:
        return f"LabelMap({len(self._ins)} labels of this rank, to {self.dtype})"


def relabel_sequential(label_field: Field, offset: int = 1) -> tuple[Field, LabelMap, LabelMap]:
    """Return the labels numbered one after the other from `offset` on, in their order; 0 stays 0.

    Parameters
    ----------
    label_field : Field
        Of integers, none negative.
    offset : int, default 1
        The first number, at least 1.

    Returns
    -------
    relabeled : Field
        Of the dtype of `label_field`, or of a larger one if that does not hold the numbers; without a halo.
    forward_map, inverse_map : LabelMap
        From labels to numbers, and back: ``forward_map[label_field]`` and ``inverse_map[relabeled]`` are fields.

    Raises
    ------
    UsageError
        On all ranks: other dtypes, negative labels, or an offset that is not valid.

    Notes
    -----
    Collective. Two passes; each rank's labels travel, once, to the ranks that number them. Each of these has a range of
    the labels. No table is as long as the greatest label. Equal to ``skimage.segmentation.relabel_sequential``.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(7).from_function(lambda x: np.array([1, 1, 5, 5, 8, 99, 42])[x.astype(int)], "i4")
    >>> new, forward, inverse = segment.relabel_sequential(u, offset=5)
    >>> mb.gather_all(new).tolist()
    [5, 5, 6, 6, 7, 9, 8]
    """
    name = "relabel_sequential"
    least, top = check_labels(name, label_field)
    first = whole(name, "offset", offset)
    same(label_field.grid.comm, f"{name} of {label_field.shape} {label_field.dtype} from {first}")
    if first < 1:
        raise UsageError(f"{name}: offset = {first}; give 1 or more: 0 stands for what is in no object")
    with timed("compute"):
        census = Census(label_field.owned)
    numbered = _Numbers(label_field.grid, census, least, top, first)
    dtype = _dtype_of(label_field.dtype, numbered.last)
    out = label_field.like(dtype, 0)
    with timed("compute"):
        census.put(numbered.new, out.owned)
    return out, *numbered.maps(label_field.dtype, dtype)


class _Numbers:
    """The labels of all ranks, numbered in order. Collective to create.

    Attributes
    ----------
    new : the number of each label of the census.
    pairs : labels of this rank's share, and their numbers.
    last : the greatest number.
    """

    def __init__(self, grid: Grid, census: Census, least: int, top: int, offset: int) -> None:
        self._grid = grid
        self._lowest = 0 if least == 0 else offset
        with timed("halo"):
            self._shares = Shares.even(grid.comm, least, top, math.prod(grid.shape), lambda: census.values)
            to = self._shares.owners(census.values)
            mine = fold_rows(forward(grid.comm, to, census.values.reshape(-1, 1), fold_rows))[:, 0]
            chosen = mine != 0
            before, total = sums_before(grid.comm, range(grid.size), np.array([np.count_nonzero(chosen)], np.int64))
            count = int(total[0])
            self.last = offset + count - 1 if count else 0
            if self.last > MOST:
                raise UsageError(
                    f"relabel_sequential: offset = {offset} has too few numbers above it for {count} labels; give "
                    f"an offset of at most {MOST + 1 - count}"
                )
            numbers = np.where(chosen, offset + before + np.cumsum(chosen) - 1, 0)
            self.pairs = np.column_stack([mine, numbers])
            self.new = ask(
                grid.comm, to, census.values, lambda keys: numbers[np.searchsorted(mine, keys)].reshape(-1, 1)
            )[:, 0]

    def maps(self, dtype: np.dtype[Any], new: np.dtype[Any]) -> tuple[LabelMap, LabelMap]:
        """Return the maps from labels to numbers, and back. Collective."""
        comm, back = self._grid.comm, np.ascontiguousarray(self.pairs[:, ::-1])
        lowest = min(self._lowest, self.last)
        with timed("halo"):
            shares = Shares.even(comm, lowest, self.last, math.prod(self._grid.shape), lambda: back[:, 0])
            return LabelMap(comm, self.pairs, self._shares, (dtype, new)), LabelMap(comm, back, shares, (new, dtype))


def _dtype_of(dtype: np.dtype[Any], last: int) -> np.dtype[Any]:
    """Return the dtype of numbers up to `last`, by scikit-image's rule. Local."""
    required = np.min_scalar_type(last)
    return dtype if dtype.itemsize >= required.itemsize and last < np.iinfo(dtype).max else required


def join_segmentations(s1: Field, s2: Field, return_mapping: bool = False) -> Any:
    """Return labels of what is in one object of `s1` and in one of `s2`.

    Parameters
    ----------
    s1, s2 : Field
        Of integers, none negative, on one grid.
    return_mapping : bool, default False
        Whether to return, too, of which labels the new ones are a part.

    Returns
    -------
    j : Field
        The pairs of labels that occur, numbered from 1 in their order; 0 where both are 0. Without a halo.
    map_j_to_s1, map_j_to_s2 : LabelMap
        If asked for: ``map_j_to_s1[j]`` has the values of `s1`.

    Raises
    ------
    UsageError
        On all ranks: other dtypes, negative labels, or other grids.

    Notes
    -----
    Collective; cost as of three times `relabel_sequential`. Equal to ``skimage.segmentation.join_segmentations``, but
    where there the product of the numbers of labels overflows the dtype.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> grid = mb.Grid(6)
    >>> s1 = grid.from_function(lambda x: x > 2, "i4")
    >>> s2 = grid.from_function(lambda x: x % 3, "i4")
    >>> mb.gather_all(segment.join_segmentations(s1, s2)).tolist()
    [0, 1, 2, 3, 4, 5]
    """
    name = "join_segmentations"
    ends = [check_labels(name, s1, "s1")]
    check_together(name, s1, s2, "s2")
    ends.append(check_labels(name, s2, "s2"))
    grid = s1.grid
    same(grid.comm, f"{name} of {s1.shape} {s1.dtype} {s2.dtype}, {bool(return_mapping)}")
    check_memory(grid, name, 2 * 8 * math.prod(largest_block(grid)), "numbers of both", "take more ranks")
    parts, numbered = [], []
    for u, (least, top) in zip((s1, s2), ends, strict=True):
        with timed("compute"):
            census = Census(u.owned)
        numbered.append(_Numbers(grid, census, least, top, 1))
        parts.append(u.like(np.int64, 0))
        with timed("compute"):
            census.put(numbered[-1].new, parts[-1].owned)
    factor = numbered[1].last + 1
    if (numbered[0].last + 1) * factor > MOST:
        raise UsageError(f"{name}: too many labels for pairs of 63 bits; join parts of the domain")
    with timed("compute"):
        pairs = parts[0].owned
        pairs *= factor
        pairs += parts[1].owned
        census = Census(pairs)
    joined = _Numbers(grid, census, 0, (numbered[0].last + 1) * factor - 1, 1)
    dtype = np.result_type(np.result_type(s2.dtype, np.uint8), s1.dtype)
    dtype = _dtype_of(dtype if dtype.kind in "iu" else np.dtype(np.int64), joined.last)
    out = s1.like(dtype, 0)
    with timed("compute"):
        census.put(joined.new, out.owned)
    if not return_mapping:
        return out
    keys, new = joined.pairs[:, 0], joined.pairs[:, 1]
    maps = []
    for u, labels, number in zip((s1, s2), numbered, np.divmod(keys, factor), strict=True):
        _, inverse = labels.maps(u.dtype, np.dtype(np.int64))
        rows = np.column_stack([new, inverse.look_up(np.asarray(number))])
        maps.append(LabelMap(grid.comm, rows, Shares(0, max(joined.last, 0), grid.size), (dtype, u.dtype)))
    return (out, *maps)
