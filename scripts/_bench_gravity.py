"""The case of `nbody` for scripts/bench_fields.py: a step beside the same step of a script of NumPy and scipy.fft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from _bench_runs import COMM, Timed, report, timings  # type: ignore[import-not-found]

import mpibatch as mb
from mpibatch.apps import nbody
from mpibatch.apps.nbody.beginnings import beginning
from mpibatch.apps.nbody.gravity import Gravity
from mpibatch.mpi import MPI
from mpibatch.simulate import Now

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Array = npt.NDArray[Any]

DT = 1e-3


def steps(*, quick: bool) -> None:
    """Time a step of as many particles as cells, which have moved away from their lattice."""
    n = 64 if quick else 128
    gravity = made(n)
    calls = {"ours": Timed(lambda: gravity.step(Now(0, 0.0, DT)))}
    if COMM.size == 1:
        particles = gravity.particles
        step = script(n, particles.position.copy(), particles.velocity.copy(), gravity)
        calls["script of NumPy and scipy.fft"] = Timed(step)
        forces(gravity, step())
    else:
        alone = made(n, MPI.COMM_SELF) if COMM.rank == 0 else None
        calls["one rank"] = Timed(lambda: alone.step(Now(0, 0.0, DT)), is_alone=True)  # type: ignore[union-attr]
    report(f"nbody-step-{n}", timings(calls, 3 if quick else 5))


def made(n: int, comm: MPI.Intracomm | None = None) -> Gravity:
    """Return particles that have left their lattice. Collective."""
    p = nbody.Parameters(shape=(n, n, n), begin=0.5)
    grid = mb.Grid(p.shape, spacing=p.spacing, periodic=True, comm=comm)
    return Gravity(p, beginning(p, grid, mb.Grid(p.lattice, comm=comm)), {})


def forces(gravity: Gravity, theirs: Array) -> None:
    """Compare accelerations after the same step: the script is no other problem."""
    gravity.step(Now(0, 0.0, DT))
    size = np.abs(theirs).max()
    assert np.abs(gravity.acceleration - theirs).max() < 1e-6 * size, "the script computes other forces"


def script(n: int, x: Array, u: Array, gravity: Gravity) -> Callable[[], Array]:
    """Return what makes the same step as a practitioner would write it: bincount, rfftn, np.roll. Local."""
    import scipy.fft

    waves = 2 * np.pi * np.fft.fftfreq(n)
    z, y, last = np.ix_(waves, waves, 2 * np.pi * np.fft.rfftfreq(n))
    square = z * z + y * y + last * last
    square[0, 0, 0] = np.inf
    background = gravity.background
    factors = [background.coupling * f for f in (background.kick(0.0, DT / 2), background.kick(DT / 2, DT))]
    length = background.drift(0.0, DT)
    pull = gravity.acceleration.copy()

    def corners() -> Any:
        low = np.floor(x - 0.5)
        high_share = x - 0.5 - low
        low = low.astype(np.int64) % n
        places, shares = (low, (low + 1) % n), (1 - high_share, high_share)
        for dz, dy, dx in np.ndindex(2, 2, 2):
            place = (places[dz][:, 0] * n + places[dy][:, 1]) * n + places[dx][:, 2]
            yield place, shares[dz][:, 0] * shares[dy][:, 1] * shares[dx][:, 2]

    def step() -> Array:
        nonlocal pull
        u[...] += factors[0] * pull
        x[...] = (x + length * u) % n
        density = np.zeros(n**3)
        for place, weight in corners():
            density += np.bincount(place, weight, n**3)
        potential = scipy.fft.irfftn(-scipy.fft.rfftn(density.reshape(n, n, n)) / square)
        force = np.empty((n**3, 3))
        for axis in range(3):
            near = np.roll(potential, 1, axis) - np.roll(potential, -1, axis)
            far = np.roll(potential, 2, axis) - np.roll(potential, -2, axis)
            force[:, axis] = ((8 * near - far) / 12).reshape(-1)
        pull = np.zeros_like(x)
        for place, weight in corners():
            pull += weight[:, None] * force[place]
        u[...] += factors[1] * pull
        return pull

    return step


GRAVITY = {"nbody-step": steps}
