"""Transforms against scipy.fft of the whole array: to the bit, signs of zeros included, on any decomposition."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft as theirs

import mpibatch as mb
from mpibatch.fields import lines, steps
from mpibatch.fields.lines import along_lines
from mpibatch.fields.pencils import alike, pencils
from mpibatch.fourier._engine import chains, passes
from mpibatch.fourier._engine.chains import PencilChain, chain_of
from mpibatch.mpi import MPI
from tests.support.segments import field, grids

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mpibatch.fields.steps import AxisStep

pytestmark = pytest.mark.mpi

COMM = MPI.COMM_WORLD
DTYPES = ["f4", "f8", "c8", "c16", "f2", "i2", "u8", "?"]
NORMS = ["backward", "ortho", "forward", None]
SEEDS = st.integers(0, 2**32 - 1)
ONE_AXIS = ("fft", "ifft", "rfft", "irfft", "dct", "idct", "dst", "idst")
ALL_AXES = ("fftn", "ifftn", "rfftn", "irfftn", "dctn", "idctn", "dstn", "idstn")


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    whole = 9 * rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        whole = whole + 9j * rng.standard_normal(shape)
    return (abs(whole) if dtype == "u8" else whole).astype(dtype)


def same_bytes(ours: mb.Field, whole: np.ndarray) -> None:
    assert (ours.shape, ours.dtype) == (whole.shape, whole.dtype)
    expected = np.ascontiguousarray(whole[ours.box.slices()])
    np.testing.assert_array_equal(ours.owned, expected)
    assert np.ascontiguousarray(ours.owned).tobytes() == expected.tobytes()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PIECE_BYTES", 400)
    monkeypatch.setattr(lines, "LEAST_MESSAGE", 100)
    monkeypatch.setattr(steps, "LEAST", 100)
    monkeypatch.setattr(chains, "PIECE_BYTES", 400)
    monkeypatch.setattr(chains, "LEAST_MESSAGE", 100)


@given(grid=grids((40, 14, 8, 5)), seed=SEEDS, dtype=st.sampled_from(DTYPES), data=st.data())
@settings(max_examples=15)
def test_along_one_axis(grid: mb.Grid, seed: int, dtype: str, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    components = data.draw(st.sampled_from([(), (), (2,)]))
    whole = values(rng, grid.shape + components, dtype)
    u = field(whole, grid, halo=data.draw(st.integers(0, 1)))
    axis, norm = int(rng.integers(grid.ndim)), data.draw(st.sampled_from(NORMS))
    for name in ONE_AXIS:
        if name == "rfft" and u.dtype.kind == "c":
            continue
        n = data.draw(st.one_of(st.none(), st.integers(1, 12)))
        n = 3 if n is None and grid.shape[axis] == 1 else n
        options: dict[str, Any] = {"n": n, "axis": axis, "norm": norm}
        if name.strip("i")[0] == "d":
            options["type"] = data.draw(st.integers(1, 4))
            options["n"] = n if n is None else n + 1
        same_bytes(getattr(mb.fft, name)(u, **options), getattr(theirs, name)(whole, **options))
        np.testing.assert_array_equal(u.owned, whole[grid.box.slices()])


@given(grid=grids((40, 14, 8, 5)), seed=SEEDS, dtype=st.sampled_from(DTYPES), data=st.data())
@settings(max_examples=15)
def test_along_several_axes(grid: mb.Grid, seed: int, dtype: str, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    whole = values(rng, grid.shape, dtype)
    u, ndim = field(whole, grid), grid.ndim
    norm = data.draw(st.sampled_from(NORMS))
    for name in ALL_AXES:
        if name == "rfftn" and u.dtype.kind == "c":
            continue
        axes = rng.permutation(ndim)[: rng.integers(1, ndim + 1)].tolist()
        options: dict[str, Any] = {"norm": norm}
        if name == "irfftn" or data.draw(st.booleans()):
            options |= {"axes": axes, "s": rng.integers(2, 9, len(axes)).tolist()}
        if "st" in name or "ct" in name:
            options["type"] = data.draw(st.sampled_from([2, 3, 4] + [1] * ("s" in options)))
            options["orthogonalize"] = data.draw(st.sampled_from([None, True, False]))
        same_bytes(getattr(mb.fft, name)(u, **options), getattr(theirs, name)(whole, **options))
    axis = int(rng.integers(ndim))
    same_bytes(mb.fft.fftshift(u), theirs.fftshift(whole))
    same_bytes(mb.fft.ifftshift(u, axes=axis), theirs.ifftshift(whole, axes=axis))


def test_chains_of_pencils(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all ways to cut three axes: a chain wherever two are cut, with components, other lengths and halos."""
    monkeypatch.setattr(chains, "PIECE_BYTES", 3000)
    rng = np.random.default_rng(5)
    real, shape = rng.standard_normal((13, 12, 11, 2)).astype("f4"), (13, 12, 11)
    made: list[PencilChain | None] = []

    def noted(u: mb.Field, steps: Sequence[AxisStep]) -> PencilChain | None:
        made.append(chain_of(u, steps))
        return made[-1]

    monkeypatch.setattr(passes, "chain_of", noted)
    for topology in itertools.product(range(1, COMM.size + 1), repeat=3):
        if math.prod(topology) != COMM.size:
            continue
        u = field(real, mb.Grid(shape, topology=topology), halo=1)
        spectrum = mb.fft.rfftn(u)
        same_bytes(spectrum, theirs.rfftn(real, axes=(0, 1, 2)))
        back = mb.fft.irfftn(spectrum, s=shape)
        same_bytes(back, theirs.irfftn(theirs.rfftn(real, axes=(0, 1, 2)), s=shape, axes=(0, 1, 2)))
        assert back.grid is u.grid
        same_bytes(mb.fft.dctn(u, s=(14, 12, 16)), theirs.dctn(real, s=(14, 12, 16), axes=(0, 1, 2)))
        is_cut = sum(parts > 1 for parts in topology) > 1
        assert [chain is not None for chain in made] == [is_cut] * 3
        same_bytes(mb.fft.fftn(u.astype("c8"), axes=(2, 0)), theirs.fftn(real.astype("c8"), axes=(2, 0)))
        made.clear()


def test_two_axes_primes_and_the_way_back() -> None:
    rng = np.random.default_rng(2)
    whole = rng.standard_normal((3, 13, 17))
    u = field(whole, mb.Grid(whole.shape, spacing=0.5, units="mm"))
    same_bytes(mb.fft.fft2(u), theirs.fft2(whole))
    same_bytes(mb.fft.ifft2(u, s=(4, 5)), theirs.ifft2(whole, s=(4, 5)))
    half = mb.fft.rfft2(u)
    same_bytes(half, theirs.rfft2(whole))
    assert (half.grid.spacing, half.grid.units, half.grid.topology) == (u.grid.spacing, "mm", u.grid.topology)
    back = mb.fft.irfft2(half, s=(13, 17))
    same_bytes(back, theirs.irfft2(theirs.rfft2(whole), s=(13, 17)))
    assert back.grid is u.grid


def test_pencils_are_kept_and_lines_are_whole() -> None:
    grid = mb.Grid((6, 5, 7))
    for axis in range(3):
        assert pencils(grid, axis) is pencils(grid, axis)
    assert alike(alike(grid, (6, 9, 7)), grid.shape) is grid
    whole = np.random.default_rng(1).random((6, 5, 7, 2))
    u = field(whole, grid, halo=1)
    for axis, cells in ((0, 6), (1, 2), (2, 11)):

        def work(source: np.ndarray, target: np.ndarray, _: Any) -> None:
            assert (source.shape[1], target.shape[1]) == (grid.shape[axis], cells)  # noqa: B023 - called at once
            target[...] = 0
            target[:, : source.shape[1]] = np.cumsum(source, axis=1)[:, : target.shape[1]]

        expected = np.zeros((*whole.shape[:axis], cells, *whole.shape[axis + 1 :]))
        sums = np.moveaxis(np.cumsum(whole, axis=axis), axis, 0)[:cells]
        np.moveaxis(expected, axis, 0)[: len(sums)] = sums
        same_bytes(along_lines(u, axis, cells, "f8", work), expected)


def test_spectra_in_files(shared_tmp: Path) -> None:
    whole = np.random.default_rng(3).standard_normal((6, 9)).astype("f4")
    spectrum = mb.fft.rfftn(field(whole, mb.Grid(whole.shape)))
    path = shared_tmp / "spectrum.h5"
    mb.save(path, spectrum=spectrum, wide=spectrum.astype("c16"), compression="gzip")
    if COMM.rank == 0:
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["spectrum"][...], theirs.rfftn(whole))
            assert (file["spectrum"].dtype, file["wide"].dtype) == ("c8", "c16")
    loaded = mb.load(path, "spectrum")
    same_bytes(loaded, theirs.rfftn(whole))
    same_bytes(mb.fft.irfftn(loaded, s=(6, 9)), theirs.irfftn(theirs.rfftn(whole), s=(6, 9)))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("fft", {"axis": 2}, "axis 2 does not exist"),
        ("fft", {"n": 0}, "n = 0 points"),
        ("rfftn", {"s": (0, 3)}, "s = 0 points"),
        ("fftn", {"axes": (0, 0)}, "names an axis twice"),
        ("fftn", {"s": (1, 2, 3)}, "3 lengths for a grid of 2 axes"),
        ("fftn", {"s": (3,), "axes": (0, 1)}, "differ in length"),
        ("rfftn", {"axes": ()}, "names none"),
        ("ifft", {"norm": "orto"}, "did you mean 'ortho'"),
        ("dct", {"type": 5}, "type = 5 is unknown"),
        ("dct", {"type": 1, "n": 1}, "at least 2 points"),
        ("irfft", {"axis": 1}, "half a spectrum of 1 place along axis 1"),
        ("fftshift", {"axes": 5}, "axis 5 does not exist"),
    ],
)
def test_what_is_refused(name: str, options: dict[str, Any], words: str) -> None:
    u = mb.Grid((4, 1)).full(1.0)
    with pytest.raises(mb.UsageError, match=words):
        getattr(mb.fft, name)(u, **options)


def test_dtypes_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = mb.Grid((4, 3))
    for name in ("rfft", "rfft2", "rfftn"):
        with pytest.raises(mb.UsageError, match="of real values"):
            getattr(mb.fft, name)(grid.full(1j, "c8"))
    with pytest.raises(mb.UsageError, match="cannot transform a field of dtype"):
        mb.fft.fftn(grid.zeros(np.longdouble))
    with pytest.raises(mb.UsageError, match="not a Field"):
        mb.fft.fftn(np.zeros(3))
    monkeypatch.setenv("MPIBATCH_MEMORY_LIMIT", "1M")
    monkeypatch.setattr(lines, "PIECE_BYTES", 2**20)
    with pytest.raises(mb.UsageError, match="per rank for whole lines"):
        mb.fft.fftn(grid.zeros())


def test_lengths_and_frequencies() -> None:
    for n in (1, 2, 7, 8):
        np.testing.assert_array_equal(mb.fft.fftfreq(n, 0.3), theirs.fftfreq(n, 0.3))
        np.testing.assert_array_equal(mb.fft.rfftfreq(n, 0.3), theirs.rfftfreq(n, 0.3))
        assert mb.fft.next_fast_len(1000 + n, real=True) == theirs.next_fast_len(1000 + n, real=True)
