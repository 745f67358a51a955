"""What filters count: operations and bytes of each cell, under the name that was called."""

from __future__ import annotations

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base import tally


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    tally.reset()


def counts() -> set[tuple[str, int, int, int, int]]:
    return {(work.name, work.flops, work.bytes, work.calls, work.cells) for work in tally.works()}


def test_passes_windows_and_ranks_are_counted() -> None:
    u = mb.Grid((6, 9)).from_function(lambda y, x: y * x).astype("f4")
    mb.filters.gaussian_filter(u, 1, radius=2)
    mb.filters.gaussian_filter(u, 1, radius=2, output=mb.Field(u.grid, "f4"))
    mb.filters.correlate(u, np.ones((2, 3)), output="f8")
    mb.filters.minimum_filter(u, 3)
    # Two pairs that share a weight, and the one between: 3 * 2 + 1; two axes, two calls.
    assert counts() == {
        ("gaussian_filter", 7, 8, 4, 4 * 54), ("correlate", 11, 12, 1, 54), ("minimum_filter", 3, 8, 2, 2 * 54)
    }  # fmt: skip
    assert all(work.seconds > 0 for work in tally.works())


def test_what_a_filter_calls_is_counted_as_its_own_and_components_are_cells() -> None:
    u = mb.Grid((6, 9)).from_function(lambda y, x: y * x).astype("f4")
    mb.filters.gaussian_gradient_magnitude(u, 1)
    assert {name for name, *_ in counts()} == {"gaussian_gradient_magnitude"}
    tally.reset()
    colored = mb.Field(u.grid, "f4", components=(3,))
    mb.filters.uniform_filter1d(colored, 3)
    assert counts() == {("uniform_filter1d", 12, 24, 1, 54)}
    with pytest.raises(mb.UsageError):
        mb.filters.sobel(u, 7)
    mb.filters.median_filter(u, 3)
    assert "median_filter" in {name for name, *_ in counts()}
