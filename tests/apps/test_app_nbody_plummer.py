"""Gravity in empty space: sums over cells, known potentials, a sphere that stays; and how well momentum is kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps.nbody import Parameters
from mpibatch.apps.nbody.beginnings import beginning, stars
from mpibatch.apps.nbody.empty_space import OWN, EmptySpace
from mpibatch.apps.nbody.gravity import Gravity
from tests.support.programs import Case, ran_alike

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Launch

SPHERE = {"problem": "plummer", "expansion": False, "length": 32.0}


def grid_of(shape: tuple[int, ...], h: float) -> mb.Grid:
    return mb.Grid(shape, spacing=h, origin=h / 2, periodic=True)


def gravity_of(p: Parameters) -> Gravity:
    return Gravity(p, beginning(p, grid_of(p.shape, p.spacing), mb.Grid(p.lattice)), {})


def test_potentials_in_empty_space() -> None:
    # Cell by cell: no image pulls, whatever is in the corners.
    shape, h = (6, 4, 8), 0.5
    masses = np.random.default_rng(4).uniform(-1, 1, shape)
    grid = grid_of(shape, h)
    found = EmptySpace(grid).potential(mb.scatter(masses, grid)).owned
    places = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3)
    distances = np.linalg.norm(places[:, None] - places, axis=-1)
    inverse = np.where(distances, 1 / np.where(distances, distances, 1.0), OWN)
    exact = -h * h / (4 * math.pi) * (inverse @ masses.ravel())
    np.testing.assert_allclose(found.ravel(), exact, atol=1e-14)

    # A ball with a Gaussian profile, off the middle: of fourth order, though 1/r has no finite value at 0.
    erf = np.vectorize(math.erf)
    errors = []
    for n in (1, 2, 4):
        grid = grid_of((12 * n, 14 * n, 16 * n), 1 / n)
        away = grid.from_function(lambda z, y, x: np.sqrt((z - 6.3) ** 2 + (y - 7.1) ** 2 + (x - 7.6) ** 2))
        density, exact = away.like(), -erf(away.owned / math.sqrt(2)) / (4 * math.pi * away.owned)
        density.owned[...] = np.exp(-(away.owned**2) / 2) / (2 * math.pi) ** 1.5
        errors.append(np.abs(EmptySpace(grid).potential(density).owned - exact).max() / np.abs(exact).max())
    assert errors[2] < 5e-5
    assert math.log2(errors[0] / errors[1]) > 3.2
    assert math.log2(errors[1] / errors[2]) > 3.7


@pytest.mark.parametrize(
    ("cloud", "width", "n", "most", "rest"),
    [("cic", 1 / 12, 32, 0.03, 8e-3), ("cic", 1 / 12, 64, 0.0105, 3e-3), ("tsc", 1 / 8, 64, 0.015, 3e-3)],
)
def test_the_potential_of_a_sphere(cloud: str, width: float, n: int, most: float, rest: float) -> None:
    """φ = −GM / √(r² + a²), but for what is beyond the edge, for clouds of particles, and that these are drawn."""
    a = 2.5
    gravity = gravity_of(Parameters(shape=(n,) * 3, radius=a, cloud=cloud, **SPHERE))
    sphere, h = gravity.parameters.sphere, gravity.parameters.spacing
    # All mass is the box's, of which the mean density is 1 / 4π of what it attracts.
    assert sphere.inner == pytest.approx(32**3 / (4 * math.pi))
    assert sphere.mass == pytest.approx(sphere.inner * (1 + (a / sphere.edge) ** 2) ** 1.5)
    middles = (np.arange(n) + 0.5) * h - 16
    z, y, x = np.meshgrid(middles, middles, middles, indexing="ij")
    r = np.sqrt(z * z + y * y + x * x)
    beyond = sphere.mass * a**2 / (sphere.edge**2 + a**2) ** 1.5
    exact = np.where(r < sphere.edge, beyond - sphere.mass / np.sqrt(r * r + a * a), -sphere.inner / r)
    np.testing.assert_allclose(np.vectorize(sphere.potential)(r), exact, rtol=1e-12)

    off, depth = gravity.potential.owned - exact, sphere.mass / a
    assert np.abs(off).max() < most * depth
    # Most of that is what clouds make of the potential.
    off -= np.where(r < sphere.edge, width * h * h * 3 * sphere.mass * a**2 / (r * r + a * a) ** 2.5, 0)
    assert np.abs(off).max() < rest * depth
    far = r > 1.5 * sphere.edge
    np.testing.assert_allclose(gravity.potential.owned[far], exact[far], rtol=1.5e-3)


def test_stars_of_a_sphere() -> None:
    """As many inside of each r as there should be, and moments of speeds as of its distribution function."""
    p = Parameters(shape=(32,) * 3, particles=(64,) * 3, radius=1.0, **SPHERE)
    sphere, count = p.sphere, 64**3
    place, velocity = stars(p, np.arange(count))
    place -= 16
    np.testing.assert_allclose(place[::2], -place[1::2], atol=1e-14)
    np.testing.assert_array_equal(velocity[::2], -velocity[1::2])
    r = np.linalg.norm(place, axis=1)
    shares = (r**2 / (r**2 + 1)) ** 1.5 / sphere.share
    np.testing.assert_allclose(shares, (np.arange(count) // 2 * 2 + 1) / count, atol=1e-12)
    escape = np.sqrt(2 * sphere.mass / np.hypot(r, 1))
    assert np.linalg.norm(velocity, axis=1).max() < escape.max()
    inner = r < 2
    for vectors, size in ((place, r), (velocity, escape)):
        q = vectors[inner] / size[inner, None]
        # Any direction is as likely as any other.
        np.testing.assert_allclose(np.mean(q * q, axis=0), np.mean(q * q), rtol=0.015)
        assert np.abs(np.mean(q[::2, [0, 1, 2]] * q[::2, [1, 2, 0]], axis=0)).max() < 0.005
    # Squares of speeds, over that of escape, are beta-distributed (3/2, 9/2): 1/4, and 5/56 for the fourth power.
    assert np.mean(np.sum(q * q, axis=1)) == pytest.approx(1 / 4, rel=0.01)
    assert np.mean(np.sum(q * q, axis=1) ** 2) == pytest.approx(5 / 56, rel=0.02)
    virial = sphere.mass * np.mean(r**2 / (r**2 + 1) ** 1.5)
    assert 0.98 < np.mean(np.sum(velocity**2, axis=1)) / virial < 1


RUNS: dict[str, Case] = {
    "sphere": (
        SPHERE | {"shape": [32, 32, 32], "radius": 2.0, "courant": 0.5, "write": "both"},
        {"until": 0.53, "diagnostics_every": 0.053},
    )
}
BAD: dict[str, Case] = {"small": (SPHERE | {"shape": [16, 16, 16], "radius": 0.5, "courant": 1.0}, {"until": 9.0})}


def test_a_sphere_stays(launch: Launch, tmp_path: Path) -> None:
    """For ten times √(a³ / GM), on any ranks; not one that is smaller than a cell, whose particles fly away."""
    alone, lines = ran_alike(launch, tmp_path, "nbody", RUNS, BAD)
    assert len(lines) == 4
    for line in lines:
        assert line.startswith("RunError: particle ")
        assert "is about to leave the box at t = " in line
    with h5py.File(alone / "sphere.h5") as file:
        rows = {name: column[...] for name, column in file["diagnostics"].items()}
        first, last = (np.linalg.norm(file["position"][n] - 16, axis=1) for n in (0, -1))
    energy = rows["kinetic"] + rows["potential"]
    assert np.abs(energy - energy[0]).max() < 5e-3 * rows["kinetic"][0]
    assert abs(2 * rows["kinetic"] / rows["potential"] + 1).max() < 0.12
    shares = [0.1, 0.25, 0.5, 0.75, 0.9]  # of the mass, within these radii
    np.testing.assert_allclose(np.quantile(last, shares), np.quantile(first, shares), rtol=0.1)
    for axis in "zyx":
        assert rows[f"velocity_{axis}"][0] == 0
        assert np.abs(rows[f"velocity_{axis}"]).max() < 1e-13 * math.sqrt(2 * rows["kinetic"].max())


@pytest.mark.parametrize("cloud", ["cic", "tsc"])
@pytest.mark.parametrize("given", [{"symbol": "spectral"}, {"symbol": "stencil"}, SPHERE | {"radius": 2.0}])
def test_a_kick_keeps_momentum(cloud: str, given: dict[str, Any]) -> None:
    """Not to the last bit, as transforms round: the sum of all forces is about 1e-15 of the sum of their sizes."""
    gravity = gravity_of(Parameters(shape=(32,) * 3, cloud=cloud, **given))
    sizes = np.abs(gravity.acceleration).sum(axis=0)
    particles = gravity.particles
    if particles.grid.spacing[0] == 1.0:  # opposite one another
        assert mb.particles.momentum(particles).tolist() == [0.0, 0.0, 0.0]
    particles.velocity[...] = 0.0
    particles.kick(gravity.acceleration, 1.0)
    momentum = mb.particles.momentum(particles)
    assert (sizes > 0).all()
    assert (np.abs(momentum) < 4e-15 * sizes).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"expansion": True}, "give expansion = false"),
        ({"symbol": "stencil"}, 'symbol = "stencil" means nothing'),
        ({"radius": 12.0}, "radius = 12: a sphere in .* ends 17.4 from its middle"),
        ({"shape": (6, 6, 6)}, "ends 0 from its middle"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(mb.UsageError, match=message):
        Parameters(**SPHERE | {"length": 64.0} | given)
