"""Raw moments of a whole field: exact sums of its elements times powers of their global indices.

Rows along the last axis are summed first, for each power of the last index, in four doubles each; the few rows for
which these are not enough, element by element. What is known of the rows is then multiplied by powers of the other
indices, and added up as integers, which all ranks exchange.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.reduce.exact_sums import PRODUCT_UNIT, product_parts, product_total
from mpibatch.reduce.operands import add_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.fields.field import Field

__all__ = ["Powers", "all_powers", "power_sums"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Powers = tuple[int, ...]  # of the index along each axis

# Magnitudes whose products with whole numbers are exact, as bits; and whole numbers that f8 holds.
LIMITS = (1023 - 900) << 52, (1023 + 800) << 52
EXACT = 1 << 53
# Elements that are looked at together, at least a row of them.
CHUNK = 1 << 22


def power_sums(u: Field, powers: list[Powers], text: str) -> dict[Powers, float | Fraction]:
    """Return the exact sum of the elements times these powers of their indices; else NaN or an infinity. Collective."""
    nothing = np.empty(0)
    width = product_parts(nothing, nothing).size
    with phase("compute"):
        mine = np.zeros((len(powers), width), np.int64)
        for start, rows in _chunks(u.owned):
            _add(rows, [a + b for a, b in zip(_start(u), start, strict=True)], u.dtype, powers, mine)
    whole = add_up(u.grid.comm, mine.reshape(-1), text).reshape(mine.shape)
    sums: dict[Powers, float | Fraction] = {}
    for key, parts in zip(powers, whole, strict=True):
        special, number = product_total(parts)
        sums[key] = Fraction(number, 1 << PRODUCT_UNIT) if special is None else special
    return sums


def _start(u: Field) -> list[int]:
    return [*u.box.start, *(0 for _ in u.components)]


def _chunks(array: Array) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Yield (index of the first element, part) of an array, cut along its first axis. Local."""
    if not array.size:
        return
    if array.ndim == 1:
        yield (0,), array[np.newaxis]
        return
    step = max(1, CHUNK // math.prod(array.shape[1:]))
    for first in range(0, len(array), step):
        yield (first, *(0 for _ in array.shape[1:])), array[first : first + step]


def _add(part: Array, start: list[int], dtype: np.dtype[Any], powers: list[Powers], totals: Ints) -> None:
    """Add the products of a part, whose first element has the index `start`, to the totals. Local."""
    from mpibatch.measure._loops import power_sums as loops
    from mpibatch.reduce._loops.states import LEVELS, SQUARES, SUMS, WIDE
    from mpibatch.reduce._loops.tiles import TILE

    length = part.shape[-1]
    rows = np.ascontiguousarray(part).reshape(-1, length)
    values = rows.astype("f8", copy=False)
    values.flags.writeable = False  # one type for the compiler, whether it was copied or not
    order = max(key[-1] for key in powers)
    last = np.arange(start[-1], start[-1] + length)
    fits = (start[-1] + length) ** order < EXACT
    table = np.zeros((order, length + TILE))
    if fits:
        table[:, :length] = last ** np.arange(1, order + 1)[:, np.newaxis]
    state = np.zeros((SQUARES + LEVELS * order, len(rows)))
    if fits:
        loops.add_rows(values, table, LIMITS, state)
    else:
        state[WIDE] = 1.0
    if dtype.kind in "iu" and dtype.itemsize == 8:
        state[WIDE] += np.any(np.abs(values) >= EXACT, axis=1)
    wide = np.flatnonzero(state[WIDE])
    state[:, wide] = 0.0
    outer = [np.arange(s, s + n) for s, n in zip(start[:-1], part.shape, strict=False)]
    places = [axis.reshape(-1) for axis in np.meshgrid(*outer, indexing="ij")]
    for total, key in zip(totals, powers, strict=True):
        first = SQUARES + LEVELS * (key[-1] - 1) if key[-1] else SUMS
        weights = _weights(places, key[:-1])
        for level in range(first, first + LEVELS):
            if state[level].any():
                for factor, limb in weights:
                    _add_shifted(total, product_parts(state[level], factor), limb)
        if wide.size:
            along = [axis[wide][:, np.newaxis] for axis in places]
            every = [*along, last[np.newaxis]]
            for factor, limb in _weights(every, key):
                _add_shifted(total, product_parts(rows[wide], factor), limb)


def _weights(indices: list[Ints], powers: Powers) -> list[tuple[Array, int]]:
    """Return the product of powers of indices as arrays of f8, each with a power of 2**32: it is their sum. Local."""
    most = math.prod((int(axis.max(initial=0)) or 1) ** p for axis, p in zip(indices, powers, strict=True))
    # Powers of floats need not be exact, even where they are whole numbers that a float holds.
    dtype: Any = np.int64 if most < EXACT else object
    product = np.ones((), dtype)
    for axis, p in zip(indices, powers, strict=True):
        product = np.asarray(product * axis.astype(dtype) ** p)
    if most < EXACT:
        return [(product.astype("f8"), 0)]
    limbs = range((most.bit_length() + 31) // 32)
    return [(((product >> (32 * limb)) & 0xFFFFFFFF).astype("f8"), limb) for limb in limbs]


def _add_shifted(total: Ints, parts: Ints, limb: int) -> None:
    """Add parts of a product, times 2**(32 limb). Local."""
    from mpibatch.reduce._loops.products import LIMBS

    total[LIMBS:] += parts[LIMBS:]
    total[limb:LIMBS] += parts[: LIMBS - limb]
    if limb:
        # What lies above is nothing but the sign.
        total[LIMBS - 1] += (1 << 32) * (-1 if parts[LIMBS - 1] < 0 else 0)


def all_powers(ndim: int, order: int, most: int | None = None) -> list[Powers]:
    """Return powers up to an order along each axis, and up to `most` in all. Local."""
    every = itertools.product(range(order + 1), repeat=ndim)
    return [key for key in every if most is None or sum(key) <= most]
