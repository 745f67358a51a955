"""Resampling against scipy.ndimage's of the whole array: to the bit, on any decomposition."""

from __future__ import annotations

import itertools
import warnings
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import ndimage

import mpibatch as mb
from mpibatch import resample
from mpibatch.mpi import MPI
from mpibatch.resample._engine import points
from tests.support.segments import field, same_bits

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.mpi

RANKS = MPI.COMM_WORLD.size
MODES = ("constant", "nearest", "mirror", "reflect", "wrap", "grid-wrap", "grid-constant", "grid-mirror")


def grid_of(rng: np.random.Generator, shape: tuple[int, ...]) -> mb.Grid:
    """Ranks along any axes; blocks even, or of any sizes, 0 included."""
    counts = [c for c in itertools.product(range(1, RANKS + 1), repeat=len(shape)) if np.prod(c) == RANKS]
    topology = counts[rng.integers(len(counts))]
    sizes: list[list[int] | None] = [None] * len(shape)
    for axis, parts in enumerate(topology):
        if rng.random() < 0.5:
            cuts = sorted(rng.integers(0, shape[axis] + 1, parts - 1).tolist())
            sizes[axis] = np.diff([0, *cuts, shape[axis]]).tolist()
    return mb.Grid(shape, topology=topology, sizes=sizes)


def cells(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    values = rng.standard_normal(shape)
    if dtype == "u1":
        return rng.integers(0, 256, shape).astype("u1")
    if dtype == "c16":
        return values + 1j * rng.standard_normal(shape)
    return values > 0 if dtype == "?" else (values * 100).astype(dtype)


def case(seed: int) -> tuple[np.random.Generator, np.ndarray, mb.Field, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    ndim = int(rng.integers(1, 4))
    shape = tuple(rng.integers(1, (40, 16, 9)[ndim - 1], ndim).tolist())
    whole = cells(rng, shape, str(rng.choice(["f8", "f8", "f4", "u1", "i2", "c16", "?"])))
    about = {
        "order": int(rng.integers(0, 6)),
        "mode": str(rng.choice(MODES)),
        "cval": float(rng.choice([0, 3, -1.5, 200])),
        "prefilter": bool(rng.random() < 0.8),
    }
    return rng, whole, field(whole, grid_of(rng, shape)), about


def test_zoom_and_shift() -> None:
    for seed in range(40):
        rng, whole, u, about = case(seed)
        by = rng.choice([0.5, 1, 1.7, 2, 0.3, 3], u.grid.ndim).tolist()
        grid_mode = seed % 2 == 0 and whole.dtype.kind != "c"  # of complex arrays scipy forgets it
        if 0 not in [round(n * factor) for n, factor in zip(whole.shape, by, strict=True)]:
            with warnings.catch_warnings(action="ignore"):
                expected = ndimage.zoom(whole, by, grid_mode=grid_mode, **about)
            same_bits(resample.zoom(u, by, grid_mode=grid_mode, **about), expected)
        by = rng.choice([0, 0.5, 1.7, -2.3, 30.1, -17, 2], u.grid.ndim).tolist()
        same_bits(resample.shift(u, by, **about), ndimage.shift(whole, by, **about))


def test_affine_and_rotate() -> None:
    for seed in range(100, 140):
        rng, whole, u, about = case(seed)
        ndim = u.grid.ndim
        matrix = rng.standard_normal((ndim, ndim)) if seed % 3 else np.eye(ndim)[rng.permutation(ndim)] * -0.5
        offset, shape = rng.uniform(-5, 25, ndim).tolist(), tuple(rng.integers(1, 14, ndim).tolist())
        for map_, to in ((matrix, shape), (np.diag(matrix) + 0.01, None)):
            expected = ndimage.affine_transform(whole, map_, offset, to, **about)
            same_bits(resample.affine_transform(u, map_, offset, to, **about), expected)
        if ndim > 1:
            angle, axes = float(rng.choice([30, 90, -45, 17.3, 180])), tuple(rng.permutation(ndim)[:2].tolist())
            expected = ndimage.rotate(whole, angle, axes, bool(seed % 2), **about)
            same_bits(resample.rotate(u, angle, axes, bool(seed % 2), **about), expected)


@pytest.mark.parametrize("order", [1, 3])
def test_affine_in_tiles(order: int) -> None:
    whole = np.random.default_rng(5).random((150, 170))
    c, s = np.cos(0.3), np.sin(0.3)
    for mode in ("constant", "mirror", "grid-wrap"):
        expected = ndimage.affine_transform(whole, [[c, -s], [s, c]], [20.0, -30.0], order=order, mode=mode)
        u = field(whole, mb.Grid(whole.shape))
        same_bits(resample.affine_transform(u, [[c, -s], [s, c]], [20.0, -30.0], order=order, mode=mode), expected)


def test_map_coordinates() -> None:
    for seed in range(200, 220):
        rng, whole, u, about = case(seed)
        shape = tuple(rng.integers(1, 6, int(rng.integers(1, 4))).tolist())
        at = rng.uniform(-15, 50, (u.grid.ndim, *shape))
        expected = ndimage.map_coordinates(whole, at, **about)
        np.testing.assert_array_equal(resample.map_coordinates(u, at, **about), expected)
        where = field(np.ascontiguousarray(np.moveaxis(at, 0, -1)), grid_of(rng, shape))
        same_bits(resample.map_coordinates(u, where, **about), expected)


def test_periodic_axes_wrap_as_a_grid() -> None:
    whole = np.random.default_rng(1).random((13, 9))
    u = field(whole, mb.Grid(whole.shape, periodic=True))
    same_bits(resample.shift(u, 3.3, order=3), ndimage.shift(whole, 3.3, order=3, mode="grid-wrap"))


def lines(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Lines that a filter begins rightly nearly everywhere, or not: spikes in zeros, scales, NaN."""
    noise: np.ndarray = rng.standard_normal(shape)
    if kind == "spikes":
        return (noise > 2.2) * 1.0
    if kind == "scales":
        return noise * 10.0 ** rng.integers(-8, 8, shape)
    if kind == "nan":
        noise.flat[rng.integers(noise.size)] = np.nan
    return np.floor(noise * 100) if kind == "whole" else noise


@pytest.mark.parametrize("kind", ["noise", "whole", "spikes", "scales", "nan"])
def test_coefficients_of_cut_lines(kind: str) -> None:
    rng = np.random.default_rng(7)
    for shape, axis in (((300,), 0), ((270, 4), 0), ((3, 261), 1), ((7, 2), 0), ((1, 700), 1)):
        whole = lines(kind, rng, shape)
        grid = mb.Grid(shape, topology=[RANKS if a == axis else 1 for a in range(len(shape))])
        for order, mode in itertools.product((2, 3, 4, 5), ("mirror", "reflect", "grid-wrap")):
            expected = ndimage.spline_filter1d(whole, order, axis, mode=mode)
            same_bits(resample.spline_filter1d(field(whole, grid), order, axis, mode=mode), expected)


def test_coefficients_of_lines_cut_unevenly() -> None:
    """Blocks of one cell, of none, and longer than those in which a filter is always right at once."""
    rng = np.random.default_rng(8)
    for kind, sizes in (("scales", [1, 150, 0, 2, 70, 97]), ("spikes", [200, 0, 1, 0, 119]), ("noise", [0, 3, 250])):
        cut = [*sizes, *[0] * RANKS][:RANKS]
        n = 320
        cut[-1] += n - sum(cut)
        whole = lines(kind, rng, (n, 3))
        u = field(whole, mb.Grid(whole.shape, topology=(RANKS, 1), sizes=(cut, None)))
        for order, mode in ((3, "mirror"), (5, "reflect"), (4, "grid-wrap")):
            expected = ndimage.spline_filter1d(whole, order, 0, mode=mode)
            same_bits(resample.spline_filter1d(u, order, 0, mode=mode), expected)


def test_spline_filter_rounds_to_output() -> None:
    whole = np.random.default_rng(2).random((11, 9))
    u = field(whole, mb.Grid(whole.shape))
    for dtype in ("f8", "f4"):
        same_bits(resample.spline_filter(u, 3, dtype), ndimage.spline_filter(whole, 3, dtype))


def test_right_answers() -> None:
    whole = np.arange(9).reshape(3, 3)  # scipy #10620
    zoomed = resample.zoom(field(whole, mb.Grid((3, 3))), 3, order=0, grid_mode=True, mode="nearest")
    same_bits(zoomed, np.kron(whole, np.ones((3, 3), int)))


@pytest.mark.parametrize("dtype", ["u1", "i8", "u8", "f8"])
def test_pyramid(dtype: str) -> None:
    rng = np.random.default_rng(3)
    shape = (9, 6)
    if dtype == "f8":
        whole: np.ndarray = rng.standard_normal(shape)
    else:
        limits = np.iinfo(dtype)
        whole = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    for level, coarse in enumerate(mb.pyramid(field(whole, grid_of(rng, shape)), 3)):
        array, size = mb.gather_all(coarse), 2**level
        for i, j in np.ndindex(*array.shape):
            block = whole[i * size : (i + 1) * size, j * size : (j + 1) * size].ravel().tolist()
            mean = Fraction(sum(map(Fraction, block)), len(block))
            assert array[i, j] == pytest.approx(float(mean), rel=1e-13) if dtype == "f8" else array[i, j] == round(mean)


def test_a_pyramid_has_the_bytes_of_one_rank(mpi_tmp_path: Path) -> None:
    """Every level, and the file of all, of blocks that end anywhere."""
    rng = np.random.default_rng(9)
    whole = rng.standard_normal((13, 10, 7)).astype("f4")
    files = []
    for name, grid in (
        ("all.h5", grid_of(rng, whole.shape)), (f"{MPI.COMM_WORLD.rank}.h5", mb.Grid(whole.shape, comm=MPI.COMM_SELF)),
    ):  # fmt: skip
        levels = mb.pyramid(field(whole, grid), 3)
        mb.save(mpi_tmp_path / name, **{f"level{number}": level for number, level in enumerate(levels)})
        files.append((mpi_tmp_path / name, [mb.gather_all(level).tobytes() for level in levels]))
    MPI.COMM_WORLD.Barrier()
    assert files[0][1] == files[1][1]
    assert files[0][0].read_bytes() == files[1][0].read_bytes()


WRONG = (
    (lambda u: resample.zoom(u, 0.01), "leaves"),
    (lambda u: resample.zoom(u, [1, 2, 3]), "3 values for 2"),
    (lambda u: resample.shift(u, 1, order=6), "order = 6"),
    (lambda u: resample.shift(u, 1, mode="wrapp"), "unknown"),
    (lambda u: resample.shift(u, 1, cval=1j), "complex"),
    (lambda u: resample.spline_filter(u, 1), "give 2 … 5"),
    (lambda u: resample.affine_transform(u, np.ones((3, 2))), r"\(3, 2\)"),
    (lambda u: resample.rotate(u, np.nan), "not finite"),
    (lambda u: resample.map_coordinates(u, [[1.0]]), "give 2"),
    (lambda u: mb.pyramid(u, -1), "levels = -1"),
    (lambda u: resample.zoom(np.ones(3), 2), "not a Field"),
)


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_bad_input_is_one_error(call: Any, words: str) -> None:
    with pytest.raises(mb.UsageError, match=words):
        call(mb.Grid((5, 4)).zeros())


def test_too_many_cells_for_scattered_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPIBATCH_MEMORY_LIMIT", "2000")
    rng = np.random.default_rng(4)
    whole = rng.random((40, 40))
    u = field(whole, mb.Grid(whole.shape))
    near = np.stack(np.meshgrid(np.arange(39.0), np.arange(39.0), indexing="ij"))[:, ::-1] + 0.5
    if RANKS == 1:
        return  # nothing is fetched
    with pytest.raises(mb.UsageError, match="sort the coordinates"):
        resample.map_coordinates(u, rng.uniform(0, 39, (2, 900)), order=1)
    # Less than the whole field, and enough for a block and what is around it.
    monkeypatch.setenv("MPIBATCH_MEMORY_LIMIT", "20000")
    monkeypatch.setattr(points, "MOST", 100)
    monkeypatch.setattr(points, "MOST_ALL", 240)  # of 100 a rank, or fewer
    far = rng.uniform(-9, 48, (2, 900))
    far[:, 500] = np.nan
    for mode in ("constant", "reflect", "grid-wrap"):
        expected = ndimage.map_coordinates(whole, far, order=1, mode=mode, cval=7)
        np.testing.assert_array_equal(resample.map_coordinates(u, far, order=1, mode=mode, cval=7), expected)
    np.testing.assert_array_equal(
        resample.map_coordinates(u, near, order=1), ndimage.map_coordinates(whole, near, order=1)
    )
