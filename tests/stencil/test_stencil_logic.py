"""`and`, `or` and `not` of truth values and numbers: what Python gives, cell by cell."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.stencil import stencil

if TYPE_CHECKING:
    from collections.abc import Callable

EPS, NONE, ZERO = 0.5, None, 0.0


def reciprocal(u, v):
    return 1.0 / (u[0] or EPS)


def either(u, v):
    return u[0] or v[0]


def both(u, v):
    return u[0] and v[0]


def three(u, v):
    return (u[0] and v[0]) or 7


def compared(u, v):
    return (u[0] > 0 and v[0] > 0) or u[0] < v[0]


def mixed(u, v):
    return (u[0] > 0 and v[0]) or not v[0]


def branch(u, v):
    return 1 if u[0] or not v[0] else v[0] and 3


def known(u, v):
    return (ZERO or 2) * u[0] + (ZERO and v[0]) + (EPS or v[0]) + (NONE or v[0])


KERNELS: list[Callable[..., Any]] = [reciprocal, either, both, three, compared, mixed, branch, known]
VALUES = {"f8": [0.0, -0.0, 1.5, -2.0, np.nan], "f4": [0.0, 2.5], "i4": [0, 3, -1], "u1": [0, 5], "?": [False, True]}


@pytest.mark.parametrize(
    ("kernel", "backend"), [*((kernel, "numpy") for kernel in KERNELS), (reciprocal, "numba"), (three, "numba")]
)
def test_logic_gives_what_python_gives(kernel: Callable[..., Any], backend: str) -> None:
    kinds = itertools.product(VALUES, VALUES) if backend == "numpy" else [("f8", "f8")]
    swept = stencil(backend=backend)(kernel)
    for first, second in kinds:
        pairs = list(itertools.product(VALUES[first], VALUES[second]))
        grid = mb.Grid((len(pairs),))
        u, v = (grid.zeros(dtype) for dtype in (first, second))
        u.owned[...], v.owned[...] = zip(*pairs, strict=True)
        found = swept(u, v)
        oracle = [kernel([u.owned[at].item()], [v.owned[at].item()]) for at in range(len(pairs))]
        np.testing.assert_array_equal(found.owned, np.array(oracle, found.dtype), f"{kernel.__name__} {first} {second}")


def test_types_are_promoted_and_truth_values_stay() -> None:
    grid = mb.Grid((4,))
    kernel = stencil(backend="numpy")(either)
    for a, b in itertools.product(VALUES, VALUES):
        assert kernel(grid.zeros(a), grid.zeros(b)).dtype == np.result_type(a, b)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_field_whose_value_is_not_used_takes_part_in_nothing(backend: str) -> None:
    @stencil(backend=backend)
    def unused(u, v):
        kept = v[1]  # noqa: F841
        return u[0] + u[1]

    grid = mb.Grid((4,))
    u = grid.zeros()
    u.owned[...] = [1.0, 2.0, 3.0, 4.0]
    assert unused.footprint.fields["v"].reads == 0
    np.testing.assert_array_equal(unused(u, grid.zeros(), walls="nearest").owned, [3.0, 5.0, 7.0, 8.0])
    np.testing.assert_array_equal(mb.iterate(unused, u, grid.zeros(), steps=1, walls="nearest").owned, [3, 5, 7, 8])
