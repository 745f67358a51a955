"""Poisson's and Helmholtz's equation on a box, solved directly."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError, nearest
from mpibatch.filters._engine.arguments import axis_of, per_axis, real_of
from mpibatch.fourier._engine.arguments import float_dtype
from mpibatch.mpi import agreed
from mpibatch.reduce.totals import mean
from mpibatch.solve.columns import solve_columns
from mpibatch.solve.modes import Modes
from mpibatch.solve.operators import BOUNDARIES, SYMBOLS, BandRows, even_rows, faces_of, sums, uneven_rows
from mpibatch.solve.residuals import add_laplacian, largest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["helmholtz", "poisson"]

NEAR = 1e-12  # of the largest eigenvalue: what others may be wrong by

_log = logging.getLogger(__name__)


def poisson(
    u: Field,
    bc: str | Sequence[str] | None = None,
    symbol: str = "stencil",
    coordinates: Sequence[float] | None = None,
    axis: int = -1,
    *,
    residual: bool = False,
) -> Any:
    """Return the field whose Laplacian is `u`, with the grid's spacing.

    Parameters
    ----------
    u : Field
        The right-hand side, at the middles of cells: f4, f8, c8 or c16; integers and bool count as f8. Each component
        by itself.
    bc : str or sequence of str, optional
        Of all axes or of each: "periodic"; "neumann", no flux through the walls; "dirichlet", 0 at the walls. Walls are
        the faces of the outermost cells, half a cell beyond their middles. Default: "periodic"; axes that are not
        periodic on the grid need another.
    symbol : str, default "stencil"
        "stencil": the difference equation of second order, ``(u[-1] - 2 u[0] + u[1]) / spacing**2`` along each axis, is
        solved to rounding; "spectral": derivatives are those of the waves.
    coordinates : sequence of float, optional
        Where cells of `axis` lie, if they are uneven, in ascending order: their n + 1 faces, or their n middles,
        between which faces lie half way. Fluxes are differences of neighbors' values over that of their middles.
    axis : int, default -1
        The axis that `coordinates` are of; it may not be periodic.
    residual : bool, default False
        Whether the residual is computed, logged and returned.

    Returns
    -------
    Field
        Of the dtype of `u`, f8 for integers, on the same grid, without halo.
    float
        With `residual`: the largest ``|laplacian - u|`` over the largest ``|u|``.

    Raises
    ------
    UsageError
        The same on all ranks, for a parameter that is not valid, or if SciPy is not installed.
    RunError
        If whole lines do not fit into memory.

    Notes
    -----
    Collective: transforms along each axis and back (R. W. Hockney, doi:10.1145/321250.321259), tridiagonal systems
    along an uneven one. The same bits on any number of ranks.

    Where no axis is "dirichlet" there is a solution only if the mean of `u` is 0, and then any constant may be added.
    So the mean is left out, of both sides (on an uneven axis weighted by the cells); the residual is that of what is
    left.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid(64, periodic=True, spacing=2 * np.pi / 64)
    >>> u = mb.solve.poisson(grid.from_function(np.sin), symbol="spectral")
    >>> error = mb.max(abs(u + grid.from_function(np.sin)))
    >>> bool(error < 1e-14)
    True
    """
    return _solved("poisson", u, 0.0, _Walls(bc, symbol, coordinates, axis), residual=residual)


def helmholtz(
    u: Field,
    alpha: float,
    bc: str | Sequence[str] | None = None,
    symbol: str = "stencil",
    coordinates: Sequence[float] | None = None,
    axis: int = -1,
    *,
    residual: bool = False,
) -> Any:
    """Return the field v with ``laplacian(v) - alpha * v = u``, with the grid's spacing.

    Parameters
    ----------
    u : Field
        The right-hand side, at the middles of cells: f4, f8, c8 or c16; integers and bool count as f8. Each component
        by itself.
    alpha : float
        Positive: screened, or a step of implicit diffusion; 0: `poisson`; negative: waves, on even axes only, unless it
        is an eigenvalue of the Laplacian.
    bc : str or sequence of str, optional
        Of all axes or of each: "periodic"; "neumann", no flux through the walls; "dirichlet", 0 at the walls. Walls are
        the faces of the outermost cells, half a cell beyond their middles. Default: "periodic"; axes that are not
        periodic on the grid need another.
    symbol : str, default "stencil"
        "stencil": the difference equation of second order, with ``(v[-1] - 2 v[0] + v[1]) / spacing**2`` along each
        axis, is solved to rounding; "spectral": derivatives are those of the waves.
    coordinates : sequence of float, optional
        Where cells of `axis` lie, if they are uneven, in ascending order: their n + 1 faces, or their n middles,
        between which faces lie half way. Fluxes are differences of neighbors' values over that of their middles.
    axis : int, default -1
        The axis that `coordinates` are of; it may not be periodic.
    residual : bool, default False
        Whether the residual is computed, logged and returned.

    Returns
    -------
    Field
        Of the dtype of `u`, f8 for integers, on the same grid, without halo.
    float
        With `residual`: the largest difference of both sides over the largest ``|u|``.

    Raises
    ------
    UsageError
        The same on all ranks, for a parameter that is not valid, where `alpha` is an eigenvalue, or if SciPy is not
        installed.
    RunError
        If whole lines do not fit into memory.

    Notes
    -----
    Collective, at the cost of `poisson`. The same bits on any number of ranks.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.solve.helmholtz(mb.Grid((8, 8)).full(1.0), alpha=4.0, bc="neumann")
    >>> print(mb.gather_all(u)[0].round(12))
    [-0.25 -0.25 -0.25 -0.25 -0.25 -0.25 -0.25 -0.25]
    """
    number = real_of("helmholtz", "alpha", alpha)
    return _solved("helmholtz", u, number, _Walls(bc, symbol, coordinates, axis), residual=residual)


@dataclass(frozen=True)
class _Walls:
    """What was given for axes."""

    bc: Any
    symbol: Any
    coordinates: Any
    axis: Any


class _Problem:
    """An equation: what its axes are like, and whether it determines the mean."""

    def __init__(self, name: str, u: Field, alpha: float, walls: _Walls) -> None:
        self.name, self.alpha, grid = name, alpha, u.grid
        if walls.symbol not in SYMBOLS:
            raise UsageError(f"{name}: symbol = {walls.symbol!r} is unknown{nearest(str(walls.symbol), SYMBOLS)}")
        self.boundaries = _boundaries(name, u, walls.bc)
        if not all(math.isfinite(d) and d for d in grid.spacing):
            raise UsageError(
                f"{name}: the grid's spacing {grid.spacing} cannot be divided by; give a grid with another"
            )
        self.uneven = None if walls.coordinates is None else axis_of(name, walls.axis, grid.ndim)
        self.rows = [
            even_rows(n, d, boundary) for n, d, boundary in zip(grid.shape, grid.spacing, self.boundaries, strict=True)
        ]
        if self.uneven is not None:
            self.rows[self.uneven] = self._uneven_rows(u, walls.coordinates, self.uneven)
        self.modes = Modes(u, [None if a == self.uneven else b for a, b in enumerate(self.boundaries)], walls.symbol)
        self.is_singular = alpha == 0.0 and "dirichlet" not in self.boundaries

    def _uneven_rows(self, u: Field, coordinates: Any, axis: int) -> BandRows:
        if self.boundaries[axis] == "periodic":
            raise UsageError(f"{self.name}: axis {axis} has coordinates and is periodic; give it walls, or even cells")
        if self.alpha < 0:
            raise UsageError(
                f"{self.name}: alpha = {self.alpha:g} is negative, and axis {axis} uneven; that is not solved without "
                "pivots: give alpha >= 0, or even cells"
            )
        return uneven_rows(faces_of(self.name, coordinates, u.grid.shape[axis]), self.boundaries[axis])

    def solve(self, u: Field) -> Field:
        """Return the solution. Collective."""
        waves = self.modes.there(u)
        if self.uneven is not None:
            if waves is u:
                waves = u.copy()
            rows, tables = self.rows[self.uneven], self.modes.eigenvalues(waves)
            solve_columns(self.name, waves, self.uneven, rows, tables, self.alpha, is_singular=self.is_singular)
            waves.owned[...] /= self.modes.count
            return self.modes.back(waves)
        if self.alpha < 0:
            self._check_eigenvalues(waves)
        waves = self.modes.turned(self.name, waves, self._inverse, is_spare=waves is not u)
        return self.modes.back(waves)

    def _inverse(self, values: Any) -> Any:
        """Return what solves for waves of these eigenvalues, of three axes and changed, by multiplication. Local."""
        if self.alpha:
            values -= self.alpha
        if self.is_singular:
            first = values[:, 0]
            first[first == 0.0] = np.inf  # that of the mean, which is at the first place of every axis
        return np.divide(1.0 / self.modes.count, values, out=values)

    def _check_eigenvalues(self, waves: Field) -> None:
        """Raise UsageError if `alpha` is the eigenvalue of a wave, which only some ranks have. Collective.

        Within the rounding of the largest of all: what is nearer is divided by noise.
        """
        first, *tables = self.modes.eigenvalues(waves)
        near = NEAR * self.modes.largest()
        others = sums(tables)
        with agreed(waves.grid.comm, self.name):
            for value in first:
                if (abs((value + others) - self.alpha) <= near).any():
                    raise UsageError(
                        f"{self.name}: alpha = {self.alpha!r} is an eigenvalue of the Laplacian, or as near to one as "
                        "rounding is; give another"
                    )

    def residual(self, v: Field, u: Field) -> float:
        """Return the largest difference of both sides, over the largest right-hand side. Collective."""
        if self.modes.symbol == "stencil":
            sides = (-self.alpha) * v
            for axis, rows in enumerate(self.rows):
                add_laplacian(v, axis, rows, sides)
        else:
            sides = self._applied(v)
        difference = sides - u
        if self.is_singular:
            for part in np.ndindex(*u.components):
                cut: Any = (..., *part)
                difference.owned[cut] -= self._mean(difference, part)
        most = largest(u)
        return largest(difference) / most if most else largest(difference)

    def _applied(self, v: Field) -> Field:
        """Return the left-hand side by its waves, and the rows of an uneven axis. Collective."""
        modes, waves = self.modes, self.modes.there(v)
        if self.uneven is None:
            return modes.back(
                modes.turned(self.name, waves, lambda t: (t - self.alpha) / modes.count, is_spare=waves is not v)
            )
        if waves is v:
            waves = v.copy()
        total = sums(modes.eigenvalues(waves)).reshape(waves.box.shape) - self.alpha
        waves.owned[...] *= (total / modes.count).reshape(total.shape + (1,) * len(waves.components))
        sides = modes.back(waves)
        add_laplacian(v, self.uneven, self.rows[self.uneven], sides)
        return sides

    def _mean(self, u: Field, part: tuple[int, ...]) -> Any:
        """Return the mean of a component, weighted by the widths of uneven cells. Collective."""
        alone = u.like(components=())
        cut: Any = (..., *part)
        alone.owned[...] = u.owned[cut]
        if self.uneven is None:
            return mean(alone)
        widths = self.rows[self.uneven].widths
        low, high = u.box.start[self.uneven], u.box.stop[self.uneven]
        mine = widths[low:high].reshape([-1 if a == self.uneven else 1 for a in range(u.grid.ndim)])
        return mean(alone * _field_of(alone, mine)) / (widths.sum() / len(widths))


def _field_of(u: Field, values: Any) -> Field:
    result = u.like("f8")
    result.owned[...] = values
    return result


def _boundaries(name: str, u: Field, bc: Any) -> list[str]:
    periodic = u.grid.periodic
    if bc is None:
        if not all(periodic):
            raise UsageError(
                f"{name}: axis {periodic.index(False)} is not periodic; give bc = 'neumann' or 'dirichlet', of all "
                "axes or of each"
            )
        return ["periodic"] * u.grid.ndim
    chosen = per_axis(name, "bc", bc, u.grid.ndim)
    for boundary in chosen:
        if boundary not in BOUNDARIES:
            raise UsageError(f"{name}: bc = {boundary!r} is unknown{nearest(str(boundary), BOUNDARIES)}")
    return list(chosen)


def _solved(name: str, u: Field, alpha: float, walls: _Walls, *, residual: bool) -> Any:
    dtype = float_dtype(name, u)
    source = u if u.dtype == dtype else u.astype(dtype)
    problem = _Problem(name, source, alpha, walls)
    solution = problem.solve(source)
    if not residual:
        return solution
    error = problem.residual(solution, source)
    if u.grid.rank == 0:
        _log.info("%s: residual %.3g of the right-hand side", name, error)
    return solution, error
