"""Convolutions against scipy.signal and filters of spectra against scipy.ndimage, to the bit; power spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal

import mpibatch as mb
from mpibatch.fourier import spectra
from tests.fourier.test_fft_mpi import SEEDS, same_bytes, values
from tests.support.segments import field, grids

pytestmark = pytest.mark.mpi


@given(grid=grids((20, 9, 6, 4)), seed=SEEDS, data=st.data())
@settings(max_examples=8)
def test_convolutions(grid: mb.Grid, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    dtypes = [data.draw(st.sampled_from(["f4", "f8", "c8", "c16", "i2", "?"])) for _ in range(2)]
    shape = tuple(int(n) for n in rng.integers(1, 6, grid.ndim))
    first, second = values(rng, grid.shape, dtypes[0]), values(rng, shape, dtypes[1])
    u, v = field(first, grid), mb.scatter(second, mb.Grid(shape))
    for mode in ("full", "same", "valid"):
        for other in (v, second):
            try:
                expected = signal.fftconvolve(first, second, mode)
            except ValueError:
                with pytest.raises(mb.UsageError, match="lies within the other"):
                    mb.fftconvolve(u, other, mode)
            else:
                same_bytes(mb.fftconvolve(u, other, mode), expected)


def test_convolutions_along_some_axes() -> None:
    rng = np.random.default_rng(5)
    u = field(first := rng.random((6, 5, 4)), mb.Grid((6, 5, 4)))
    for shape, axes in (((6, 3, 4), [1]), ((1, 3, 2), [2, 1]), ((6, 1, 4), None)):
        second = rng.random(shape)
        same_bytes(mb.fftconvolve(u, second, axes=axes), signal.fftconvolve(first, second, axes=axes))
    for other, options, words in (
        (np.ones((2, 5, 4)), {"axes": [1]}, "differ along axes that are not convolved"),
        (np.ones(3), {}, "the grid has 3 axes"),
        (np.array([[["a"]]]), {}, "give numbers"),
        (np.ones((1, 1, 2)), {"mode": "some"}, "mode = 'some' is unknown"),
        (np.ones((1, 1, 2)), {"axes": []}, "names none"),
    ):
        with pytest.raises(mb.UsageError, match=words):
            mb.fftconvolve(u, other, **options)


@given(grid=grids((30, 9, 6, 4)), seed=SEEDS, dtype=st.sampled_from(["f4", "f8", "c8", "c16", "i2", "?"]))
@settings(max_examples=15)
def test_filters_of_spectra(grid: mb.Grid, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    whole = values(rng, grid.shape, dtype)
    u = field(whole, grid, halo=1)
    axis = int(rng.integers(grid.ndim))
    n = -1 if rng.random() < 0.5 else 2 * grid.shape[axis] - 1
    each = (rng.random(grid.ndim) * 4).tolist()
    for name in ("gaussian", "uniform", "shift", "ellipsoid"):
        if name == "ellipsoid" and (grid.ndim > 3 or 1 in grid.shape):
            continue
        for parameter in (each, 1.5):
            arguments = (parameter, n, axis)
            ours = getattr(mb.filters, f"fourier_{name}")(u, *arguments)
            same_bytes(ours, getattr(ndimage, f"fourier_{name}")(whole, *arguments))


def test_filters_of_spectra_that_are_refused() -> None:
    u = mb.Grid((3, 4)).full(1j, "c16")
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
        ("gaussian", ((1, 2, 3),), {}, "3 values for 2"),
        ("gaussian", (1,), {"n": 0}, "n = 0 points"),
        ("shift", (1,), {"axis": 3}, "axis 3 does not exist"),
        ("uniform", (1,), {"output": "f8"}, "output dtype float64 is not supported"),
        ("shift", ("a",), {}, "is not a real number"),
    ]
    for name, arguments, options, words in calls:
        with pytest.raises(mb.UsageError, match=words):
            getattr(mb.filters, f"fourier_{name}")(u, *arguments, **options)
    with pytest.raises(mb.UsageError, match="the grid has 4 axes"):
        mb.filters.fourier_ellipsoid(mb.Grid((2, 2, 2, 2)).zeros(), 1)
    narrow = mb.filters.fourier_gaussian(u, 1.0, output="c8")
    same_bytes(narrow, ndimage.fourier_gaussian(np.full((3, 4), 1j), 1.0, output=np.complex64))


@given(grid=grids((30, 9, 6, 4)), seed=SEEDS, dtype=st.sampled_from(["f4", "f8", "c16", "i2"]))
@settings(max_examples=15)
def test_power_spectra(grid: mb.Grid, seed: int, dtype: str) -> None:
    """Parseval's theorem, and each shell against the whole array's spectrum."""
    rng = np.random.default_rng(seed)
    whole = values(rng, grid.shape, dtype)
    spacing = (rng.random(grid.ndim) + 0.5).tolist()
    geometry = mb.Grid(
        grid.shape,
        topology=grid.topology,
        sizes=[None if b.starts is None else np.diff(b.starts).tolist() for b in grid.decomposition.axes],
        spacing=spacing,
    )
    k, power, modes = mb.power_spectrum(field(whole, geometry))
    assert modes.sum() == whole.size
    np.testing.assert_allclose(power.sum(), np.mean(np.abs(whole.astype("c16")) ** 2), rtol=1e-13, atol=1e-300)
    waves = np.ix_(*(np.fft.fftfreq(n, d) for n, d in zip(grid.shape, spacing, strict=True)))
    width = min(1 / (n * d) for n, d in zip(grid.shape, spacing, strict=True))
    length = np.sqrt(sum(w * w for w in waves)) / width
    if np.abs(length % 1 - 0.5).min() > 1e-9:  # else rounding decides
        shells = np.floor(length + 0.5).astype(int).ravel()
        np.testing.assert_array_equal(modes, np.bincount(shells))
        spectrum = np.abs(np.fft.fftn(whole.astype("c16"))) ** 2 / whole.size**2
        np.testing.assert_allclose(power, np.bincount(shells, spectrum.ravel()), rtol=1e-10, atol=1e-13 * power.max())
    np.testing.assert_allclose(k, np.arange(len(modes)) * width)


def test_a_wave_in_its_shell() -> None:
    grid = mb.Grid((24, 18), spacing=0.25)
    u = grid.from_function(lambda y, x: 3.0 + np.cos(2 * np.pi * 2 * y / 6), components=())
    spectrum = mb.power_spectrum(u, dk=1 / 3)
    np.testing.assert_allclose(spectrum.power[:2], [9.0, 0.5])
    assert spectrum.power[2:].max() < 1e-25
    both = u.like(components=(2,))
    both.owned[...] = u.owned[..., None]
    np.testing.assert_allclose(mb.power_spectrum(both, dk=1 / 3).power[:2], [18.0, 1.0])
    for dk, words in ((0, "dk = 0"), (1e-12, "4194304 shells at most"), ("a", "is not a real number")):
        with pytest.raises(mb.UsageError, match=words):
            mb.power_spectrum(u, dk)


def test_a_kernel_that_ranks_do_not_share_is_refused() -> None:
    u = mb.Grid((6, 5)).zeros()
    if u.grid.size > 1:
        with pytest.raises(mb.UsageError, match="fftconvolve with in2"):
            mb.fftconvolve(u, np.full((3, 3), float(u.grid.rank)))


def test_shells_of_a_long_axis_are_wider(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as all ranks can have a table of, and still all of the power."""
    monkeypatch.setattr(spectra, "MOST", 10)
    u = mb.Grid(41).from_function(lambda x: np.sin(x * x))
    spectrum = mb.power_spectrum(u)
    np.testing.assert_allclose(spectrum.k, np.arange(8) * 3 / 41)
    assert spectrum.modes.sum() == 41
    assert np.isclose(spectrum.power.sum(), float(mb.mean(u * u)))
    with pytest.raises(mb.UsageError, match=r"dk = 0\.02 for wave numbers up to 0\.48.*10 shells at most"):
        mb.power_spectrum(u, 0.02)
