"""Types of what kernels compute against those of NumPy's arrays; the differences are those of the docstring."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.stencil import stencil

if TYPE_CHECKING:
    from collections.abc import Callable

TYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def add(u, v):
    return u[0] + v[0]


def times(u, v):
    return u[0] * v[0]


def ratio(u, v):
    return u[0] / v[0]


def less(u, v):
    return u[0] < v[0]


def least(u, v):
    return np.minimum(u[0], v[0])


def length(u, v):
    return np.hypot(u[0], v[0])


def power(u, v):
    return u[0] ** v[0]


@pytest.mark.parametrize("function", [add, times, ratio, less, least, length, power])
def test_types_are_those_of_numpy_but_where_stated(function: Callable[..., Any]) -> None:
    kernel = stencil(backend="numpy")(function)
    grid = mb.Grid((4,))
    for a, b in itertools.product(TYPES, TYPES):
        u, v = grid.zeros(a), grid.zeros(b)
        u.owned[...], v.owned[...] = [1, 0, 1, 1], [1, 1, 1, 1]
        oracle = function(u.owned[None], v.owned[None])
        dtype, is_whole = oracle.dtype, np.result_type(a, b).kind != "f"
        if function in (add, times, least) and a == b == "?":
            dtype, oracle = np.dtype("i8"), function(u.owned[None].astype("i8"), v.owned[None].astype("i8"))
        elif function in (length, power) and is_whole:
            dtype = np.dtype("f8")
        found = kernel(u, v)
        assert found.dtype == dtype, (a, b)
        np.testing.assert_allclose(found.owned.astype("f8"), oracle.astype("f8"), 1e-3)
