"""Casts, NumPy's functions, filters and walls: the same bits however a field is cut as on one rank alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch import filters
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.mpi
SHAPE = (29, 19)
TARGETS = ("u1", "i2", "u4", "u8")
POOL = np.array(
    [
        *(np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 127.5, 128.0, 255.9, 256.0, 300.0, -40000.0),
        *(65536.0, 2.0**31 - 1, 2.0**31, -(2.0**31) - 1, 2.0**32, 2.0**53 + 2, 2.0**63, 2.0**64, 1e30, -1e30),
    ]
)


@mb.stencil
def moved(u):
    return u[-1, 0]


def on(comm: MPI.Intracomm, whole: np.ndarray[Any, Any], **cut: Any) -> mb.Field:
    """A field of an array that every rank holds."""
    grid = mb.Grid(whole.shape[:2], comm=comm, **cut)
    field = grid.empty(whole.dtype)
    field.owned[...] = whole[grid.box.slices()]
    return field


def cuts() -> Iterator[dict[str, Any]]:
    ranks = MPI.COMM_WORLD.size
    yield {"topology": (ranks, 1)}
    yield {"topology": (1, ranks)}
    if ranks > 1:
        yield {"topology": (1, ranks), "sizes": [None, [SHAPE[1] - ranks + 1] + [1] * (ranks - 1)]}


def same(make: Callable[..., Any], *wholes: np.ndarray[Any, Any]) -> None:
    """Compare what a function of fields makes on all ranks with what it makes on this rank alone."""
    with np.errstate(all="ignore"):
        expected = make(*(on(MPI.COMM_SELF, whole) for whole in wholes)).owned
        for cut in cuts():
            found = make(*(on(MPI.COMM_WORLD, whole, **cut) for whole in wholes))
            wanted = expected[found.grid.box.slices()]
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(bits(found.owned), bits(wanted))


def bits(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values as bytes, all NaN as one: their signs and payloads are left open."""
    values = np.array(values)
    if values.dtype.kind == "f":
        values[np.isnan(values)] = np.nan
    return values[..., None].view(np.uint8)


def wholes(dtype: str) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(11)
    with np.errstate(all="ignore"):
        return [POOL[rng.integers(0, POOL.size, SHAPE)].astype(dtype) for _ in range(3)]


@pytest.mark.parametrize("source", ["f4", "f8"])
def test_casts(source: str) -> None:
    whole = wholes(source)[0]
    for target in TARGETS:
        same(lambda u, target=target: u.astype(target), whole)


@pytest.mark.parametrize("target", TARGETS)
def test_output_of_filters(target: str) -> None:
    whole = wholes("f8")[0]
    for name, given in (
        ("correlate1d", {"weights": [0.5, 1.0, 0.25], "axis": 0}),
        ("gaussian_filter", {"sigma": 0.4}),
        ("sobel", {"axis": 1}),
        ("uniform_filter", {"size": 1}),
        ("morphological_gradient", {"size": (1, 3)}),
    ):
        options = {"mode": "constant", "cval": -3.7, **given}
        same(lambda u, name=name, options=options: getattr(filters, name)(u, output=target, **options), whole)


def test_numpys_functions() -> None:
    for dtype in ("f4", "f8"):
        first, second, third = wholes(dtype)
        same(lambda u, v, w: np.where(u > 0, v, w), first, second, third)
        same(lambda u: np.where(u > 0, -0.0, u), first)
        same(lambda u: np.clip(u, -1.0, 127.5), first)
        same(lambda u: np.clip(u, 0.0, -0.0), first)
        same(np.clip, first, second, third)
        pairs: Any = (np.minimum, np.maximum, np.fmin, np.fmax, np.copysign, np.add, np.multiply, np.divide)
        for function in pairs:
            same(lambda u, v, function=function: function(u, v), first, second)
        alone: Any = (np.sign, np.abs, np.negative, np.floor, np.rint, np.sqrt, np.nan_to_num, np.isnan)
        for function in alone:
            same(lambda u, function=function: function(u), first)
        same(lambda u, v: np.minimum(u, v).astype("u1"), first, second)


@pytest.mark.parametrize("dtype", TARGETS)
def test_walls(dtype: str) -> None:
    """What a function gives beyond the walls is cast to the field's type."""
    with np.errstate(all="ignore"):
        whole = wholes("f8")[0].astype("i8").astype(dtype)

    def beyond(y: Any, x: Any, time: float) -> Any:
        return np.resize(POOL, SHAPE[1] + 40)[np.round(np.asarray(x) / 1.0 - 0.5).astype(int) % POOL.size] + 0 * y

    for walls in (beyond, ("constant", 7), "reflect", "wrap"):
        same(lambda u, walls=walls: moved(u, walls=walls), whole)
