"""Solvers against dense matrices, exact solutions and themselves on other decompositions."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.mpi import MPI
from tests.support.segments import field, grids

pytestmark = pytest.mark.mpi

BOUNDARIES = ("periodic", "neumann", "dirichlet")
Array = npt.NDArray[np.float64]


def line(n: int, spacing: float, boundary: str) -> Array:
    """The matrix of second differences, written down cell by cell."""
    matrix = np.zeros((n, n))
    for i, j in itertools.product(range(n), (-1, 1)):
        matrix[i, i] -= 1
        if 0 <= i + j < n or boundary == "periodic":
            matrix[i, (i + j) % n] += 1
        else:
            matrix[i, i] += 1 if boundary == "neumann" else -1
    return matrix / spacing**2


def uneven_line(faces: Array, boundary: str) -> Array:
    widths, middles = np.diff(faces), (faces[1:] + faces[:-1]) / 2
    matrix = np.zeros((len(widths), len(widths)))
    for i in range(len(widths) - 1):
        flux = 1 / (middles[i + 1] - middles[i])
        matrix[i, [i, i + 1]] += np.array([-flux, flux]) / widths[i]
        matrix[i + 1, [i, i + 1]] += np.array([flux, -flux]) / widths[i + 1]
    if boundary == "dirichlet":
        matrix[0, 0] -= 1 / (middles[0] - faces[0]) / widths[0]
        matrix[-1, -1] -= 1 / (faces[-1] - middles[-1]) / widths[-1]
    return matrix


def together(matrices: list[Array]) -> Array:
    parts = [
        functools.reduce(np.kron, [m if b == a else np.eye(len(other)) for b, other in enumerate(matrices)])
        for a, m in enumerate(matrices)
    ]
    return np.asarray(sum(parts))


@given(grid=grids((12, 6, 4, 3)), seed=st.integers(0, 2**32 - 1), data=st.data())
@settings(max_examples=15)
def test_against_dense_matrices(grid: mb.Grid, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    boundaries = [data.draw(st.sampled_from(BOUNDARIES)) for _ in range(grid.ndim)]
    alpha = data.draw(st.sampled_from([0.0, 0.7, 30.0]))
    uneven = data.draw(st.sampled_from([None, *(a for a, b in enumerate(boundaries) if b != "periodic")]))
    whole = rng.standard_normal(grid.shape)
    matrices = [line(n, 1.0, b) for n, b in zip(grid.shape, boundaries, strict=True)]
    options: dict[str, Any] = {"bc": boundaries}
    weights = np.ones(grid.shape)
    if uneven is not None:
        faces = np.cumsum(np.concatenate([[-1.0], 0.5 + rng.random(grid.shape[uneven])]))
        matrices[uneven] = uneven_line(faces, boundaries[uneven])
        weights = weights * np.diff(faces).reshape([-1 if a == uneven else 1 for a in range(grid.ndim)])
        options |= {"coordinates": faces, "axis": uneven}
    matrix = together(matrices) - alpha * np.eye(whole.size)
    if alpha == 0 and "dirichlet" not in boundaries:
        weights /= weights.sum()
        right = whole - (weights * whole).sum()
        expected = np.linalg.lstsq(matrix, right.ravel(), rcond=1e-10)[0].reshape(grid.shape)
        expected -= (weights * expected).sum()
    else:
        expected = np.linalg.solve(matrix, whole.ravel()).reshape(grid.shape)
    u = field(whole, grid, halo=1)
    v, residual = mb.solve.helmholtz(u, alpha, residual=True, **options)
    scale = max(1.0, np.abs(expected).max())
    assert np.abs(v.owned - expected[grid.box.slices()]).max(initial=0) < 1e-11 * scale
    assert residual < 1e-12 * scale
    np.testing.assert_array_equal(u.owned, whole[grid.box.slices()])
    alone = mb.Grid(grid.shape, topology=None)
    other = mb.solve.helmholtz(field(whole, alone), alpha, **options)
    assert mb.gather_all(other).tobytes() == mb.gather_all(v).tobytes()


def test_the_bits_of_one_rank() -> None:
    """On all process grids, also those where lines go on from axis to axis."""
    whole = np.random.default_rng(5).standard_normal((9, 8, 10))
    for bc in ("periodic", "neumann", ["dirichlet", "periodic", "periodic"]):
        alone = mb.solve.poisson(field(whole, mb.Grid(whole.shape, comm=MPI.COMM_SELF)), bc)
        for topology in itertools.product(range(1, MPI.COMM_WORLD.size + 1), repeat=3):
            if math.prod(topology) == MPI.COMM_WORLD.size:
                ours = mb.solve.poisson(field(whole, mb.Grid(whole.shape, topology=topology)), bc)
                assert ours.owned.tobytes() == np.ascontiguousarray(alone.owned[ours.box.slices()]).tobytes()


def test_an_eigenvalue_but_for_rounding_is_refused() -> None:
    u = mb.Grid(6).from_function(lambda x: x)
    for bc, alpha in (("periodic", -1.0), ("neumann", -3.0), ("dirichlet", -1.0)):
        with pytest.raises(mb.UsageError, match="is an eigenvalue"):
            mb.solve.helmholtz(u, alpha, bc)
        _, residual = mb.solve.helmholtz(u, alpha * (1 + 1e-6), bc, residual=True)
        assert residual < 1e-7


def error_of(n: int, boundary: str, symbol: str, *, is_uneven: bool = False) -> float:
    """The largest error of a product of waves, along one axis by the given walls, along the other periodic."""
    length = 2.0
    faces = np.linspace(0.0, length, n + 1)
    if is_uneven:
        faces = faces + 0.1 * np.sin(2 * np.pi * faces / length)
    middles = (faces[1:] + faces[:-1]) / 2
    k = 3 * math.pi / length if boundary != "periodic" else 4 * math.pi / length
    wave = np.sin if boundary == "dirichlet" else np.cos
    grid = mb.Grid((n, n), periodic=(boundary == "periodic", True), spacing=length / n)
    y = middles[grid.box.start[0] : grid.box.stop[0], None]
    x = (np.arange(grid.box.start[1], grid.box.stop[1]) + 0.5)[None, :] * (length / n)
    exact = grid.empty()
    exact.owned[...] = wave(k * y) * np.sin(2 * math.pi * x / length)
    bc = [boundary, "periodic"]
    factor = -(k**2 + (2 * math.pi / length) ** 2)
    options: dict[str, Any] = {"coordinates": faces, "axis": 0} if is_uneven else {}
    v, residual = mb.solve.poisson(exact * factor, bc, symbol, residual=True, **options)
    assert residual < 1e-11
    return float(mb.max(abs(v - exact)))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_second_order_and_spectral_accuracy(boundary: str) -> None:
    coarse, fine = error_of(24, boundary, "stencil"), error_of(48, boundary, "stencil")
    assert 3.8 < coarse / fine < 4.2
    assert error_of(24, boundary, "spectral") < 1e-13
    if boundary != "periodic":
        coarse, fine = (error_of(n, boundary, "stencil", is_uneven=True) for n in (32, 64))
        assert 3.6 < coarse / fine < 4.4


def test_means_components_and_dtypes() -> None:
    rng = np.random.default_rng(4)
    whole = rng.standard_normal((6, 5, 2)) + 1j * rng.standard_normal((6, 5, 2)) + 3
    grid = mb.Grid((6, 5), periodic=True, spacing=(0.5, 2.0))
    for dtype, limit in (("c16", 1e-13), ("c8", 1e-4), ("f8", 1e-13), ("f4", 1e-4)):
        u = field((whole if dtype[0] == "c" else whole.real).astype(dtype), grid)
        for symbol in ("stencil", "spectral"):
            v, residual = mb.solve.poisson(u, symbol=symbol, residual=True)
            assert (v.dtype, v.components) == (u.dtype, (2,))
            assert residual < limit
            assert abs(mb.mean(v)) < limit
    faces = [0.0, 1.0, 1.5, 2.5, 3.0, 4.0, 6.0]
    v, residual = mb.solve.poisson(
        field(whole, grid), ["neumann", "periodic"], coordinates=faces, axis=0, residual=True
    )
    assert residual < 1e-13
    v, residual = mb.solve.poisson(mb.Grid((4, 4)).full(3, "i4"), "neumann", residual=True)
    assert (v.dtype, residual, mb.norm(v)) == ("f8", 0.0, 0.0)
    middles = mb.solve.poisson(grid.full(1.0), "dirichlet", coordinates=[0.5, 1.5, 2.5, 3.5, 4.5, 5.5], axis=0)
    evenly = mb.solve.poisson(mb.Grid((6, 5), spacing=(1.0, 2.0)).full(1.0), "dirichlet")
    assert np.abs(mb.gather_all(middles) - mb.gather_all(evenly)).max() < 1e-13


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "axis 0 is not periodic; give bc"),
        ({"bc": "robin"}, "bc = 'robin' is unknown"),
        ({"bc": ["neumann"]}, "1 values for 2"),
        ({"bc": "neumann", "symbol": "exact"}, "symbol = 'exact' is unknown"),
        ({"bc": "neumann", "coordinates": [1, 2]}, "give 4 faces, or 3 middles"),
        ({"bc": "neumann", "coordinates": [1, 2, 2, 3]}, "greater than the one before"),
        ({"bc": "neumann", "coordinates": [1, 2, "a"]}, "must be numbers"),
        ({"bc": "neumann", "coordinates": [1, 2, 3], "axis": 2}, "axis 2 does not exist"),
        ({"bc": "periodic", "coordinates": [1, 2, 3]}, "axis 1 has coordinates and is periodic"),
        ({"bc": "neumann", "alpha": math.inf}, "not finite"),
        ({"bc": "neumann", "alpha": -1.0, "coordinates": [1, 2, 3]}, "alpha = -1 is negative"),
        ({"bc": "periodic", "alpha": -4.0}, "is an eigenvalue"),
        ({"bc": "periodic", "alpha": -3.0 - 1e-13}, "as near to one as rounding is"),
    ],
)
def test_what_is_refused(options: dict[str, Any], words: str) -> None:
    u = mb.Grid((4, 3)).full(1.0)
    call = mb.solve.helmholtz if "alpha" in options else mb.solve.poisson
    with pytest.raises(mb.UsageError, match=words):
        call(u, **options)
