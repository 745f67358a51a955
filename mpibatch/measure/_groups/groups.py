"""The cells of each of some labels: which row of a table a cell belongs to, and tables of all ranks made one.

Without `labels` a function is about all elements, without `index` about those whose label is above 0, with one number
about that label, and with an array of numbers about each of them. The first three are the reductions of `mpibatch` with
``where=``; the last makes one pass over the field, whatever the number of labels.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.mpi import mark
from mpibatch.reduce.arrays import CHUNK, pairs
from mpibatch.reduce.operands import agree, check_dtype, check_same_grid
from mpibatch.reduce.slot_sums import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpibatch.fields.field import Field

__all__ = ["Groups", "groups_of", "has_many", "mask_of", "reduced"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

# Labels that lie closer together than this are looked up in a table.
TABLE = 1 << 22
MOST = np.uint64((1 << 63) - 1)


@dataclass(frozen=True)
class Groups(Slots):
    """The cells of some labels.

    Attributes
    ----------
    u : the field of values.
    labels : labels of its cells, an array that broadcasts to them.
    names : the labels that are asked for, in ascending order.
    order : for each place in what the user gave, which of them.
    shape : of what the user gave.
    text : what is asked for, in words.
    count : how many labels are asked for.
    """

    u: Field
    labels: Array
    names: Ints
    order: Ints
    shape: tuple[int, ...]
    text: str
    count: int

    def chunks(self) -> Iterator[tuple[int, Array, Ints]]:
        """Yield (flat local index of the first, values, slots), a buffer at a time that the next overwrites. Local."""
        from mpibatch.measure._loops import groups as loops

        slots = np.empty(CHUNK, np.int64)
        low = int(self.names[0]) if self.names.size else 0
        width = int(self.names[-1]) - low + 1 if self.names.size else 0
        has_table = width <= max(TABLE, 4 * self.names.size)
        table = np.full(width if has_table else 0, -1, np.int64)
        if has_table:
            table[self.names - low] = np.arange(self.names.size)
        for start, values, labels in pairs(self.u.owned, self.labels):
            wide = labels.astype(np.int64)
            if has_table:
                loops.find_slots(wide, low, table, slots)
            else:
                at = np.minimum(np.searchsorted(self.names, wide), self.names.size - 1)
                slots[: wide.size] = np.where(self.names[at] == wide, at, -1)
            if labels.dtype == np.uint64:
                slots[: wide.size][labels > MOST] = -1
            yield start, values, slots[: wide.size]

    def given(self, results: Array) -> Array:
        """Return results in the order in which the user gave the labels. Local."""
        return results[self.order].reshape(self.shape + results.shape[1:])

    def places(self, local: Ints) -> Ints:
        """Return the flat global indices of flat local ones; -1 stays. Local."""
        start = (*self.u.box.start, *(0 for _ in self.u.components))
        whole = local >= 0
        result = np.full(local.shape, -1, np.int64)
        within = np.unravel_index(local[whole], self.u.local_shape) if whole.any() else ()
        if within:
            index = tuple(i + s for i, s in zip(within, start, strict=True))
            result[whole] = np.ravel_multi_index(index, self.u.shape)
        return result


def check_labels(call: str, u: Any, labels: Any) -> Array:
    """Return the labels of the cells of `u` as an array that broadcasts to them, or raise UsageError. Local."""
    check_dtype(u, call)
    check_dtype(labels, f"{call}: labels")
    check_same_grid(u, labels, f"{call}: labels")
    if labels.dtype.kind == "f" or labels.components not in ((), u.components):
        raise UsageError(
            f"{call}: labels of dtype {labels.dtype} and components {labels.components or 'none'}; give integers, with "
            f"the components {u.components or 'none'} of the field, or without"
        )
    missing = u.ndim - labels.ndim
    array: Array = labels.owned
    return array.reshape(array.shape + (1,) * missing) if missing else array


def groups_of(call: str, u: Field, labels: Any, index: Any) -> Groups:
    """Return the cells of each label of an array of them. Collective: 2 KiB."""
    array = check_labels(call, u, labels)
    try:
        given = np.asarray(index)
        if given.dtype.kind not in "biu" and given.size:
            raise TypeError
        named = given.astype(np.int64)
        if np.any(named.astype(object) != given.astype(object)):
            raise TypeError
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{call} with index={index!r}; give integers below 2**63: labels, or arrays of them") from None
    names, order = np.unique(named, return_inverse=True)
    text = (
        f"{call} of a field of shape {u.shape} and dtype {u.dtype}, of {names.size} labels, the first of which are "
        f"{names[:5].tolist()} (number {mark(str(named.tolist()))})"
    )
    agree(u.grid.comm, text)
    return Groups(
        u=u, labels=array, names=names, order=order.reshape(-1), shape=given.shape, text=text, count=names.size
    )


def has_many(labels: Field | None, index: Any) -> bool:
    """Whether a call is about each label of an array. Local."""
    return labels is not None and index is not None and np.ndim(index) > 0


def mask_of(call: str, u: Field, labels: Field | None, index: Any) -> Field | None:
    """Return where the elements are that a call without an array of labels is about. Local."""
    if labels is None:
        if index is not None:
            raise UsageError(f"{call} with index={index!r}, but without labels; give both, or labels alone")
        return None
    check_labels(call, u, labels)
    try:
        name = None if index is None else operator.index(index)
    except TypeError:
        raise UsageError(f"{call} with index={index!r}; give integers: a label, or an array of them") from None
    mask: Field = labels > 0 if name is None else labels == name
    return mask


def reduced(
    call: str,
    u: Field,
    labels: Field | None,
    index: Any,
    of_all: Callable[..., Any],
    of_each: Callable[[Groups], Array],
) -> Any:
    """Return one reduction, or that of each label. Collective."""
    if has_many(labels, index):
        groups = groups_of(call, u, labels, index)
        return groups.given(of_each(groups))
    return of_all(u, where=mask_of(call, u, labels, index))
