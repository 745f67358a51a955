"""Linear filters of Fields against scipy on the whole array: to the bit, on any decomposition, in every mode."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import mpibatch as mb
from mpibatch import filters
from mpibatch.filters._engine.memory import LIMIT_VARIABLE
from mpibatch.mpi import MPI
from tests.support.oracles import as_truths, by_component

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.mpi

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
FEW = ["?", "u1", "i4", "f4", "f8"]
MODES = ["reflect", "mirror", "nearest", "wrap", "constant", "grid-mirror", "grid-wrap", "grid-constant"]
CVALS = [0.0, 1.5, -2.0]
RANKS = MPI.COMM_WORLD.size


def cells(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype[0] == "f":
        return (200 * rng.random(shape) - 100).astype(dtype)
    return rng.integers(0 if dtype[0] in "u?" else -90, 2 if dtype == "?" else 120, shape).astype(dtype)


def topologies(ndim: int) -> list[tuple[int, ...]]:
    """Every way to lay the ranks out: slabs, pencils, blocks."""
    counts = itertools.product(range(1, RANKS + 1), repeat=ndim)
    return [topology for topology in counts if math.prod(topology) == RANKS]


def field(whole: np.ndarray, topology: tuple[int, ...], halo: int = 0, **options: Any) -> mb.Field:
    grid = mb.Grid(whole.shape[: len(topology)], topology=topology, **options)
    u = grid.empty(whole.dtype, halo, whole.shape[grid.ndim :])
    u.padded[...] = 77  # a filter must not read a halo that it has not filled
    u.owned[...] = whole[grid.box.slices()]
    return u


def same_bits(found: mb.Field, whole: np.ndarray) -> None:
    """The field's owned cells are those of `whole`, bit for bit. NaN counts as equal to NaN."""
    wanted = as_truths(whole)[found.grid.box.slices()]
    assert found.dtype == wanted.dtype
    assert found.shape == whole.shape
    np.testing.assert_array_equal(found.owned, wanted)
    if wanted.dtype.kind == "f":
        signs = np.signbit(wanted) | np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(found.owned) | np.isnan(wanted), signs)


@st.composite
def blocks(draw: st.DrawFn, dtypes: list[str] = DTYPES, least: int = 1, most: int = 3) -> tuple[np.ndarray, mb.Field]:
    """A whole array of 1 to 3 grid axes, and the same as a Field, with or without components and a halo."""
    ndim = draw(st.integers(least, most))
    shape = tuple(draw(st.lists(st.integers(1, 40 if ndim == 1 else 11), min_size=ndim, max_size=ndim)))
    components = draw(st.sampled_from([(), (), (), (3,), (2, 2)]))
    whole = cells(shape + components, draw(st.sampled_from(dtypes)), draw(st.integers(0, 99)))
    return whole, field(whole, draw(st.sampled_from(topologies(ndim))), draw(st.sampled_from([0, 0, 1, 2])))


def some_axes(draw: Callable[[Any], Any], ndim: int) -> tuple[int, ...] | None:
    """None, or some grid axes in any order, from either end."""
    if draw(st.booleans()):
        return None
    chosen = draw(st.lists(st.integers(0, ndim - 1), unique=True, max_size=ndim))
    return tuple(axis - ndim * draw(st.integers(0, 1)) for axis in chosen)


def counted(axes: tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """The axes as scipy must be told when components follow."""
    return tuple(range(ndim)) if axes is None else tuple(axis % ndim for axis in axes)


@given(block=blocks(), data=st.data())
@settings(max_examples=80)
def test_correlate1d_and_convolve1d(block: tuple[np.ndarray, mb.Field], data: st.DataObject) -> None:
    whole, u = block
    draw = data.draw
    half = np.random.default_rng(draw(st.integers(0, 99))).random(draw(st.integers(1, 12))) - 0.3
    weights = {
        "any": half,
        "even": np.concatenate([half[::-1], half]),
        "odd": np.concatenate([half[::-1], [0.5], half]),
        "antisymmetric": np.concatenate([-half[::-1], [0.25], half]),
    }[draw(st.sampled_from(["any", "even", "odd", "antisymmetric"]))]
    axis = draw(st.integers(0, u.grid.ndim - 1))
    origin = draw(st.integers(-(weights.size // 2), (weights.size - 1) // 2))
    options: dict[str, Any] = {
        "mode": draw(st.sampled_from(MODES)),
        "cval": draw(st.sampled_from(CVALS)),
        "origin": origin,
    }
    name = draw(st.sampled_from(["correlate1d", "convolve1d"]))
    wanted = getattr(ndimage, name)(whole, weights, axis, **options)
    same_bits(getattr(filters, name)(u, weights, axis - u.grid.ndim, **options), wanted)


@given(block=blocks(), data=st.data())
@settings(max_examples=100)
def test_gaussian_filter(block: tuple[np.ndarray, mb.Field], data: st.DataObject) -> None:
    whole, u = block
    draw, ndim = data.draw, u.grid.ndim
    axes = some_axes(draw, ndim)
    along = counted(axes, ndim)

    def one_or_each(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.one_of(values, st.lists(values, min_size=len(along), max_size=len(along))))

    options: dict[str, Any] = {
        "sigma": one_or_each(st.sampled_from([0, 0.3, 0.8, 1.7, 4.0])),
        "order": one_or_each(st.sampled_from([0, 0, 1, 2, 3])),
        "mode": one_or_each(st.sampled_from(MODES)),
        "radius": one_or_each(st.integers(0, 9)) if draw(st.booleans()) else None,
        "truncate": draw(st.sampled_from([4.0, 2.5])),
        "cval": draw(st.sampled_from(CVALS)),
    }
    same_bits(filters.gaussian_filter(u, axes=axes, **options), ndimage.gaussian_filter(whole, axes=along, **options))


@given(block=blocks(["u1", "f4"]), output=st.sampled_from(["f4", "f8", "i2"]), mode=st.sampled_from(MODES))
@settings(max_examples=30)
def test_output_dtypes(block: tuple[np.ndarray, mb.Field], output: str, mode: str) -> None:
    whole, u = block
    axes = tuple(range(u.grid.ndim))
    for wanted, found in (
        (ndimage.gaussian_filter(whole, 1, output=output, mode=mode, axes=axes), filters.gaussian_filter),
        (ndimage.gaussian_laplace(whole, 1, output=output, mode=mode, axes=axes), filters.gaussian_laplace),
    ):
        same_bits(found(u, 1, output=output, mode=mode), wanted)
    weights = np.ones((1,) * u.grid.ndim)
    same_bits(filters.correlate(u, weights, output), ndimage.correlate(whole, weights, output, axes=axes))


@given(block=blocks(), data=st.data())
@settings(max_examples=80)
def test_correlate_and_convolve(block: tuple[np.ndarray, mb.Field], data: st.DataObject) -> None:
    whole, u = block
    draw, ndim = data.draw, u.grid.ndim
    axes = some_axes(draw, ndim)
    along = counted(axes, ndim)
    if not along:
        return
    sizes = tuple(draw(st.integers(1, 5)) for _ in along)
    weights = np.random.default_rng(draw(st.integers(0, 99))).random(sizes) - 0.4
    weights[weights < draw(st.sampled_from([-1.0, 0.0]))] = 0
    # An axis of the weights belongs to the filtered axis of the same place in increasing order, or in the order
    # asked for: even sizes would have different bounds.
    low = min(-(n // 2) for n in sizes)
    bound = min((min(sizes) - 1) // 2, -low)
    origins = [draw(st.integers(-bound, bound)) for _ in along]
    options: dict[str, Any] = {
        "mode": draw(st.sampled_from(MODES)),
        "cval": draw(st.sampled_from(CVALS)),
        "origin": origins,
    }
    name = draw(st.sampled_from(["correlate", "convolve"]))
    wanted = by_component(lambda one: getattr(ndimage, name)(one, weights, axes=along, **options), whole, ndim)
    same_bits(getattr(filters, name)(u, weights, axes=axes, **options), wanted)


@given(data=st.data())
@settings(max_examples=30)
def test_correlate_on_blocks_much_wider_than_the_window(data: st.DataObject) -> None:
    """There the inner cells are read where they lie, and only those near the faces from copies."""
    draw = data.draw
    topology = draw(st.sampled_from([t for ndim in (1, 2, 3) for t in topologies(ndim)]))
    ndim = len(topology)
    shape = tuple(16 * parts + draw(st.integers(0, 9)) for parts in topology)
    components = draw(st.sampled_from([(), (), (3,)]))
    whole = cells(shape + components, draw(st.sampled_from(FEW)), draw(st.integers(0, 99)))
    u = field(whole, topology, draw(st.sampled_from([0, 0, 1, 2])))
    sizes = tuple(draw(st.integers(1, 3)) for _ in topology)
    weights = np.random.default_rng(draw(st.integers(0, 99))).random(sizes) - 0.4
    weights[weights < draw(st.sampled_from([-1.0, 0.0]))] = 0
    options: dict[str, Any] = {"mode": draw(st.sampled_from(MODES)), "cval": draw(st.sampled_from(CVALS))}
    wanted = by_component(lambda one: ndimage.correlate(one, weights, **options), whole, ndim)
    same_bits(filters.correlate(u, weights, **options), wanted)


@given(block=blocks(), data=st.data())
@settings(max_examples=80)
def test_derivatives(block: tuple[np.ndarray, mb.Field], data: st.DataObject) -> None:
    whole, u = block
    draw, ndim = data.draw, u.grid.ndim
    name = draw(st.sampled_from(["sobel", "prewitt", "laplace", "gaussian_laplace", "gaussian_gradient_magnitude"]))
    mode = draw(st.one_of(st.sampled_from(MODES), st.lists(st.sampled_from(MODES), min_size=ndim, max_size=ndim)))
    options: dict[str, Any] = {"mode": mode, "cval": draw(st.sampled_from(CVALS))}
    arguments: tuple[Any, ...] = ()
    if name in ("sobel", "prewitt"):
        options["axis"] = draw(st.integers(-ndim, ndim - 1))
    elif name != "laplace":
        sigma = st.sampled_from([0.6, 1.2])
        arguments = (draw(st.one_of(sigma, st.lists(sigma, min_size=ndim, max_size=ndim))),)
    with np.errstate(invalid="ignore"):  # roots of negative i1 … i8
        wanted = by_component(lambda one: getattr(ndimage, name)(one, *arguments, **options), whole, ndim)
        same_bits(getattr(filters, name)(u, *arguments, **options), wanted)


@given(block=blocks(["f4", "f8", "i2"], 2), data=st.data())
@settings(max_examples=40)
def test_derivatives_along_some_axes(block: tuple[np.ndarray, mb.Field], data: st.DataObject) -> None:
    whole, u = block
    axes = some_axes(data.draw, u.grid.ndim)
    along = counted(axes, u.grid.ndim)
    with np.errstate(invalid="ignore"):
        for name, arguments in (("laplace", ()), ("gaussian_laplace", (0.9,)), ("gaussian_gradient_magnitude", (0.9,))):
            function = getattr(ndimage, name)
            wanted = by_component(lambda one: function(one, *arguments, axes=along), whole, u.grid.ndim)  # noqa: B023
            same_bits(getattr(filters, name)(u, *arguments, axes=axes), wanted)


@given(block=blocks(), data=st.data())
@settings(max_examples=80)
def test_uniform_filter(block: tuple[np.ndarray, mb.Field], data: st.DataObject) -> None:
    whole, u = block
    draw, ndim = data.draw, u.grid.ndim
    axes = some_axes(draw, ndim)
    along = counted(axes, ndim)
    sizes = [draw(st.integers(1, 12)) for _ in along]
    options: dict[str, Any] = {
        "size": sizes,
        "origin": [draw(st.integers(-(n // 2), (n - 1) // 2)) for n in sizes],
        "mode": [draw(st.sampled_from(MODES)) for _ in along],
        "cval": draw(st.sampled_from([0.0, 3.0])),
    }
    found = filters.uniform_filter(u, axes=axes, **options)
    wanted = ndimage.uniform_filter(whole, axes=along, **options)
    if whole.dtype.kind != "f":
        same_bits(found, wanted)
        return
    close = {"f4": 1e-6, "f8": 1e-12}[whole.dtype.str[1:]] * np.abs(whole).max(initial=3)
    np.testing.assert_allclose(found.owned, wanted[found.box.slices()], rtol=0, atol=close)
    alone = mb.Grid(u.grid.shape, comm=MPI.COMM_SELF).empty(u.dtype, 0, u.components)
    alone.owned[...] = whole
    same_bits(found, filters.uniform_filter(alone, axes=axes, **options).owned)


@given(block=blocks(["f4", "f8"]), mode=st.sampled_from(MODES))
@settings(max_examples=25)
def test_a_periodic_axis_wraps_whatever_the_mode(block: tuple[np.ndarray, mb.Field], mode: str) -> None:
    whole, u = block
    ndim = u.grid.ndim
    periodic = field(whole, u.grid.topology, periodic=(True,) + (False,) * (ndim - 1))
    modes = ["wrap"] + [mode] * (ndim - 1)
    wanted = ndimage.gaussian_filter(whole, 1.1, mode=modes, cval=2.5, axes=tuple(range(ndim)))
    same_bits(filters.gaussian_filter(periodic, 1.1, mode=mode, cval=2.5), wanted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1,), (2, 3), (7, 1), (3, 1, 2)])
def test_kernels_much_wider_than_the_domain(shape: tuple[int, ...], mode: str) -> None:
    whole = cells(shape, "f8", 5)
    for topology in topologies(len(shape)):
        u = field(whole, topology)
        same_bits(filters.gaussian_filter(u, 9.0, mode=mode), ndimage.gaussian_filter(whole, 9.0, mode=mode))
        weights = np.arange(1.0, 10 ** len(shape) + 1).reshape((10,) * len(shape))
        same_bits(filters.convolve(u, weights, mode=mode), ndimage.convolve(whole, weights, mode=mode))


def test_four_axes_with_halo_and_components() -> None:
    whole = cells((3, 4, 5, 6, 2), "f4", 11)
    for topology in topologies(4):
        u = field(whole, topology, 1)
        axes = (0, 1, 2, 3)
        same_bits(filters.gaussian_filter(u, 0.7), ndimage.gaussian_filter(whole, 0.7, axes=axes))
        weights = np.arange(36.0).reshape(2, 3, 2, 3)
        same_bits(filters.correlate(u, weights), ndimage.correlate(whole, weights, axes=axes))


def test_nan_and_inf_spread_as_in_scipy() -> None:
    whole = cells((17, 13), "f8", 6)
    whole[3, 4], whole[11, 2] = np.nan, np.inf
    u = field(whole, topologies(2)[0])
    with np.errstate(invalid="ignore"):
        same_bits(filters.gaussian_filter(u, 1.5), ndimage.gaussian_filter(whole, 1.5))
        found = mb.gather_all(filters.uniform_filter(u, 3))
    assert np.isnan(found).sum() == 9


def test_the_input_and_its_halo_stay_as_they_are() -> None:
    whole = cells((9, 8), "f4", 7)
    u = field(whole, topologies(2)[-1], 2)
    before = u.padded.copy()
    filters.gaussian_filter(u, 1)
    filters.sobel(u)
    filters.uniform_filter(u, 4)
    np.testing.assert_array_equal(u.padded, before)


def test_generic_filters_take_a_function() -> None:
    whole = cells((9, 8), "f8", 8)
    u = field(whole, topologies(2)[0])

    def second(v: mb.Field, axis: int, output: Any, mode: str, cval: float, weight: float) -> mb.Field:
        return filters.correlate1d(v, [weight, -2 * weight, weight], axis, output, mode, cval)

    found = filters.generic_laplace(u, second, extra_arguments=(1.0,))
    same_bits(found, ndimage.laplace(whole))
    assert mb.max(filters.generic_gradient_magnitude(u, second, extra_keywords={"weight": 1.0})) > 0


def test_a_kernel_that_does_not_fit_is_refused_by_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    u = field(cells((64, 64), "f8", 9), topologies(2)[0])
    for absurd in (1e9, 1e300):
        with pytest.raises((mb.UsageError, mb.RunError), match=r"sigma .* needs .* per rank"):
            filters.gaussian_filter(u, absurd)
    monkeypatch.setenv(LIMIT_VARIABLE, "2M")
    with pytest.raises(mb.UsageError, match=rf"gaussian_filter with sigma 2000 .*{LIMIT_VARIABLE} allows 2.0 MiB"):
        filters.gaussian_filter(u, 2000)
    with pytest.raises(mb.UsageError, match=r"uniform_filter with size 9999"):
        filters.uniform_filter(u, 9999)
    with pytest.raises(mb.UsageError, match=r"correlate with weights of shape \(500, 500\)"):
        filters.correlate(u, np.ones((500, 500)))
    filters.gaussian_filter(u, 2)
    monkeypatch.setenv(LIMIT_VARIABLE, "plenty")
    with pytest.raises(mb.UsageError, match=r"'plenty' is no amount of memory"):
        filters.gaussian_filter(u, 2000)


def test_bad_parameters_are_refused_by_all_ranks() -> None:
    u = field(cells((6, 5), "f8", 10), topologies(2)[0])
    for call, message in (
        (lambda: filters.gaussian_filter(u, float("nan")), "sigma = nan"),
        (lambda: filters.gaussian_filter(u, 1, mode="wrapp"), "did you mean 'wrap'"),
        (lambda: filters.gaussian_filter(u, (1, 2, 3)), "3 values for 2 filtered axes"),
        (lambda: filters.correlate(u, [1, 2, 1]), r"weights of shape \(3,\) .* 2 filtered axes"),
        (lambda: filters.correlate1d(u, []), "at least one weight"),
        (lambda: filters.correlate1d(u, np.array([1j, 1])), "complex"),
        (lambda: filters.uniform_filter1d(u, 0), "size = 0"),
        (lambda: filters.sobel(u, axis=2), "axis 2 does not exist"),
        (lambda: filters.sobel(u.owned), "give a Field"),
        (lambda: filters.laplace(u.astype("c16")), "complex128"),
    ):
        with pytest.raises(mb.UsageError, match=message):
            call()
