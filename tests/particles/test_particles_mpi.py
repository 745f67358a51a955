"""Particles on real ranks: where they are, what they weigh in cells and feel of them, against NumPy and exact sums."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.mpi import MPI
from mpibatch.mpi.routes import forward
from mpibatch.particles import Particles, deposit, interpolate, largest_speed, momentum, square_velocity

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD
SHAPE = (8, 5, 6)


def grids() -> Iterator[mb.Grid]:
    """Cut along one axis, with blocks of one row or of none; along several; and with all cells on one rank."""
    yield mb.Grid(SHAPE, periodic=True, topology=(1, WORLD.size, 1))
    yield mb.Grid(SHAPE, periodic=True)
    yield mb.Grid(SHAPE, periodic=True, sizes=([8, *[0] * (WORLD.size - 1)], None, None))


def some(lattice: mb.Grid) -> tuple[mb.Field, mb.Field]:
    """Positions all over the box, some exactly on faces and at its end, and velocities."""
    rng = mb.random.Generator(11)
    position, velocity = rng.uniform(lattice, components=(3,)), rng.normal(lattice, components=(3,))
    position.owned[...] *= SHAPE
    position.owned[::3, 0] = np.floor(position.owned[::3, 0])
    position.owned[1::5, 1] = -1e-30
    position.owned[2::7, 2] = 6.0
    return position, velocity


def wrapped(x: np.ndarray) -> np.ndarray:
    """Return positions in the box, as IEEE 754 has them."""
    for axis, n in enumerate(SHAPE):
        column = x[:, axis]
        column = np.where(column < 0, column + n, np.where(column >= n, column - n, column))
        x[:, axis] = np.where(column == n, 0.0, column)
    return x


def shares(x: float, cloud: str) -> tuple[int, list[float]]:
    """Return the first cell of a particle, and the shares of all but one, in the order in which they are cut off."""
    if cloud == "cic":
        return math.floor(x - 0.5), [x - 0.5 - math.floor(x - 0.5)]
    off = x - math.floor(x) - 0.5
    return math.floor(x) - 1, [0.5 * (0.5 - off) * (0.5 - off), 0.5 * (0.5 + off) * (0.5 + off)]


def parts(mass: int, given: list[float]) -> list[int]:
    cut = [int(mass * share + 0.5) for share in given]
    return [mass - cut[0], cut[0]] if len(cut) == 1 else [cut[0], mass - sum(cut), cut[1]]


def weighed(position: np.ndarray, cloud: str) -> np.ndarray:
    """Return the sums of all cells by Python's integers, rounded once."""
    unit = 1 << min(52, 62 - len(position).bit_length())
    total: dict[tuple[int, ...], int] = {}
    for x in position.tolist():
        first, given = zip(*(shares(c, cloud) for c in x), strict=True)
        for dz, plane in enumerate(parts(unit, given[0])):
            for dy, row in enumerate(parts(plane, given[1])):
                for dx, mass in enumerate(parts(row, given[2])):
                    at = tuple((f + d) % n for f, d, n in zip(first, (dz, dy, dx), SHAPE, strict=True))
                    total[at] = total.get(at, 0) + mass
    result = np.zeros(SHAPE)
    for at, mass in total.items():
        result[at] = float(Fraction(mass, unit))
    assert sum(total.values()) == unit * len(position)
    return result


def felt(position: np.ndarray, values: np.ndarray, cloud: str) -> np.ndarray:
    result = np.zeros_like(position)
    for n, x in enumerate(position.tolist()):
        first, given = zip(*(shares(c, cloud) for c in x), strict=True)
        each = [[1 - g[0], g[0]] if len(g) == 1 else [g[0], 1 - sum(g), g[1]] for g in given]
        for ds in itertools.product(range(len(each[0])), repeat=3):
            share = math.prod(weights[d] for weights, d in zip(each, ds, strict=True))
            result[n] += share * values[tuple((f + d) % n for f, d, n in zip(first, ds, SHAPE, strict=True))]
    return result


def test_particles_go_where_they_should_and_weigh_what_they_should() -> None:
    lattice = mb.Grid(31)
    position, velocity = some(lattice)
    x, u = wrapped(mb.gather_all(position)), mb.gather_all(velocity)
    steps = (0.0, -1.9)
    expected = []
    for dt in steps:
        x = wrapped(x + dt * u)
        expected.append((x.copy(), {cloud: weighed(x, cloud) for cloud in ("cic", "tsc")}))
    values = np.random.default_rng(3).normal(size=(*SHAPE, 3))
    pulls = {cloud: felt(x, values, cloud) for cloud in ("cic", "tsc")}
    bits = {}
    for grid in grids():
        particles = Particles(grid, position, velocity)
        assert WORLD.allreduce(len(particles.ids)) == particles.count == 31
        for dt, (there, sums) in zip(steps, expected, strict=True):
            particles.drift(dt)
            box = grid.box
            assert ((particles.position >= box.start) & (particles.position < box.stop)).all()
            np.testing.assert_array_equal(particles.position, there[particles.ids])
            np.testing.assert_array_equal(particles.velocity, u[particles.ids])
            for cloud, whole in sums.items():
                density = deposit(particles, cloud)
                np.testing.assert_array_equal(density.owned, whole[box.slices()])
        fields = particles.to_fields()
        np.testing.assert_array_equal(mb.gather_all(fields["position"]), x)
        np.testing.assert_array_equal(mb.gather_all(fields["velocity"]), u)
        again = Particles(grid, fields["position"], fields["velocity"])
        assert sorted(again.ids) == sorted(particles.ids)
        for cloud, pull in pulls.items():
            for halo in (0, 1, 2):
                field = grid.empty(halo=halo, components=(3,))
                field.owned[...] = values[grid.box.slices()]
                mine = interpolate(particles, field, cloud)
                np.testing.assert_allclose(mine, pull[particles.ids], atol=1e-14)
        particles.kick(mine, 0.5)
        whole = mb.gather_all(particles.to_fields()["velocity"])
        bits[grid.topology] = whole.tobytes()
        assert momentum(particles).tolist() == [math.fsum(column) for column in whole.T.tolist()]
        squares = sum(Fraction(v) ** 2 for v in whole.ravel().tolist())
        assert square_velocity(particles) == float(squares)
        assert largest_speed(particles) == np.abs(whole).max()
    assert len({*bits.values()}) == 1
    assert WORLD.bcast(next(iter(bits.values()))) == next(iter(bits.values()))


def test_no_sum_can_overflow() -> None:
    """All in one place: as many as there are, in as many bits as there are."""
    lattice = mb.Grid((60, 50))  # 3000 masses of 2**52 would be too many
    position = lattice.full(0.5, components=(3,))
    particles = Particles(mb.Grid(SHAPE, periodic=True), position, lattice.zeros(components=(3,)))
    for cloud in ("cic", "tsc"):
        density = deposit(particles, cloud)
        assert mb.sum(density) == 3000.0
        assert mb.max(density) == (3000.0 if cloud == "cic" else 3000 * 0.75**3)


def test_halos_are_added_to_the_cells_that_they_stand_for() -> None:
    """Exchanging is linear, and adding is its adjoint: <add(v), u> = <v, exchange(u)>, exactly in integers."""
    for shape, halo in (((5, 9), 2), ((4, 3, 5), 1), ((8,), ((3, 1),))):
        for mode in ("reflect", "wrap", "nearest", "mirror", "constant"):
            grid = mb.Grid(shape)
            u, v = (grid.zeros("i8", halo=halo) for _ in range(2))
            u.padded[...] = 0
            u.owned[...] = mb.random.Generator(4).integers(grid, -99, 99).owned
            v.padded[...] = np.random.default_rng(5 + grid.rank).integers(-99, 99, v.padded.shape)
            before = v.padded.copy()
            mb.exchange(u, mode=mode)
            mb.halo.add_halo(v, mode=mode)
            both = np.array([(v.owned * u.owned).sum(), (before * u.padded).sum()])
            left, right = WORLD.allreduce(both, op=MPI.SUM)
            assert left == right
    with pytest.raises(mb.UsageError, match="depend on the order"):
        mb.halo.add_halo(mb.Grid(6).zeros(halo=1))
    with pytest.raises(mb.UsageError, match="narrower"):
        mb.halo.add_halo(mb.Grid(6).zeros("i8", halo=1), 2)


def test_only_those_that_leave_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that a drift gives to the routes are of particles whose new cells are another rank's."""
    sent: list[int] = []

    def counting(comm: MPI.Intracomm, to: Any, rows: Any) -> Any:
        sent.append(len(rows))
        assert not (to == comm.rank).any()
        return forward(comm, to, rows)

    lattice = mb.Grid(SHAPE)
    position = lattice.from_function(lambda z, y, x: np.stack(np.broadcast_arrays(z, y, x), -1) + 0.5, components=(3,))
    velocity = lattice.full(1.0, components=(3,))
    particles = Particles(mb.Grid(SHAPE, periodic=True, topology=(WORLD.size, 1, 1)), position, velocity)
    monkeypatch.setattr("mpibatch.particles.particles.forward", counting)
    particles.drift(0.25)
    particles.drift(0.25)
    if WORLD.size > 1:
        # The second step takes the last plane of each block beyond its face.
        assert sent == [0, 5 * 6 if particles.grid.box.size else 0]
    else:
        assert sent == []


def test_what_cannot_be_meant_is_refused_on_all_ranks() -> None:
    lattice, grid = mb.Grid(5), mb.Grid(SHAPE, periodic=True)
    position, velocity = lattice.full(0.5, components=(3,)), lattice.zeros(components=(3,))
    for given, words in (
        ((mb.Grid(SHAPE), position, velocity), "three periodic axes"),
        ((mb.Grid((8, 6), periodic=True), position, velocity), "three periodic axes"),
        ((grid, position, lattice.zeros()), "the velocity of particles"),
        ((grid, position.astype("f4"), velocity), "the position of particles is a field of float32"),
        ((grid, position, mb.Grid(6).zeros(components=(3,))), "of both on one grid"),
    ):
        with pytest.raises(mb.UsageError, match=words):
            Particles(*given)
    particles = Particles(grid, position, velocity)
    with pytest.raises(mb.UsageError, match="cloud = 'ngp' is unknown"):
        deposit(particles, "ngp")
    with pytest.raises(mb.UsageError, match="interpolate: a field of float64"):
        interpolate(particles, grid.zeros())
    # One of them, on the rank that owns its cell, is lost.
    for value in (math.nan, math.inf, 1e9):
        particles = Particles(grid, position, velocity)
        particles.velocity[particles.ids == 3] = value
        assert np.isnan(largest_speed(particles)) == np.isnan(value)
        with pytest.raises(mb.RunError, match=r"particle 3 was moved to .* make shorter steps"):
            particles.drift(1.0)
        assert (particles.position == 0.5).all()
    with pytest.raises(mb.UsageError, match="kick: accelerations of shape"):
        particles.kick(np.zeros((len(particles.ids) + 1, 3)), 1.0)
    alone = mb.Grid(5, comm=MPI.COMM_SELF)
    with pytest.raises(mb.UsageError, match="which is of other ranks"):
        Particles(grid, *(alone.zeros(components=(3,)) for _ in range(2)))
