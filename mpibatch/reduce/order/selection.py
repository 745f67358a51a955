"""Order statistics of the elements of a Field, exactly, without sorting and without bringing elements together.

Elements are counted by their leading digit, the counts of all ranks added up, and only those with the digit of a wanted
one are looked at again, for the next digit: at most four rounds of 16 bits, the first of them through all cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.reduce.operands import Operand, add_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["order_statistics"]

Array = npt.NDArray[Any]
Keys = npt.NDArray[np.uint64]

# Bits of a digit: counts of 16 take 512 KiB, and few elements are not worth that.
DIGIT, SHORT_DIGIT, FEW = 16, 8, 1 << 18
# Digits that are counted with one all-reduce.
TABLES = 8


@dataclass(frozen=True, slots=True)
class _KeyView:
    """How the values of a dtype are seen as keys."""

    dtype: np.dtype[Any]
    kind: int
    bits: int

    @property
    def sign(self) -> np.uint64:
        return np.uint64(1 << (self.bits - 1))

    @property
    def infinity(self) -> np.uint64:
        unsigned = np.dtype(f"u{self.bits // 8}")
        return np.uint64(np.array(np.inf, self.dtype).view(unsigned)) if self.dtype.kind == "f" else np.uint64(0)

    def view(self, part: Array) -> Array:
        part = np.ascontiguousarray(part).view(f"u{self.bits // 8}")
        part.flags.writeable = False  # one type for the compiler
        return part

    def value(self, key: int) -> Any:
        sign = int(self.sign)
        if self.dtype.kind == "f":
            key = key ^ sign if key & sign else ~key & (2 * sign - 1)
        elif self.dtype.kind == "i":
            key ^= sign
        return np.array(key, f"u{self.bits // 8}").view(self.dtype)[()]


def order_statistics(
    op: Operand, places: Callable[[int], Iterable[int]], text: str
) -> tuple[int, bool, dict[int, Any]]:
    """Return the number of elements, whether there are NaN among all, and the elements at places in their order.

    Collective. `places` gets the number of elements and returns which are wanted, from 0 on; `text` says in words what
    is asked for. NaN are not among the elements; where there are some that are not to be left out, none are selected.
    """
    from mpibatch.reduce._loops import digits as loops

    dtype = np.dtype("u1") if op.u.dtype.kind == "b" else op.u.dtype
    kind = {"f": loops.FLOAT, "i": loops.SIGNED}.get(dtype.kind, loops.UNSIGNED)
    code = _KeyView(dtype, kind, 8 * dtype.itemsize)
    digit = SHORT_DIGIT if math.prod(op.u.shape) < FEW else min(DIGIT, code.bits)
    shift = code.bits - digit
    mine, nans = np.zeros(1 << digit, np.int64), 0
    with phase("compute"):
        for part in op.flat_parts():
            nans += loops.count_first_digits(code.view(part), kind, code.sign, code.infinity, np.uint64(shift), mine)
    total = add_up(op.u.grid.comm, np.append(mine, nans), text)
    counts, has_nan = total[:-1], bool(total[-1])
    number = int(counts.sum())
    sought = sorted(set(places(number))) if number and (op.skips_nan or not has_nan) else []
    if not sought:
        return number, has_nan, {}
    # Of each wanted element: the leading digits, and its place among the elements that share them.
    rests = _narrow([0], {0: [(place, place) for place in sought]}, counts[np.newaxis], digit)
    with phase("compute"):
        kept = _first_kept(op, code, shift, sorted(rests), mine)
    while shift:
        shift -= digit
        rests, kept = _round(op, rests, kept, shift, digit, text)
    return number, has_nan, {place: code.value(key) for key, group in rests.items() for place, _ in group}


Rests = dict[int, list[tuple[int, int]]]  # leading digits: (place among all, place among those that share them)


def _narrow(prefixes: list[int], rests: Rests, counts: npt.NDArray[np.int64], digit: int) -> Rests:
    """Return the digits one further, given how often each occurs behind each prefix. Local."""
    narrowed: Rests = {}
    for prefix, row in zip(prefixes, counts, strict=True):
        ends = np.cumsum(row)
        for place, rest in rests[prefix]:
            following = int(np.searchsorted(ends, rest, side="right"))
            before = int(ends[following - 1]) if following else 0
            narrowed.setdefault((prefix << digit) | following, []).append((place, rest - before))
    return narrowed


def _first_kept(
    op: Operand, code: _KeyView, shift: int, prefixes: list[int], counts: npt.NDArray[np.int64]
) -> dict[int, Keys]:
    """Return this rank's keys with each of some leading digits, whose counts are known. Local."""
    from mpibatch.reduce._loops import digits as loops

    if not shift:
        return {prefix: np.empty(0, np.uint64) for prefix in prefixes}
    slots = np.full(counts.size, -1, np.int64)
    slots[prefixes] = np.arange(len(prefixes))
    ends = np.concatenate([[0], np.cumsum(counts[prefixes])])
    out, cursor = np.empty(int(ends[-1]), np.uint64), ends[:-1].copy()
    for part in op.flat_parts():
        bits = code.view(part)
        loops.keep_first(bits, code.kind, code.sign, code.infinity, np.uint64(shift), slots, out, cursor)
    return {prefix: out[ends[i] : ends[i + 1]] for i, prefix in enumerate(prefixes)}


def _round(
    op: Operand, rests: Rests, kept: dict[int, Keys], shift: int, digit: int, text: str
) -> tuple[Rests, dict[int, Keys]]:
    """Find the next digit behind each prefix; return the longer ones, and this rank's keys with them. Collective."""
    from mpibatch.reduce._loops import digits as loops

    mask, at = np.uint64((1 << digit) - 1), np.uint64(shift)
    narrowed: Rests = {}
    fewer: dict[int, Keys] = {}
    prefixes = sorted(rests)
    for first in range(0, len(prefixes), TABLES):
        some = prefixes[first : first + TABLES]
        mine = np.zeros((len(some), 1 << digit), np.int64)
        with phase("compute"):
            for row, prefix in zip(mine, some, strict=True):
                loops.count_digits(kept[prefix], at, mask, row)
        counts = add_up(op.u.grid.comm, mine.reshape(-1), text).reshape(mine.shape)
        longer = _narrow(some, rests, counts, digit)
        with phase("compute"):
            for key in longer if shift else ():
                following = key & int(mask)
                out = np.empty(int(mine[some.index(key >> digit), following]), np.uint64)
                loops.keep(kept[key >> digit], at, mask, np.uint64(following), out)
                fewer[key] = out
        narrowed |= longer
    return narrowed, fewer
