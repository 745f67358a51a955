"""The sweeps of a step, as kernels. An axis of one cell is left out of them; the others are walled or not."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

import mpibatch as mb
from mpibatch.apps.mhd.riemann import fast, flux, hlld

__all__ = ["Kernels", "across", "kernels"]

NEVER = math.inf  # steps in a unit of time, where there is no gas

# What follows, down to the kernels, is read by the compiler and inlined. Axes are (z, y, x). Those `across` axis a, b
# and c, make (a, b, c) right-handed: (x, y, z), (y, z, x) and (z, x, y). `wide` says of each whether it has more than
# one cell, `ends` whether it ends in walls that let all pass.


def across(a):
    """The two other axes."""
    return (a + 2) % 3, (a + 1) % 3


def at(a, m, b, n):
    """The offset of m cells along axis a and n along axis b."""
    return tuple([(m if d == a else 0) + (n if d == b else 0) for d in range(3)])


def along(a, m):
    """The offset of m cells along axis a."""
    return at(a, m, a, 0)


def is_last(a, ends):
    """Whether an open wall is above the cell."""
    return mb.index(a) == mb.cells(a) - 1 if ends[a] else False


def rise(field, a):
    """What a field has more on the upper face than on the lower."""
    return field[a][along(a, 1)] - field[a][along(a, 0)]


def middle(field, a, wide, ends):
    """Component a in the middle of the cell. What is on an open wall above makes the cell free of divergence."""
    low = field[a][0, 0, 0]
    if not wide[a]:
        return low
    more = rise(field, a)
    if ends[a]:
        others = sum([rise(field, d) * (mb.spacing(a) / mb.spacing(d)) for d in range(3) if wide[d] and d != a])
        more = np.where(is_last(a, ends), -others, more)
    return low + 0.5 * more


def of_motion_and_field(r, v, b):
    """What the energy is more than that of a gas at rest."""
    kinetic = 0.5 * r * (v[2] * v[2] + (v[1] * v[1] + v[0] * v[0]))
    return kinetic + 0.5 * (b[2] * b[2] + (b[1] * b[1] + b[0] * b[0]))


def primitive(gas, field, gamma, wide, ends):
    """Velocities, pressure, and the field in the middle of the cell."""
    r, e = gas[0][0, 0, 0], gas[4][0, 0, 0]
    v = [gas[1 + d][0, 0, 0] / r for d in range(3)]
    b = [middle(field, d, wide, ends) for d in range(3)]
    p = (gamma - 1.0) * (e - of_motion_and_field(r, v, b))
    return v[0], v[1], v[2], p, b[0], b[1], b[2]


def conserved(state, field, gamma, wide, ends):
    """Momenta and energy, from density, velocities and pressure."""
    r, v, p = state[0][0, 0, 0], [state[1 + d][0, 0, 0] for d in range(3)], state[4][0, 0, 0]
    b = [middle(field, d, wide, ends) for d in range(3)]
    return r * v[0], r * v[1], r * v[2], p / (gamma - 1.0) + of_motion_and_field(r, v, b)


def half_slope(a, b):
    """Half the limited slope between two differences: van Leer's harmonic mean, or 0 at extrema."""
    return a * b / (a + b) if a * b > 0.0 else 0.0


def face_flux(q, normal, a, gamma):
    """The flux through the lower face across axis a, and the electric field along b and c there."""
    w = [[part[along(a, m)] for m in (-2, -1, 0, 1)] for part in q]
    left = [x[1] + half_slope(x[1] - x[0], x[2] - x[1]) for x in w]
    right = [x[2] - half_slope(x[2] - x[1], x[3] - x[2]) for x in w]
    mass, ma, mb_, mc, energy, b, c = hlld(left, right, normal[0, 0, 0], gamma)
    return mass, ma, mb_, mc, energy, c, -b


def electric(v, b, c, offset):
    """The electric field along axis c in the middle of a cell."""
    m, n = across(c)
    return v[n][offset] * b[m][offset] - v[m][offset] * b[n][offset]


def upwind(flow, before, after):
    """What the flow brings."""
    return np.where(flow > 0.0, before, np.where(flow < 0.0, after, 0.5 * (before + after)))


def corner(ea, eb, flow_a, flow_b, v, field, c):
    """The electric field along axis c on the edge at the lower faces across a and b: a mean from its four faces.

    From each face it is carried on to the edge by what its change is in the cell that the flow comes from.
    """
    a, b = across(c)
    center = along(c, 0)
    from_a, from_b = [], []
    for n in (0, -1):
        before = along(a, -1)
        change = upwind(
            flow_a[along(b, n)],
            eb[before] - electric(v, field, c, at(a, -1, b, n)),
            eb[center] - electric(v, field, c, at(a, 0, b, n)),
        )
        from_a += [ea[along(b, n)] + change]
        before = along(b, -1)
        change = upwind(
            flow_b[along(a, n)],
            ea[before] - electric(v, field, c, at(a, n, b, -1)),
            ea[center] - electric(v, field, c, at(a, n, b, 0)),
        )
        from_b += [eb[along(a, n)] + change]
    return 0.25 * ((from_a[0] + from_a[1]) + (from_b[0] + from_b[1]))


def gas_after(q, base, fluxes, state, numbers, wide, ends):
    """Density, momenta and energy after a stage."""
    old, new, dt, gamma = numbers
    lost: list[list[float]] = [[] for _ in range(5)]
    for a in [d for d in range(3) if wide[d]]:
        b, c = across(a)
        order = [0, 1 + a, 1 + b, 1 + c, 4]  # of the parts of a flux along a
        out = [part[along(a, 1)] for part in fluxes[a]]
        if ends[a]:
            inside = [state[n][0, 0, 0] for n in (0, 1 + a, 1 + b, 1 + c, 4, 5 + b, 5 + c)]
            free = flux(inside, state[5 + a][0, 0, 0], gamma)
            out = [np.where(is_last(a, ends), free[n], out[n]) for n in range(5)]
        for n in range(5):
            lost[order[n]] += [(out[n] - fluxes[a][n][0, 0, 0]) * (dt / mb.spacing(a))]
    return tuple([old * base[n][0, 0, 0] + new * q[n][0, 0, 0] - sum(lost[n]) for n in range(5)])


def turn(e, c, b, faces, v, middles, dt, wide, ends):
    """What the electric field along axis c has more on the upper edge along axis b, times dt / h."""
    out = e[c][along(b, 1)]
    if ends[b]:
        # On an open wall it is as half a cell before it.
        a = 3 - b - c
        first, _ = across(a)
        part = faces[a][0] if c == first else faces[a][1]
        free = part[0, 0, 0] if wide[a] else electric(v, middles, c, along(b, 0))
        out = np.where(is_last(b, ends), free, out)
    return (out - e[c][0, 0, 0]) * (dt / mb.spacing(b))


def field_after(q, base, e, faces, v, middles, numbers, wide, ends):
    """The magnetic field on the lower faces after a stage: Faraday's law."""
    old, new, dt = numbers
    after = []
    for a in range(3):
        b, c = across(a)
        value = old * base[a][0, 0, 0] + new * q[a][0, 0, 0]
        if wide[b]:
            value = value - turn(e, c, b, faces, v, middles, dt, wide, ends)
        if wide[c]:
            value = value + turn(e, b, c, faces, v, middles, dt, wide, ends)
        after += [value]
    return tuple(after)


def divergence_of(field, wide, ends):
    """What comes out of a cell, all of whose faces are there; below open walls it is 0 by what is meant with them."""
    parts = [rise(field, a) / mb.spacing(a) for a in range(3) if wide[a]]
    for a in range(3):
        parts = [np.where(is_last(a, ends), 0.0, part) for part in parts]
    return sum(parts)


def rate_of(gas, field, gamma, wide, ends):
    """The cells that fast waves cross in a unit of time, of all axes together; endless where there is no gas."""
    r = gas[0][0, 0, 0]
    v0, v1, v2, p, b0, b1, b2 = primitive(gas, field, gamma, wide, ends)
    v, squares = [v0, v1, v2], [b0 * b0, b1 * b1, b2 * b2]
    rates = []
    for a in [d for d in range(3) if wide[d]]:
        m, n = across(a)
        rates += [(abs(v[a]) + fast(r, p, squares[a], squares[m] + squares[n], gamma)) / mb.spacing(a)]
    return np.where((r > 0.0) & (p > 0.0), sum(rates), NEVER)


@dataclass(frozen=True)
class Kernels:
    """What sweeps over the cells: `flux` and `corner` by axis."""

    primitive: mb.Kernel
    conserved: mb.Kernel
    flux: tuple[mb.Kernel, ...]
    corner: tuple[mb.Kernel, ...]
    gas: mb.Kernel
    field: mb.Kernel
    divergence: mb.Kernel
    rate: mb.Kernel


@functools.cache
def flux_along(axis: int) -> mb.Kernel:
    """Return the kernel of fluxes through faces across an axis. Local."""

    @mb.stencil
    def face(r, u, v, w, p, b, c, normal, gamma):
        return face_flux((r, u, v, w, p, b, c), normal, axis, gamma)

    return face


@functools.cache
def corner_along(axis: int) -> mb.Kernel:
    """Return the kernel of the electric field on edges along an axis. Local."""
    first, _ = across(axis)

    @mb.stencil
    def edge(ea, eb, flow_a, flow_b, va, vb, ba, bb):
        v = [va if d == first else vb for d in range(3)]
        field = [ba if d == first else bb for d in range(3)]
        return corner(ea, eb, flow_a, flow_b, v, field, axis)

    return edge


@functools.cache
def kernels(wide: tuple[bool, ...], ends: tuple[bool, ...]) -> Kernels:
    """Return those for some axes of more than one cell, and those of them that end in open walls. Local."""

    @mb.stencil
    def primitive_of(r, mz, my, mx, e, bz, by, bx, gamma):
        return primitive((r, mz, my, mx, e), (bz, by, bx), gamma, wide, ends)

    @mb.stencil
    def conserved_of(r, vz, vy, vx, p, bz, by, bx, gamma):
        return conserved((r, vz, vy, vx, p), (bz, by, bx), gamma, wide, ends)

    # fmt: off
    @mb.stencil
    def gas_of(r, mz, my, mx, e, r0, mz0, my0, mx0, e0, z0, z1, z2, z3, z4, y0, y1, y2, y3, y4, x0, x1, x2, x3, x4,
               vz, vy, vx, p, cz, cy, cx, old, new, dt, gamma):
        fluxes = [(z0, z1, z2, z3, z4), (y0, y1, y2, y3, y4), (x0, x1, x2, x3, x4)]
        state = (r, vz, vy, vx, p, cz, cy, cx)
        return gas_after((r, mz, my, mx, e), (r0, mz0, my0, mx0, e0), fluxes, state, (old, new, dt, gamma),
                         wide, ends)

    @mb.stencil
    def field_of(bz, by, bx, bz0, by0, bx0, ez, ey, ex, z5, z6, y5, y6, x5, x6, vz, vy, vx, cz, cy, cx, old, new, dt):
        return field_after((bz, by, bx), (bz0, by0, bx0), (ez, ey, ex), ((z5, z6), (y5, y6), (x5, x6)),
                           (vz, vy, vx), (cz, cy, cx), (old, new, dt), wide, ends)
    # fmt: on

    @mb.stencil
    def divergence(bz, by, bx):
        return divergence_of((bz, by, bx), wide, ends)

    @mb.stencil
    def rate(r, mz, my, mx, e, bz, by, bx, gamma):
        return rate_of((r, mz, my, mx, e), (bz, by, bx), gamma, wide, ends)

    return Kernels(
        primitive=primitive_of,
        conserved=conserved_of,
        flux=tuple(map(flux_along, range(3))),
        corner=tuple(map(corner_along, range(3))),
        gas=gas_of,
        field=field_of,
        divergence=divergence,
        rate=rate,
    )
