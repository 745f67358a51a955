"""The potential of mass with nothing around it, by Fourier transforms of twice as many cells."""

from __future__ import annotations

import math

import numpy as np

import mpibatch as mb
from mpibatch.domain import Box
from mpibatch.fields.pencils import alike
from mpibatch.fields.redistribution import bring

__all__ = ["EmptySpace"]

# What the sum of 1/r over a lattice of cubes lacks of its integral, per cell's side: for the cell where r = 0.
OWN = 2.8372974794806


class EmptySpace:
    """The potential that a density in a box has, if nothing is outside of the box, nor anything repeated.

    It is the convolution of the density and −1/(4πr), cyclic on twice as many cells along each axis, half of which are
    empty: no image is within reach (R. W. Hockney and J. W. Eastwood 1988, doi:10.1201/9780367806934). With what is
    taken for r = 0, the sum over cells is the integral to fourth order in the cells' side, for smooth densities.

    Parameters
    ----------
    grid : Grid
        Of the density: cells that are cubes. Collective.
    """

    def __init__(self, grid: mb.Grid) -> None:
        self._double = tuple(2 * n for n in grid.shape)
        kernel, h = alike(grid, self._double).empty(), grid.spacing[0]
        places = (np.arange(low, high) for low, high in zip(kernel.box.start, kernel.box.stop, strict=True))
        z, y, x = np.ix_(*(np.minimum(at, n - at) for at, n in zip(places, self._double, strict=True)))
        squares = z * z + y * y + x * x
        inverse = np.where(squares, 1 / np.sqrt(np.where(squares, squares, 1)), OWN)
        kernel.owned[...] = -h * h / (4 * math.pi) * inverse
        waves = mb.redistribute(mb.fft.rfftn(kernel), mb.fft.rfftn(grid.zeros(), self._double).grid)
        # As the distances are the same on both sides, it is real but for rounding.
        self._kernel = waves.owned.real.copy()

    def potential(self, density: mb.Field) -> mb.Field:
        """Return the field whose Laplacian is the density, and that falls to 0 far away. Collective."""
        waves = mb.fft.rfftn(density, self._double)
        waves.owned[...] *= self._kernel
        whole = mb.fft.irfftn(waves, self._double)
        result = density.like(halo=0)
        bring(whole, Box((0, 0, 0), density.shape), (0, 0, 0), result)
        return result
