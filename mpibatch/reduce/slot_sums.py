"""Sums of elements in any order, each for the slot it belongs to: a label, a number, or a bin. Each is rounded once.

A slot's sums are kept in four doubles each; where these are not enough, its elements are summed again in words. A rank
has a row for each slot. Tables are merged by halving among all ranks (see `axes`), and what is computed of a share of
the rows is then made known to all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.reduce.arrays import together
from mpibatch.reduce.axes import merge_halves, spread_halves
from mpibatch.reduce.lines.sums import BATCH, Kind, finish, finish_exactly, words_of
from mpibatch.reduce.operands import Operand, add_up, check_dtype, check_same_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpibatch.fields.field import Field

__all__ = ["Slots", "Weights", "check_weights", "limits_of", "merge_states", "no_states", "sums", "values_of"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

# Biased exponents of the magnitudes whose sums and squares are exact; and of the integers that are exact in f8.
SUM_LIMITS = 0, (1023 + 900) << 52
SQUARE_LIMITS = (1023 - 450) << 52, (1023 + 450) << 52
EXACT = (1023 + 53) << 52


class Slots(ABC):
    """Elements of a Field, and which slot each belongs to.

    Attributes
    ----------
    u : the field.
    text : what is asked for, in words.
    count : how many slots there are.
    """

    u: Field
    text: str
    count: int

    @abstractmethod
    def chunks(self) -> Iterator[tuple[int, Array, Ints]]:
        """Yield (flat local index of the first, values, slots), a buffer at a time that the next overwrites. Local."""

    def float_chunks(self) -> Iterator[tuple[int, Array, Ints]]:
        """Yield what `chunks` does, the values as f8, and read-only. Local."""
        for start, values, slots in self.chunks():
            floats = values.astype("f8", copy=False)
            floats.flags.writeable = False  # one type for the compiler, whether it was copied or not
            yield start, floats, slots

    def merged(self, state: Array, merge: Callable[[Array, Array], None]) -> Array:
        """Return this rank's share of the columns of a table, merged with those of all ranks. Collective."""
        comm = self.u.grid.comm
        if comm.size == 1:
            return state
        with REDUCTION:
            return merge_halves(comm, comm.size, comm.rank, lambda index: index, state, merge)

    def share_all(self, results: Array) -> Array:
        """Return the results of all shares, a row for each slot, on every rank. Collective."""
        comm = self.u.grid.comm
        if comm.size == 1:
            return results
        with REDUCTION:
            return spread_halves(comm, comm.size, comm.rank, lambda index: index, self.count, results)


def sums(slots: Slots, kind: Kind) -> Array:
    """Return the sum, mean, variance or its root of each slot, on every rank. Collective."""
    from mpibatch.reduce._loops import slots as loops
    from mpibatch.reduce._loops import states

    has_squares = kind in ("var", "std")
    state = no_states(slots, states.COLUMNS if has_squares else states.SQUARES)
    limits = limits_of(slots, SQUARE_LIMITS if has_squares else SUM_LIMITS)
    with phase("compute"):
        for _, values, at in slots.float_chunks():
            loops.add_values(values, at, limits, has_squares, state)
    state = merge_states(slots, state)
    with phase("compute"):
        results = finish(state, kind, 0)
    results, is_wide = slots.share_all(results), slots.share_all(state[states.WIDE]) > 0
    if is_wide.any():
        names = np.flatnonzero(is_wide)
        for first in range(0, names.size, BATCH):
            some = names[first : first + BATCH]
            results[some] = _exact_sums(slots, some, kind, has_squares=has_squares)
    return results


def limits_of(slots: Slots, limits: tuple[int, int]) -> tuple[int, int]:
    """Return limits below which integers of 8 bytes are exact in f8, too. Local."""
    has_wide_integers = slots.u.dtype.kind in "iu" and slots.u.dtype.itemsize == 8
    return limits[0], min(limits[1], EXACT) if has_wide_integers else limits[1]


def no_states(slots: Slots, columns: int) -> Array:
    """Return states of no elements, a row for each slot. Local."""
    from mpibatch.reduce._loops import states

    state = np.zeros((slots.count, columns))
    state[:, states.SUMS] = -0.0
    return state


def merge_states(slots: Slots, state: Array) -> Array:
    """Return this rank's share of the states, a column for each slot. Collective."""
    from mpibatch.reduce._loops import states

    return np.ascontiguousarray(slots.merged(np.ascontiguousarray(state.T), states.merge))


def values_of(slots: Slots, names: Ints) -> list[tuple[Array, Ints]]:
    """Return this rank's values of some slots, and their flat local indices, slot by slot. Local."""
    which = np.full(slots.count, -1, np.int64)
    which[names] = np.arange(names.size)
    kept: list[tuple[Array, Ints, Ints]] = []
    for start, values, places in slots.chunks():
        place = np.where(places >= 0, which[places], -1)
        at = np.flatnonzero(place >= 0)
        kept.append((values[at], place[at], start + at))
    values, place, index = (
        (np.concatenate(column) for column in zip(*kept, strict=True))
        if kept
        else (np.empty(0, slots.u.dtype), np.empty(0, np.int64), np.empty(0, np.int64))
    )
    order = np.argsort(place, kind="stable")
    cuts = np.searchsorted(place[order], np.arange(1, names.size))
    return list(zip(np.split(values[order], cuts), np.split(index[order], cuts), strict=True))


def _exact_sums(slots: Slots, names: Ints, kind: Kind, *, has_squares: bool) -> Array:
    with phase("compute"):
        words = np.array([words_of(values, has_squares=has_squares) for values, _ in values_of(slots, names)], np.int64)
    total = add_up(slots.u.grid.comm, words.reshape(-1), slots.text).reshape(words.shape)
    with phase("compute"):
        return finish_exactly(total.T, kind, 0, is_float=slots.u.dtype.kind == "f")


@dataclass(frozen=True)
class Weights(Slots):
    """Weights of some elements, and which slot each of these elements belongs to.

    Attributes
    ----------
    u : the field of weights.
    text : what is asked for, in words.
    count : how many slots there are.
    elements : what the weights are of.
    slots_of : function from elements to slots.
    """

    u: Field
    text: str
    count: int
    elements: Operand
    slots_of: Callable[[Array], Ints]

    def chunks(self) -> Iterator[tuple[int, Array, Ints]]:
        """Yield (0, weights, slots), a buffer at a time that the next overwrites. Local."""
        elements, mask = self.elements.u.owned, self.elements.mask
        if mask is None:
            for part, weights in together(elements, self.u.owned):
                yield 0, weights, self.slots_of(part)
        else:
            for part, weights, chosen in together(elements, self.u.owned, mask):
                yield 0, weights[chosen], self.slots_of(part[chosen])


def check_weights(elements: Operand, weights: Any) -> None:
    """Raise UsageError unless there is a weight for each element. Local."""
    request = f"{elements.request}: weights"
    check_dtype(weights, request)
    check_same_grid(elements.u, weights, request)
    if weights.components != elements.u.components:
        raise UsageError(
            f"{request} with components {weights.components}, of a field with {elements.u.components}; give the same"
        )
