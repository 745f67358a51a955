"""The Laplacian along one axis: its stencil, row by row, and its eigenvalues. Pure: no MPI, no fields.

Values are at the middles of cells, and walls at their faces, half a cell beyond the first and the last one: no flux
through them ("neumann"), or the value 0 there ("dirichlet").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BOUNDARIES", "SYMBOLS", "BandRows", "eigenvalues", "even_rows", "faces_of", "sums", "uneven_rows"]

Line = npt.NDArray[np.float64]
BOUNDARIES = ("periodic", "neumann", "dirichlet")
SYMBOLS = ("stencil", "spectral")


@dataclass(frozen=True)
class BandRows:
    """What the cell before, the cell itself and the one behind are multiplied by, for each cell; and cells' widths."""

    lower: Line
    diagonal: Line
    upper: Line
    widths: Line


def even_rows(n: int, spacing: float, boundary: str) -> BandRows:
    """Return the rows of an axis of even cells, of second order. Local."""
    weight = 1.0 / (spacing * spacing)
    lower, upper = np.full(n, weight), np.full(n, weight)
    diagonal = np.full(n, -2.0 * weight)
    if boundary != "periodic":
        lower[0] = upper[-1] = 0.0
        for end in (0, -1):
            diagonal[end] += weight if boundary == "neumann" else -weight
    return BandRows(lower, diagonal, upper, np.full(n, abs(spacing)))


def faces_of(name: str, coordinates: Any, n: int) -> Line:
    """Return the n + 1 faces of cells, given these or the n middles between which faces lie half way. Local."""
    try:
        given = np.array(coordinates, "f8")
    except (TypeError, ValueError):
        raise UsageError(f"{name}: coordinates must be numbers; give {n + 1} faces, or {n} middles of cells") from None
    if given.ndim != 1 or len(given) not in (n, n + 1):
        raise UsageError(
            f"{name}: coordinates of shape {given.shape} for an axis of {n} cells; give {n + 1} faces, or {n} middles"
        )
    if not np.isfinite(given).all() or not (np.diff(given) > 0).all():
        raise UsageError(f"{name}: coordinates must be finite, and each greater than the one before")
    if len(given) == n + 1:
        return given
    if n < 2:
        raise UsageError(f"{name}: the middle of one cell does not tell its width; give both faces")
    inner = (given[1:] + given[:-1]) / 2
    return np.concatenate([[2 * given[0] - inner[0]], inner, [2 * given[-1] - inner[-1]]])


def uneven_rows(faces: Line, boundary: str) -> BandRows:
    """Return the rows of an axis of uneven cells: differences of fluxes through faces over widths. Local."""
    widths, middles = np.diff(faces), (faces[1:] + faces[:-1]) / 2
    between = 1.0 / np.diff(middles)
    first, last = (
        (0.0, 0.0) if boundary == "neumann" else (1.0 / (middles[0] - faces[0]), 1.0 / (faces[-1] - middles[-1]))
    )
    lower = np.concatenate([[0.0], between]) / widths
    upper = np.concatenate([between, [0.0]]) / widths
    walls = np.zeros_like(widths)
    walls[0] += first / widths[0]
    walls[-1] += last / widths[-1]
    return BandRows(lower, -(lower + upper) - walls, upper, widths)


def eigenvalues(places: range, n: int, spacing: float, boundary: str, symbol: str) -> Line:
    """Return the eigenvalues of the waves at some places of a spectrum of n points. Local.

    Of the stencil they are those of its rows; "spectral" is the square of the wave number.
    """
    values = []
    for place in places:
        if boundary == "periodic":
            angle = math.pi * min(place, n - place) / n
        else:
            angle = math.pi * (place + (boundary == "dirichlet")) / (2 * n)
        wave = 2.0 * (math.sin(angle) if symbol == "stencil" else angle) / spacing
        values.append(-wave * wave)
    return np.array(values, "f8")


def sums(tables: Sequence[Line]) -> Line:
    """The sum of one value from each table, for all choices, in C order. Local."""
    total: Line = np.zeros(1)
    for table in tables:
        total = (total[:, None] + table).reshape(-1)
    return total
