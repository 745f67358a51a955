"""The flux between two states of a gas with a magnetic field: HLLD, with its five waves."""

from __future__ import annotations

import math

__all__ = ["fast", "flux", "hlld"]

# A tangential field whose amplification is 0/0 stays as it is, below this share of the pressure.
DEGENERATE = 1e-8

# What follows is read by the compiler and inlined. A state is density, velocities along (a, b, c), pressure, and the
# field along b and c; that along a, the normal, is `n` on both sides.


def fast(r, p, n, tangential, gamma):
    """The speed of fast waves along a, with the square of the field along it and across it."""
    sound = gamma * p
    rest = sound + tangential - n
    return math.sqrt(0.5 * (sound + n + tangential + math.sqrt(rest * rest + 4.0 * n * tangential)) / r)


def total_pressure(state, n):
    """Of the gas and the field."""
    _, _, _, _, p, b, c = state
    return p + 0.5 * (n * n + (b * b + c * c))


def total_energy(state, n, gamma):
    """Of the gas and the field, per volume."""
    r, u, v, w, p, b, c = state
    return p / (gamma - 1.0) + 0.5 * r * (u * u + (v * v + w * w)) + 0.5 * (n * n + (b * b + c * c))


def flux(state, n, gamma):
    """What flows along a: of mass, momenta, energy, and the field along b and c."""
    r, u, v, w, _, b, c = state
    pressure = total_pressure(state, n)
    along = u * n + (v * b + w * c)
    return (
        r * u,
        r * u * u + (pressure - n * n),
        r * u * v - n * b,
        r * u * w - n * c,
        u * (total_energy(state, n, gamma) + pressure) - n * along,
        u * b - v * n,
        u * c - w * n,
    )


def starred(state, n, wave, contact, pressure):
    """Density, and velocities and field across, behind the fast wave."""
    r, u, v, w, _, b, c = state
    before, behind = wave - u, wave - contact
    below = r * before * behind - n * n
    is_degenerate = abs(below) < DEGENERATE * pressure
    turned = 0.0 if is_degenerate else n * (contact - u) / below
    grown = 1.0 if is_degenerate else (r * before * before - n * n) / below
    return r * before / behind, v - turned * b, w - turned * c, grown * b, grown * c


def hlld(left, right, n, gamma):
    """The flux of mass, momenta, energy, and the field along b and c, through a face."""
    rl, ul, _, _, pl, bl, cl = left
    rr, ur, _, _, pr, br, cr = right
    square, sign = n * n, math.copysign(1.0, n)
    speed = max(fast(rl, pl, square, bl * bl + cl * cl, gamma), fast(rr, pr, square, br * br + cr * cr, gamma))
    slowest, quickest = min(ul, ur) - speed, max(ul, ur) + speed
    flow_l, flow_r = rl * (slowest - ul), rr * (quickest - ur)
    total_l, total_r = total_pressure(left, n), total_pressure(right, n)
    contact = ((flow_r * ur - flow_l * ul) + (total_l - total_r)) / (flow_r - flow_l)
    pressure = ((flow_r * total_l - flow_l * total_r) + flow_l * flow_r * (ur - ul)) / (flow_r - flow_l)
    star_l = starred(left, n, slowest, contact, pressure)
    star_r = starred(right, n, quickest, contact, pressure)
    # Between the two rotations of the field.
    root_l, root_r = math.sqrt(star_l[0]), math.sqrt(star_r[0])
    roots = root_l + root_r
    v2 = ((root_l * star_l[1] + root_r * star_r[1]) + sign * (star_r[3] - star_l[3])) / roots
    w2 = ((root_l * star_l[2] + root_r * star_r[2]) + sign * (star_r[4] - star_l[4])) / roots
    b2 = ((root_l * star_r[3] + root_r * star_l[3]) + sign * root_l * root_r * (star_r[1] - star_l[1])) / roots
    c2 = ((root_l * star_r[4] + root_r * star_l[4]) + sign * root_l * root_r * (star_r[2] - star_l[2])) / roots

    # The side of the contact on which the face is; a wave that moves away from the face does not count.
    is_left = contact >= 0.0
    state = left if is_left else right
    r, u, v, w, _, b, c = state
    mass, v1, w1, b1, c1 = star_l if is_left else star_r
    wave, total = (slowest, total_l) if is_left else (quickest, total_r)
    root = -root_l if is_left else root_r
    rotation = contact + abs(n) / root
    first = min(wave, 0.0) if is_left else max(wave, 0.0)
    second = min(rotation, 0.0) if is_left else max(rotation, 0.0)
    energy = total_energy(state, n, gamma)
    before = u * n + (v * b + w * c)
    behind = contact * n + (v1 * b1 + w1 * c1)
    between = contact * n + (v2 * b2 + w2 * c2)
    energy1 = ((wave - u) * energy - total * u + pressure * contact + n * (before - behind)) / (wave - contact)
    fluxes = flux(state, n, gamma)
    return (
        fluxes[0] + first * (mass - r),
        fluxes[1] + first * (mass * contact - r * u),
        fluxes[2] + (first * (mass * v1 - r * v) + second * mass * (v2 - v1)),
        fluxes[3] + (first * (mass * w1 - r * w) + second * mass * (w2 - w1)),
        fluxes[4] + (first * (energy1 - energy) + second * root * sign * (behind - between)),
        fluxes[5] + (first * (b1 - b) + second * (b2 - b1)),
        fluxes[6] + (first * (c1 - c) + second * (c2 - c1)),
    )
