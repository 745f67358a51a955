"""Density, velocities, pressure and magnetic field at the beginning."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import mpibatch as mb
from mpibatch.apps.mhd.kernels import across
from mpibatch.apps.mhd.parameters import Parameters

__all__ = ["FIELD", "GAS", "alfven", "beginning"]

GAS = ("density", "velocity_z", "velocity_y", "velocity_x", "pressure")
FIELD = ("magnetic_z", "magnetic_y", "magnetic_x")
Fields = dict[str, mb.Field]
Values = Callable[..., Any]  # of places along z, y and x


def beginning(p: Parameters, grid: mb.Grid) -> Fields:
    """Return all fields: gas in the middle of cells, magnetic components on the lower faces. Collective."""
    if p.start is not None:
        return {name: mb.load(f"{p.start}::{name}", grid=grid).astype("f8") for name in (*GAS, *FIELD)}
    if p.problem == "alfven":
        return alfven(p, grid, 0.0)
    return {"tube": tube, "orszag-tang": vortices, "blast": blast}[p.problem](p, grid)


def filled(grid: mb.Grid, values: Sequence[Any], names: Sequence[str]) -> Fields:
    """Return fields of numbers and functions. Local."""
    return {
        name: grid.from_function(value) if callable(value) else grid.full(float(value))
        for name, value in zip(names, values, strict=True)
    }


def curl(p: Parameters, grid: mb.Grid, potential: Sequence[Values], mean: Sequence[float]) -> Fields:
    """Return the differences of a vector potential on edges, free of divergence, and a mean field. Local."""
    h = grid.spacing

    def difference(part: Values, along: int, places: Sequence[Any], face: Sequence[float]) -> Any:
        """Of values on the two edges that bound a face."""
        low = [x + face[d] * h[d] for d, x in enumerate(places)]
        high = [x + (h[d] if d == along else 0.0) for d, x in enumerate(low)]
        return (part(*high) - part(*low)) / h[along]

    def component(a: int) -> Values:
        b, c = across(a)

        def values(*places: Any) -> Any:
            total = mean[a] + 0.0 * sum(places)
            for along, part, sign in ((b, c, 1.0), (c, b, -1.0)):
                if p.wide[along]:
                    face = [-0.5 if d in (a, along) and p.wide[d] else 0.0 for d in range(3)]
                    total = total + sign * difference(potential[part], along, places, face)
            return total

        return values

    return filled(grid, [component(a) for a in range(3)], FIELD)


def tube(p: Parameters, grid: mb.Grid) -> Fields:
    """Return test 2a of Ryu and Jones: all seven waves go out from a membrane in the middle of x."""
    scale = 1 / math.sqrt(4 * math.pi)
    low = (1.08, 0.5, 0.01, 1.2, 0.95, 2 * scale, 3.6 * scale, 2 * scale)
    high = (1.0, 0.0, 0.0, 0.0, 1.0, 2 * scale, 4 * scale, 2 * scale)

    def values(left: float, right: float) -> Values:
        return lambda z, y, x: np.where(x < 0.5 * p.lengths[2], left, right) + 0.0 * (z + y)

    return filled(grid, [values(a, b) for a, b in zip(low, high, strict=True)], (*GAS, *FIELD))


def vortices(p: Parameters, grid: mb.Grid) -> Fields:
    """Return Orszag's and Tang's vortices. Local."""
    k = [2 * math.pi / length for length in p.lengths]
    b = 1 / math.sqrt(4 * math.pi)
    gas = [
        25 / (36 * math.pi),
        0.0,
        lambda z, y, x: np.sin(k[2] * x) + 0.0 * (y + z),
        lambda z, y, x: -np.sin(k[1] * y) + 0.0 * (x + z),
        5 / (12 * math.pi),
    ]

    def potential(z: Any, y: Any, x: Any) -> Any:
        return b * (np.cos(2 * k[2] * x) / (2 * k[2]) + np.cos(k[1] * y) / k[1]) + 0.0 * z

    def nothing(*places: Any) -> Any:
        return 0.0 * sum(places)

    return filled(grid, gas, GAS) | curl(p, grid, (potential, nothing, nothing), (0.0, 0.0, 0.0))


def blast(p: Parameters, grid: mb.Grid) -> Fields:
    """Return gas of a hundred times the pressure in a ball, in a field along the diagonal of y and x. Local."""
    reach = 0.1 * min(length for length, is_wide in zip(p.lengths, p.wide, strict=True) if is_wide)

    def pressure(*places: Any) -> Any:
        squares: Any = [
            (x - 0.5 * length) ** 2 if is_wide else 0.0 * x
            for x, length, is_wide in zip(places, p.lengths, p.wide, strict=True)
        ]
        return np.where(sum(squares) < reach * reach, 10.0, 0.1)

    tilted = math.sqrt(0.5)
    return filled(grid, (1.0, 0.0, 0.0, 0.0, pressure, 0.0, tilted, tilted), (*GAS, *FIELD))


def alfven(p: Parameters, grid: mb.Grid, time: float) -> Fields:
    """Return Alfvén's wave, circularly polarized, of one wavelength along each axis: exact at any time. Local."""
    rates = [1 / length if is_wide else 0.0 for length, is_wide in zip(p.lengths, p.wide, strict=True)]
    rate = math.sqrt(math.fsum(x * x for x in rates))
    n = [x / rate for x in rates]  # along z, y and x
    flat = math.hypot(n[1], n[2])
    t = [0.0, n[2] / flat, -n[1] / flat] if flat else [0.0, 1.0, 0.0]
    s = [n[2] * t[1] - n[1] * t[2], n[0] * t[2] - n[2] * t[0], n[1] * t[0] - n[0] * t[1]]  # n × t
    size = p.amplitude / (2 * math.pi * rate)

    def phase(places: Sequence[Any]) -> Any:
        return 2 * math.pi * (sum(x * r for x, r in zip(places, rates, strict=True)) - time * rate)

    def potential(a: int) -> Values:
        return lambda *places: size * (t[a] * np.sin(phase(places)) + s[a] * np.cos(phase(places)))

    def velocity(a: int) -> Values:
        return lambda *places: -p.amplitude * (t[a] * np.sin(phase(places)) + s[a] * np.cos(phase(places)))

    gas = filled(grid, (1.0, *map(velocity, range(3)), 0.1), GAS)
    return gas | curl(p, grid, [potential(a) for a in range(3)], n)
