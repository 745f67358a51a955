"""Results in fields that exist: as without, whatever the field's halo, and also over the input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mpibatch as mb

pytestmark = pytest.mark.mpi

GIVEN: dict[str, dict[str, Any]] = {
    "gaussian_filter": {"sigma": 1},
    "gaussian_gradient_magnitude": {"sigma": 1},
    "correlate": {"weights": [[1, 2, 0], [0, 1, 3], [1, 0, 1]]},
    "uniform_filter": {"size": 3},
    "median_filter": {"size": 3},
    "minimum_filter": {"size": 3},
    "white_tophat": {"size": 3},
    "morphological_gradient": {"size": 3},
    "laplace": {},
    "fourier_gaussian": {"sigma": 1},
}


@pytest.mark.parametrize("name", GIVEN)
def test_results_in_given_fields(name: str) -> None:
    u = mb.Grid((9, 7)).from_function(lambda y, x: (y * 5 + x * 3) % 7)
    run, options = getattr(mb.filters, name), GIVEN[name]
    alone = run(u, **options)
    for output in (alone.like(), alone.like(halo=2), u.copy(), u):
        if output is not u:
            output.padded[...] = 77.0
        assert run(u, **options, output=output) is output
        np.testing.assert_array_equal(output.owned, alone.owned)


def test_rounding_of_passes_is_that_of_the_output() -> None:
    u = mb.Grid((9, 7)).from_function(lambda y, x: (y * 5 + x * 3) % 7)
    output = mb.Field(u.grid, "i4")
    mb.filters.gaussian_filter(u, 1, 0, output)
    np.testing.assert_array_equal(output.owned, mb.filters.gaussian_filter(u, 1, output="i4").owned)
    with pytest.raises(mb.UsageError, match="frozen"):
        mb.filters.laplace(u, output.frozen())
    with pytest.raises(mb.UsageError, match="own the same cells"):
        mb.filters.laplace(u, u.like(components=(2,)))


def test_walls_are_those_of_the_input() -> None:
    """Whatever those of the grid of the output, which only owns the same cells."""
    grids = mb.Grid((9, 7), periodic=True), mb.Grid((9, 7))
    for of, others in (grids, grids[::-1]):
        u = of.from_function(lambda y, x: (y * 5 + x * 3) % 7)
        alone, output = mb.filters.gaussian_filter(u, 1), others.zeros()
        assert mb.filters.gaussian_filter(u, 1, output=output) is output
        np.testing.assert_array_equal(output.owned, alone.owned)


def test_nothing_is_written_by_a_call_that_is_refused() -> None:
    u = mb.Grid((9, 7)).from_function(lambda y, x: (y * 5 + x * 3) % 7)
    output = mb.Field(u.grid, "?")
    output.owned[...] = False
    for tophat in (mb.filters.white_tophat, mb.filters.black_tophat):
        with pytest.raises(mb.UsageError, match="bool holds no differences"):
            tophat(u, 3, output=output)
    assert not output.owned.any()
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'u'"):
        mb.filters.gaussian_filter(sigma=1, output=output)  # type: ignore[call-arg]
