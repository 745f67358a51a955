"""Fields, windows and decompositions for the tests of rank and morphology filters, and scipy's word on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage

import mpibatch as mb
from mpibatch.mpi import MPI

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
MODES = ["reflect", "mirror", "nearest", "wrap", "constant", "grid-mirror", "grid-wrap", "grid-constant"]
ON_LINES = {"median_filter", "rank_filter", "percentile_filter"}  # scipy has another algorithm for a single axis


def scipy_says(name: str, whole: np.ndarray, ndim: int, *arguments: Any, **options: Any) -> np.ndarray:
    """The filter of the whole array; axes behind the first `ndim` are components."""
    wide = ndim == 1 and name in ON_LINES
    if wide:
        whole = whole[:, np.newaxis]
    if whole.ndim > ndim:
        options.setdefault("axes", tuple(range(ndim)))
    found = getattr(ndimage, name)(whole, *arguments, **options)
    if wide:
        found = found[:, 0]
    # scipy writes numbers other than 0 and 1 into arrays of bool.
    return found.view(np.uint8) != 0 if found.dtype == bool else found


def cells(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Few different values, so that cells tie; floats with zeros of both signs."""
    rng = np.random.default_rng(seed)
    if dtype == "?":
        return rng.random(shape) < 0.6
    low = 0 if dtype[0] == "u" else -20
    whole = rng.integers(low, 21, shape).astype(dtype)
    if dtype[0] == "f":
        whole = np.where(whole == 0, np.copysign(0, rng.random(shape) - 0.5), whole * 0.25).astype(dtype)
    if dtype[1] == "8" and dtype[0] in "iu":
        whole += np.array(1 << 60, dtype)  # beyond what f64 can count
    return whole


def distributed(whole: np.ndarray, ndim: int, seed: int, halo: Any = 0, alone: bool = False) -> mb.Field:
    """`whole` cut along one axis into blocks of random sizes, some of them empty; or on this rank alone."""
    rng = np.random.default_rng(seed)
    shape = whole.shape[:ndim]
    comm = MPI.COMM_SELF if alone else MPI.COMM_WORLD
    axis = int(rng.integers(ndim + 1))
    topology, sizes = None, None
    if axis < ndim and not alone:
        cuts = np.sort(rng.integers(0, shape[axis] + 1, comm.size - 1))
        topology = [comm.size if a == axis else 1 for a in range(ndim)]
        sizes = [np.diff([0, *cuts, shape[axis]]).tolist() if a == axis else None for a in range(ndim)]
    grid = mb.Grid(shape, comm=comm, topology=topology, sizes=sizes)
    u = grid.empty(whole.dtype, halo, whole.shape[ndim:])
    u.owned[...] = whole[grid.box.slices()]
    return u


def same_bits(found: mb.Field, whole: np.ndarray) -> None:
    """The field's own cells are those of `whole`, to the sign of zero."""
    expected = whole[found.grid.box.slices()]
    assert found.dtype == expected.dtype
    assert found.owned.shape == expected.shape
    np.testing.assert_array_equal(found.owned, expected)
    if expected.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(found.owned), np.signbit(expected))


@st.composite
def blocks(draw: st.DrawFn, dtypes: list[str] = DTYPES) -> tuple[np.ndarray, int, int, Any]:
    """A whole array, its grid axes, a seed for the decomposition, and a halo."""
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.lists(st.integers(1, 40 if ndim == 1 else 9), min_size=ndim, max_size=ndim)))
    components = draw(st.sampled_from([(), (), (3,)]))
    seed = draw(st.integers(0, 1 << 20))
    halo = draw(st.sampled_from([0, 0, 1, 2]))
    return cells(shape + components, draw(st.sampled_from(dtypes)), seed), ndim, seed, halo


@st.composite
def windows(draw: st.DrawFn, ndim: int) -> dict[str, Any]:
    """Size or footprint, and an origin that fits, for `ndim` axes."""
    sizes = tuple(draw(st.lists(st.integers(1, 5), min_size=ndim, max_size=ndim)))
    if draw(st.booleans()):
        origin = tuple(draw(st.integers(-(n // 2), (n - 1) // 2)) for n in sizes)
    else:
        origin = (0,) * ndim
    if draw(st.booleans()):
        form = np.random.default_rng(draw(st.integers(0, 1 << 20))).random(sizes) < draw(st.sampled_from([0.4, 2.0]))
        form.flat[0] = True
        return {"footprint": form, "origin": origin}
    return {"size": sizes, "origin": origin}
