"""What filters say to parameters that are not valid; what they make of those that can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch import filters
from mpibatch.base.errors import UsageError
from mpibatch.filters._engine.arguments import (
    axes_of,
    axis_of,
    cval_of,
    input_dtype,
    mode_of,
    modes_of,
    origins_of,
    output_dtype,
    sigmas_of,
    sizes_of,
)
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_size_beside_a_footprint_is_warned_of_in_the_users_line() -> None:
    u = mb.Grid((6, 5), comm=MPI.COMM_SELF).zeros()
    form = np.ones((3, 3))
    calls: list[Callable[..., mb.Field]] = [
        filters.minimum_filter,
        filters.median_filter,
        filters.grey_erosion,
        filters.grey_dilation,
    ]
    calls += [filters.grey_opening, filters.white_tophat, filters.morphological_gradient]
    for call in calls:
        with pytest.warns(UserWarning, match=f"{call.__name__}: ignoring size") as caught:
            call(u, size=3, footprint=form)
        assert {warning.filename for warning in caught} == {__file__}, call.__name__


def test_axes_count_from_either_end() -> None:
    assert axes_of("f", None, 3) == (0, 1, 2)
    assert axes_of("f", (-1, 0), 3) == (2, 0)
    assert axes_of("f", 1, 2) == (1,)
    assert axes_of("f", (), 2) == ()


def test_one_value_or_one_per_axis() -> None:
    assert modes_of("f", "wrap", 2) == ("wrap", "wrap")
    assert modes_of("f", ["wrap", "grid-mirror"], 2) == ("wrap", "grid-mirror")
    assert sizes_of("f", 3, 2) == (3, 3)
    assert sizes_of("f", np.array([3.0, 4.0]), 2) == (3, 4)
    assert sigmas_of("f", [0, 2], 2) == (0.0, 2.0)
    assert origins_of("f", (-2, 1), (4, 4)) == (-2, 1)


def test_output_is_a_dtype() -> None:
    assert output_dtype("f", None, np.dtype("u1")) == np.dtype("u1")
    for asked in ("f4", np.float32, np.dtype("f4")):
        assert output_dtype("f", asked, np.dtype("u1")) == np.dtype("f4")


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "axis": (lambda: axis_of("f", 2, 2), r"axis 2 does not exist; the grid has 2 axes"),
    "axis twice": (lambda: axes_of("f", (0, -2), 2), r"names an axis twice"),
    "mode": (lambda: mode_of("f", "reflekt"), r"did you mean 'reflect'\?"),
    "no mode": (lambda: mode_of("f", 3), r"not a name"),
    "too many": (lambda: sizes_of("f", (3, 3, 3), 2), r"3 values for 2 filtered axes"),
    "size": (lambda: sizes_of("f", 0, 1), r"size = 0 is too small"),
    "half a size": (lambda: sizes_of("f", 2.5, 1), r"not a whole number"),
    "sigma nan": (lambda: sigmas_of("f", float("nan"), 1), r"sigma = nan is not finite"),
    "sigma negative": (lambda: sigmas_of("f", (1, -1), 2), r"sigma = -1 is too small"),
    "sigma text": (lambda: sigmas_of("f", "wide", 1), r"not a real number"),
    "origin": (lambda: origins_of("f", 2, (4,)), r"give one from -2 to 1"),
    "cval": (lambda: cval_of("f", 1j), r"cval"),
    "complex": (lambda: input_dtype("f", np.dtype("c8")), r"\.real and \.imag"),
    "half": (lambda: input_dtype("f", np.dtype("f2")), r"float16"),
    "byte order": (lambda: input_dtype("f", np.dtype(">f4")), r"convert it"),
    "output array": (lambda: output_dtype("f", np.zeros(3), np.dtype("f4")), r"only a dtype"),
    "output": (lambda: output_dtype("f", "c16", np.dtype("f4")), r"complex128"),
    "output text": (lambda: output_dtype("f", "floaty", np.dtype("f4")), r"is no dtype"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_name_what_was_asked(case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert str(caught.value).startswith("f: ")


def test_unknown_filters_get_the_nearest_name() -> None:
    with pytest.raises(AttributeError, match="did you mean 'gaussian_filter'"):
        _ = filters.gausian_filter


def test_the_table_is_what_the_package_promises() -> None:
    takes_functions = {"generic_filter", "generic_laplace", "generic_gradient_magnitude"}
    promised = {*filters.__all__} - {"MODULES", "names", "ellipsoid_kernel"} - takes_functions
    assert {*filters.names()} == promised
