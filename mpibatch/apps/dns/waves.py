"""Tollmien–Schlichting waves: the Orr–Sommerfeld equation between two walls. Pure: no MPI, no fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["tollmien_schlichting"]

Line = npt.NDArray[Any]
TURNS = 12
NEAR = 0.25  # phase velocities of waves that may grow are near this one, those of others are not


def tollmien_schlichting(faces: Line, k: float, viscosity: float) -> tuple[complex, Line]:
    """Return the phase velocity of a wave, and its stream function on the faces, with 1 as its largest derivative.

    It is a(y) exp(i k (x − c t)) on the flow U = 1 − y², with (D = d²/dy²)

        (U − c) (D − k²) a + 2 a = ν/(i k) (D − k²)² a,   a = da/dy = 0 at the walls,

    by differences of second order, and found by inverse iteration. Local. Needs SciPy.
    """
    from scipy.linalg import solve_banded

    y, inner = faces, faces[1:-1]
    h = np.diff(y)
    low, high = 2 / (h[:-1] * (h[:-1] + h[1:])), 2 / (h[1:] * (h[:-1] + h[1:]))

    def curved(a: Line) -> Line:
        """D - k², of values on all faces, on the inner ones."""
        return np.asarray(low * a[:-2] - (low + high + k * k) * a[1:-1] + high * a[2:])

    def turning(a: Line) -> Line:
        """D - k² of what ends at the walls without a slope, on all faces."""
        full = np.concatenate([[0], a, [0]])
        return np.concatenate([[2 * a[0] / h[0] ** 2], curved(full), [2 * a[-1] / h[-1] ** 2]])

    def left(a: Line) -> Line:
        around = turning(a)
        return np.asarray((1 - inner**2) * around[1:-1] + 2 * a - viscosity / (1j * k) * curved(around))

    def right(a: Line) -> Line:
        return turning(a)[1:-1]

    c = complex(NEAR)
    a = (1 - inner**2) ** 2 + 0j
    for turn in range(TURNS):
        bands = _bands(lambda x, c=c: left(x) - c * right(x), len(inner))
        after = solve_banded((2, 2), bands, right(a))
        # The first turns stay where they began, so that the nearest wave wins.
        if turn > TURNS // 2:
            c += (a.conj() @ a) / (a.conj() @ after)
        a = after / np.abs(after).max()
    a = np.concatenate([[0], a, [0]])
    return c, a / np.abs(np.diff(a) / h).max()


def _bands(operator: Any, n: int) -> Line:
    """Return the five diagonals of an operator, as SciPy wants them."""
    bands = np.zeros((5, n), complex)
    for first in range(5):
        comb = np.zeros(n, complex)
        comb[first::5] = 1
        image = operator(comb)
        for column in range(first, n, 5):
            for row in range(max(0, column - 2), min(n, column + 3)):
                bands[2 + row - column, column] = image[row]
    return bands
