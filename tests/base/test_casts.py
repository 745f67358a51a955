"""Casts whose result does not depend on where in an array a cell stands."""

from __future__ import annotations

import math

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.casts import cast
from mpibatch.base.errors import UsageError

INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
VALUES = [
    0.0, -0.0, 1.5, -1.5, 127.0, 128.0, -129.0, 255.9, 256.0, 300.0, -40000.0, 65535.0, 65536.0, 2.0**31 - 1, 2.0**31,
    -(2.0**31), -(2.0**31) - 0.5, -(2.0**31) - 1, 2.0**32, 2.0**53 + 2, 2.0**63, -(2.0**63), 2.0**63 + 4096, 2.0**64,
    1e30, -1e30, math.inf, -math.inf, math.nan,
]  # fmt: skip


def one(value: float, dtype: str) -> int:
    """The definition, for one value, in Python's integers."""
    target = np.dtype(dtype)
    bits, is_unsigned = 8 * target.itemsize, target.kind == "u"
    is_finite = math.isfinite(value)
    if dtype == "u8" and is_finite and value >= 2.0**63:
        whole = int(value) - 2**63
        return 2**63 + whole if whole < 2**63 else 0
    if dtype == "u8" and value == math.inf:
        return 0
    wide = 64 if bits == 64 or dtype == "u4" else 32
    whole = int(value) if is_finite else 2**wide
    if not -(2 ** (wide - 1)) <= whole < 2 ** (wide - 1):
        whole = -(2 ** (wide - 1))
    whole %= 2**bits
    return whole if is_unsigned or whole < 2 ** (bits - 1) else whole - 2**bits


@np.errstate(all="ignore")
@pytest.mark.parametrize("source", ["f2", "f4", "f8"])
@pytest.mark.parametrize("target", INTEGERS)
def test_a_cast_is_the_same_in_every_cell(source: str, target: str) -> None:
    pool = np.array(VALUES).astype(source)
    expected = np.array([one(float(value), target) for value in pool], target)
    for number, value in enumerate(pool):
        for length in (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 65):
            assert (cast(np.full(length, value), target) == expected[number]).all(), (value, length)
    for first in range(17):
        for step in (1, 2):
            part = np.tile(pool, 3)[first::step]
            np.testing.assert_array_equal(cast(part, target), np.tile(expected, 3)[first::step])


@np.errstate(all="ignore")
@pytest.mark.parametrize("target", INTEGERS)
def test_filters_cast_as_fields_do(target: str) -> None:
    u = mb.scatter(np.tile(VALUES, 5), mb.Grid(5 * len(VALUES)))
    filtered = mb.filters.correlate1d(u, [1.0], output=target)
    np.testing.assert_array_equal(filtered.owned, u.astype(target).owned)


@pytest.mark.parametrize("source", ["?", "i8", "u8", "f8", "c16"])
def test_other_casts_are_numpys(source: str) -> None:
    values = np.arange(40).astype(source)
    for target in ["?", *INTEGERS, "f2", "f4", "f8", "c8", "c16"]:
        if source == "c16" and np.dtype(target).kind in "iuf":
            with pytest.raises(UsageError, match="no imaginary part"):
                cast(values, target)
        else:
            np.testing.assert_array_equal(cast(values, target), values.astype(target))


def test_ufuncs_that_would_leave_it_to_numpy_are_refused() -> None:
    u = mb.Grid((4, 5)).full(1.5)
    w = u.like("u1")
    with pytest.raises(UsageError, match=r"cast with u\.astype"):
        np.add(u, 1, out=w, casting="unsafe")
    with pytest.raises(UsageError, match="leaves cells undefined"):
        np.add(u, 1, where=u > 1)
    v = u.copy()
    np.add(u, 1, out=v, where=u > 2)
    assert (v.owned == 1.5).all()
