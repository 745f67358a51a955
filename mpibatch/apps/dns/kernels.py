"""The flow's finite differences, as kernels: in a box or between walls, along 2 or 3 axes."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

import mpibatch as mb

__all__ = ["Kernels", "kernels"]

# What follows, down to the kernels, is read by the compiler and inlined. `q` holds the velocities along (z,) y and x, `r`
# 1/h for each axis. In a channel h of the last axis but one is in the field `width`; in a box that is a number.

AT = {  # by number of axes, two axes, and steps of 0, 1 or -1 along these: an offset
    ndim: tuple(
        tuple(
            tuple(
                tuple(tuple(m * (c == a) + n * (c == b) for c in range(ndim)) for n in (0, 1, -1)) for m in (0, 1, -1)
            )
            for b in range(ndim)
        )
        for a in range(ndim)
    )
    for ndim in (2, 3)
}


def has_walls(q, b, walled):
    """Whether there are walls across axis b."""
    return walled and b == len(q) - 2


def across(q, b, m, width, r, walled):
    """1/h of the cell m steps along axis b."""
    return 1.0 / width[AT[len(q)][b][b][m][0]] if has_walls(q, b, walled) else r[b]


def between(q, b, m, width, r, walled):
    """1/h from the middle of the cell before that to its own."""
    if has_walls(q, b, walled):
        return 2.0 / (width[AT[len(q)][b][b][m - 1][0]] + width[AT[len(q)][b][b][m][0]])
    return r[b]


def pair(q, a, b, m):
    """Component a on both sides of the face m along axis b, of the volume around it."""
    at = AT[len(q)][b][b]
    return q[a][at[m - 1][0]], q[a][at[m][0]]


def stress(q, a, b, m, width, r, walled):
    """The gradient along axis b of component a, in the face m of its volume."""
    low, high = pair(q, a, b, m)
    d = across(q, b, m - 1, width, r, walled) if a == b else between(q, b, m, width, r, walled)
    return (high - low) * d


def flux(q, a, b, m, width, walled):
    """What component a carries of itself through the face m of its volume, along axis b."""
    low, high = pair(q, a, b, m)
    mean = 0.5 * (low + high)
    if a == b:
        return mean * mean
    at = AT[len(q)][b][a][m]
    before, after = q[b][at[-1]], q[b][at[0]]
    if has_walls(q, a, walled):
        first, last = width[AT[len(q)][a][a][-1][0]], width[AT[len(q)][a][a][0][0]]
        return mean * (before * first + after * last) / (first + last)
    return mean * 0.5 * (before + after)


def of_volume(q, a, b, width, r, walled):
    """1/h along axis b of the volume around component a."""
    return between(q, b, 0, width, r, walled) if a == b else across(q, b, 0, width, r, walled)


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
    """What flows out of the volume around component a."""
    return sum(
        [
            (flux(q, a, b, 1, width, walled) - flux(q, a, b, 0, width, walled)) * of_volume(q, a, b, width, r, walled)
            for b in range(len(q))
        ]
    )


def stage(q, base, width, r, walled, shares, nu, rate, push):
    """A stage of the step, but for the pressure."""
    old, new, dt = shares
    center = AT[len(q)][0][0][0][0]
    after = [
        old * base[a][center]
        + new * q[a][center]
        + dt
        * (nu * friction(q, a, width, r, walled) - advection(q, a, width, r, walled) + rate * q[a][center] + push[a])
        for a in range(len(q))
    ]
    # The first faces across y are the wall.
    return tuple(
        [np.where(mb.index(a) == 0, 0.0, after[a]) if has_walls(q, a, walled) else after[a] for a in range(len(q))]
    )


def divergence(q, width, r, walled):
    """What flows out of a cell."""
    at = AT[len(q)]
    return sum(
        [(q[b][at[b][b][1][0]] - q[b][at[b][b][0][0]]) * across(q, b, 0, width, r, walled) for b in range(len(q))]
    )


def corrected(q, p, width, r, walled, push):
    """The velocities without the gradient of p."""
    at = AT[len(q)]
    return tuple(
        [
            q[a][at[a][a][0][0]]
            - (p[at[a][a][0][0]] - p[at[a][a][-1][0]]) * between(q, a, 0, width, r, walled)
            + push[a]
            for a in range(len(q))
        ]
    )


def energies(q, width, r, walled):
    """Energy of each component and losses by friction at viscosity 1, times the share of the volume."""
    center = AT[len(q)][0][0][0][0]
    wall = len(q) - 2
    shares = [r[wall] / of_volume(q, a, wall, width, r, walled) if walled else 1.0 for a in range(len(q))]
    lost = sum([-shares[a] * q[a][center] * friction(q, a, width, r, walled) for a in range(len(q))])
    return tuple([0.5 * shares[a] * q[a][center] * q[a][center] for a in range(len(q))] + [lost])  # noqa: RUF005


def rates(q, width, r, walled, nu):
    """The reciprocal of the longest stable step."""
    at = AT[len(q)]
    d = [across(q, b, 0, width, r, walled) for b in range(len(q))]
    speeds = [d[b] * max(abs(q[b][at[b][b][0][0]]), abs(q[b][at[b][b][1][0]])) for b in range(len(q))]
    return sum(speeds) / 1.73 + sum([4.0 * nu * x * x for x in d]) / 2.51


@dataclass(frozen=True)
class Kernels:
    """What sweeps over the cells, in a box or in a channel."""

    stage: mb.Kernel
    divergence: mb.Kernel
    corrected: mb.Kernel
    energies: mb.Kernel
    rates: mb.Kernel


@functools.cache
def kernels(ndim: int, *, walled: bool) -> Kernels:
    """Return those for so many axes. Local."""
    if ndim == 2:

        @mb.stencil
        def stage_of(v, u, v0, u0, width, ry, rx, old, new, dt, nu, rate, py, px):
            return stage((v, u), (v0, u0), width, (ry, rx), walled, (old, new, dt), nu, rate, (py, px))

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

    else:

        @mb.stencil
        def stage_of(w, v, u, w0, v0, u0, width, rz, ry, rx, old, new, dt, nu, rate, pz, py, px):
            return stage((w, v, u), (w0, v0, u0), width, (rz, ry, rx), walled, (old, new, dt), nu, rate, (pz, py, px))

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

    return Kernels(stage_of, divergence_of, corrected_of, energies_of, rates_of)
