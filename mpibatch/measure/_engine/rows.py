"""Rows of whole numbers about keys: those about one key made one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["ROOM", "fold_rows", "merge_parts", "sum_rows"]

Ints = npt.NDArray[np.int64]

ROOM = 1024  # rows, to begin with


def fold_rows(rows: Ints, *folds: tuple[np.ufunc, slice], keys: int = 1) -> Ints:
    """Return a row for each key, in order. Local.

    Parameters
    ----------
    rows : the first columns are the key.
    folds : make one of several rows in these columns, in any order: np.add, np.maximum. Others are those of some row.
    keys : number of columns of a key.
    """
    rows = rows[np.lexsort(rows[:, keys - 1 :: -1].T) if keys > 1 else np.argsort(rows[:, 0], kind="stable")]
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = (rows[1:, :keys] != rows[:-1, :keys]).any(axis=1)
    starts = np.flatnonzero(is_first)
    if len(starts) == len(rows):
        return rows
    result = rows[starts]
    for fold, columns in folds:
        result[:, columns] = fold.reduceat(rows[:, columns], starts, axis=0)
    return result


def sum_rows(rows: Ints) -> Ints:
    """Return a row for each key, the first column, in order, with the sums of the others. Local."""
    return fold_rows(rows, (np.add, slice(1, None)))


def merge_parts(parts: Iterable[Ints], width: int, merge: Callable[[Ints], Ints]) -> Ints:
    """Return what `merge` makes of parts, without keeping more rows than twice those it makes, and some. Local."""
    rows, later, count = np.empty((0, width), np.int64), [], 0
    for part in parts:
        later.append(part)
        count += len(part)
        if count > max(len(rows), ROOM):
            rows, later, count = merge(np.concatenate([rows, *later])), [], 0
    return merge(np.concatenate([rows, *later]))
