"""Grids and fields: shapes, NumPy expressions, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.mpi import MPI

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD


def field_of(whole: np.ndarray, halo: object = 0, **grid: object) -> mb.Field:
    return mb.scatter(whole, mb.Grid(whole.shape, **grid), halo)


def test_a_field_knows_global_local_and_padded_shapes() -> None:
    grid = mb.Grid((3 * WORLD.size, 5), topology=(WORLD.size, 1))
    u = grid.zeros("f4", halo=(1, (2, 3)), components=(3,))
    assert u.shape == (3 * WORLD.size, 5, 3)
    assert u.local_shape == u.owned.shape == (3, 5, 3)
    assert u.padded.shape == (5, 10, 3)
    assert u.halo == ((1, 1), (2, 3))
    assert u.origin == (3 * WORLD.rank - 1, -2)
    assert u.owned.base is u.padded
    assert u.like("u1", halo=0).padded.shape == (3, 5, 3)


def test_a_rank_without_cells_has_an_empty_field() -> None:
    grid = mb.Grid((1,))
    u = grid.zeros(halo=2)
    assert u.owned.size == (WORLD.rank == 0)
    assert (2 * u + 1).owned.size == u.owned.size
    assert mb.gather_all(u + 1).tolist() == [1.0]


@pytest.mark.parametrize("shape", [(2.5, 3), "ab", 2.0, None])
def test_a_shape_is_whole_numbers(shape: Any) -> None:
    with pytest.raises(mb.UsageError, match="give whole numbers of cells"):
        mb.Grid(shape)


def test_weighted_and_empty_blocks() -> None:
    sizes = [0] * WORLD.size
    sizes[-1] = 4
    whole = np.arange(8).reshape(4, 2)
    u = field_of(whole, sizes=[sizes, None])
    assert u.local_shape == ((4, 2) if WORLD.rank == WORLD.size - 1 else (0, 2))
    np.testing.assert_array_equal(mb.gather_all(u), whole)
    v = field_of(whole, weights=[[0] * (WORLD.size - 1) + [2.5], None])
    assert v.local_shape == u.local_shape
    np.testing.assert_array_equal(mb.gather_all(v), whole)


def test_expressions_equal_numpy_s_on_the_whole_array() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((7, 9)), rng.standard_normal((7, 9)).astype("f4")
    u, v = field_of(a, 1), field_of(b, 2)
    for expression in (
        lambda x, y: 2 * x + y,
        lambda x, y: x > 0.5,
        lambda x, y: np.sqrt(np.abs(x)) - y**2,
        lambda x, y: ~(x < y) & (y > 0),
        lambda x, y: np.hypot(x, y) % 1,
        lambda x, y: np.where(x > 0, y, 0),
        lambda x, y: np.clip(x, -0.5, 0.5),
        lambda x, y: np.round(x, 2),
        lambda x, y: np.exp(x).astype("f4"),
        lambda x, y: np.divmod(x, 0.3)[0],
        lambda x, y: np.float32(2) * y,
    ):
        found, expected = expression(u, v), expression(a, b)
        assert isinstance(found, mb.Field)
        assert found.dtype == expected.dtype
        assert mb.gather_all(found).tobytes() == expected.tobytes()
    assert (u + v).halo == ((2, 2), (2, 2))


def test_expressions_in_place() -> None:
    a = np.arange(12.0).reshape(3, 4)
    u = field_of(a, 1)
    same = u
    u += 1
    np.multiply(u, 2, out=u)
    assert u is same
    np.testing.assert_array_equal(mb.gather_all(u), (a + 1) * 2)


def test_components_combine_with_fields_without_and_with_one_value_each() -> None:
    rgb = np.arange(36.0).reshape(3, 4, 3)
    gray = np.arange(12.0).reshape(3, 4)
    grid = mb.Grid((3, 4))
    u, v = mb.scatter(rgb, grid), mb.scatter(gray, grid)
    np.testing.assert_array_equal(mb.gather_all(u * v), rgb * gray[..., None])
    np.testing.assert_array_equal(mb.gather_all(u * np.array([1.0, 2, 3])), rgb * [1, 2, 3])


def test_from_function_gets_the_coordinates_of_owned_cells() -> None:
    grid = mb.Grid((4, 6), spacing=(0.5, 2), origin=(0, -1))
    u = grid.from_function(lambda y, x: 10 * y + x)
    y, x = np.ogrid[0:4, 0:6]
    np.testing.assert_array_equal(mb.gather_all(u), 10 * (0.5 * y) + (2.0 * x - 1))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (np.asarray, "gather"),
        (bool, "count_nonzero"),
        (np.add.reduce, "mpibatch.sum"),
        (np.sort, "cell by cell"),
        (lambda u: u + np.zeros((4, 4)), "scatter the array"),
        (lambda u: u + mb.Grid((4, 4), sizes=[[4] + [0] * (WORLD.size - 1), None]).zeros(), "redistribute|ok"),
        (lambda u: u + mb.Grid((5, 4)).zeros(), "redistribute"),
        (lambda u: u.like("U3"), "dtype"),
        (lambda u: u.like(halo=-1), "negative"),
        (lambda u: mb.Grid((2,) * 5), "1 to 4"),
        (lambda u: mb.Grid((2, 2), axes=("x", "x")), "distinct"),
        (lambda u: mb.Grid((2, 2), spacing=(1, 2, 3)), "3 entries"),
        (lambda u: mb.Grid((2, 2), comm=MPI.COMM_NULL), "intracommunicator"),
        (lambda u: mb.scatter(np.zeros((4, 5)), u.grid), "first axes"),
        (lambda u: mb.scatter(np.zeros((4, 4)), u.grid, root=99), "root=99"),
        (lambda u: mb.gather(u, root=-1), "root=-1"),
        (lambda u: mb.nosuch, "no attribute 'nosuch'"),
    ],
)
def test_what_makes_no_sense_is_refused(act: object, message: str) -> None:
    u = mb.Grid((4, 4)).zeros()
    if "ok" in message and WORLD.size == 1:
        return
    with pytest.raises((mb.UsageError, AttributeError), match=message):
        act(u)  # type: ignore[operator]
