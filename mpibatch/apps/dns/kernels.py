"""The flow's finite differences, as kernels: in a box or between walls, along 2 or 3 axes."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

import mpibatch as mb

__all__ = ["Kernels", "kernels"]

# How far Runge's and Kutta's method of third order is stable along both axes of the complex plane, rounded down.
IMAGINARY, REAL = 1.73, 2.51

# What follows, down to the kernels, is read by the compiler and inlined. `q` holds the velocities along (z,) y and x,
# `r` 1/h for each axis. In a channel h across is in the field `width`; in a box that is a number, and not read.


def at(q, a, m, b, n):
    """The offset of m cells along axis a and n along axis b."""
    return tuple([(m if c == a else 0) + (n if c == b else 0) for c in range(len(q))])


def along(q, a, m):
    """The offset of m cells along axis a."""
    return at(q, a, m, a, 0)


def has_walls(q, b, walled):
    """Whether there are walls across axis b."""
    return walled and b == len(q) - 2


def of_box(q, b, m, width, r, walled):
    """1/h of the cell m steps along axis b."""
    return 1.0 / width[along(q, b, m)] if has_walls(q, b, walled) else r[b]


def between(q, b, m, width, r, walled):
    """1/h from the middle of the cell before that to its own."""
    return 2.0 / (width[along(q, b, m - 1)] + width[along(q, b, m)]) if has_walls(q, b, walled) else r[b]


def of_volume(q, a, b, width, r, walled):
    """1/h along axis b of the volume around component a, from middle to middle along its own axis."""
    return between(q, b, 0, width, r, walled) if a == b else of_box(q, b, 0, width, r, walled)


def stress(q, a, b, m, width, r, walled):
    """The gradient of component a through the lower or, with m = 1, the upper face across axis b of its volume."""
    d = of_box(q, b, m - 1, width, r, walled) if a == b else between(q, b, m, width, r, walled)
    return (q[a][along(q, b, m)] - q[a][along(q, b, m - 1)]) * d


def flux(q, a, b, m, width, walled):
    """What component a carries of itself through that face."""
    mean = 0.5 * (q[a][along(q, b, m - 1)] + q[a][along(q, b, m)])
    if a == b:
        return mean * mean
    # The face is half in one cell, half in the one before.
    before, after = q[b][at(q, b, m, a, -1)], q[b][at(q, b, m, a, 0)]
    if has_walls(q, a, walled):
        first, last = width[along(q, a, -1)], width[along(q, a, 0)]
        return mean * (before * first + after * last) / (first + last)
    return mean * 0.5 * (before + after)


def friction(q, a, width, r, walled):
    """The Laplacian of component a."""
    return sum(
        [
            (stress(q, a, b, 1, width, r, walled) - stress(q, a, b, 0, width, r, walled))
            * of_volume(q, a, b, width, r, walled)
            for b in range(len(q))
        ]
    )


def advection(q, a, width, r, walled):
    """What component a loses by the flow."""
    return sum(
        [
            (flux(q, a, b, 1, width, walled) - flux(q, a, b, 0, width, walled)) * of_volume(q, a, b, width, r, walled)
            for b in range(len(q))
        ]
    )


def stage(q, base, width, r, walled, numbers):
    """A stage of a step, but for the pressure: of shares of the flow before the step, and of the stage before."""
    old, new, dt, nu, rate, push = numbers
    after = [
        old * base[a][along(q, a, 0)]
        + new * q[a][along(q, a, 0)]
        + dt * (nu * friction(q, a, width, r, walled) - advection(q, a, width, r, walled))
        + dt * (rate * q[a][along(q, a, 0)] + push[a])
        for a in range(len(q))
    ]
    # The first faces across y are a wall.
    return tuple(
        [np.where(mb.index(a) == 0, 0.0, after[a]) if has_walls(q, a, walled) else after[a] for a in range(len(q))]
    )


def divergence(q, width, r, walled):
    """What flows out of a cell."""
    return sum(
        [(q[b][along(q, b, 1)] - q[b][along(q, b, 0)]) * of_box(q, b, 0, width, r, walled) for b in range(len(q))]
    )


def corrected(q, p, width, r, walled, push):
    """The velocities without the gradient of p."""
    return tuple(
        [
            q[a][along(q, a, 0)]
            - (p[along(q, a, 0)] - p[along(q, a, -1)]) * between(q, a, 0, width, r, walled)
            + push[a]
            for a in range(len(q))
        ]
    )


def energies(q, width, r, walled):
    """Energy of each component and losses by friction at viscosity 1, of mean cells."""
    wall = len(q) - 2
    shares = [r[wall] / of_volume(q, a, wall, width, r, walled) if walled else 1.0 for a in range(len(q))]
    v = [q[a][along(q, a, 0)] for a in range(len(q))]
    lost = sum([-shares[a] * v[a] * friction(q, a, width, r, walled) for a in range(len(q))])
    return tuple([0.5 * shares[a] * v[a] * v[a] for a in range(len(q))] + [lost])


def rates(q, width, r, walled, nu):
    """The reciprocal of the longest stable step, by the velocities around a cell."""
    d = [of_box(q, b, 0, width, r, walled) for b in range(len(q))]
    speeds = [d[b] * max(abs(q[b][along(q, b, 0)]), abs(q[b][along(q, b, 1)])) for b in range(len(q))]
    return sum(speeds) / IMAGINARY + sum([4.0 * nu * x * x for x in d]) / REAL


@dataclass(frozen=True)
class Kernels:
    """What sweeps over the cells, in a box or in a channel."""

    stage: mb.Kernel
    divergence: mb.Kernel
    corrected: mb.Kernel
    energies: mb.Kernel
    rates: mb.Kernel
    flux: mb.Kernel  # of the velocity along x across the lower faces along y


@functools.cache
def kernels(ndim: int, *, walled: bool) -> Kernels:
    """Return those for so many axes. Local."""
    return plane(walled=walled) if ndim == 2 else space(walled=walled)


def plane(*, walled: bool) -> Kernels:
    """Return those for two axes. Local."""

    @mb.stencil
    def stage_of(v, u, v0, u0, width, ry, rx, old, new, dt, nu, rate, py, px):
        return stage((v, u), (v0, u0), width, (ry, rx), walled, (old, new, dt, nu, rate, (py, px)))

    @mb.stencil
    def divergence_of(v, u, width, ry, rx):
        return divergence((v, u), width, (ry, rx), walled)

    @mb.stencil
    def corrected_of(v, u, p, width, ry, rx, py, px):
        return corrected((v, u), p, width, (ry, rx), walled, (py, px))

    @mb.stencil
    def energies_of(v, u, width, ry, rx):
        return energies((v, u), width, (ry, rx), walled)

    @mb.stencil
    def rates_of(v, u, width, ry, rx, nu):
        return rates((v, u), width, (ry, rx), walled, nu)

    @mb.stencil
    def flux_of(v, u):
        return flux((v, u), 1, 0, 0, 0.0, walled)

    return Kernels(stage_of, divergence_of, corrected_of, energies_of, rates_of, flux_of)


def space(*, walled: bool) -> Kernels:
    """Return those for three axes. Local."""

    @mb.stencil
    def stage_of(w, v, u, w0, v0, u0, width, rz, ry, rx, old, new, dt, nu, rate, pz, py, px):
        return stage((w, v, u), (w0, v0, u0), width, (rz, ry, rx), walled, (old, new, dt, nu, rate, (pz, py, px)))

    @mb.stencil
    def divergence_of(w, v, u, width, rz, ry, rx):
        return divergence((w, v, u), width, (rz, ry, rx), walled)

    @mb.stencil
    def corrected_of(w, v, u, p, width, rz, ry, rx, pz, py, px):
        return corrected((w, v, u), p, width, (rz, ry, rx), walled, (pz, py, px))

    @mb.stencil
    def energies_of(w, v, u, width, rz, ry, rx):
        return energies((w, v, u), width, (rz, ry, rx), walled)

    @mb.stencil
    def rates_of(w, v, u, width, rz, ry, rx, nu):
        return rates((w, v, u), width, (rz, ry, rx), walled, nu)

    @mb.stencil
    def flux_of(w, v, u):
        return flux((w, v, u), 2, 1, 0, 0.0, walled)

    return Kernels(stage_of, divergence_of, corrected_of, energies_of, rates_of, flux_of)
