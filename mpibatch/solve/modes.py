"""From values to waves and back: cosines, sines or exponentials along each axis, as its walls want them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpibatch.fourier._engine.wave_passes import Waves
from mpibatch.fourier.fft.complex_transforms import fftn, ifftn
from mpibatch.fourier.fft.real_transforms import irfftn, rfftn
from mpibatch.solve.operators import eigenvalues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["Modes"]

_WAVES = {"neumann": "dct", "dirichlet": "dst"}


class Modes:
    """Waves along some axes of fields.

    Parameters
    ----------
    u : Field
        Of the dtype, and on the grid, of all of them.
    boundaries : sequence of (str or None)
        For each axis what its walls are; None leaves it as it is.
    symbol : str
        "stencil" or "spectral".
    """

    def __init__(self, u: Field, boundaries: Sequence[str | None], symbol: str) -> None:
        self.boundaries, self.symbol = boundaries, symbol
        self.shape, self.spacing = u.grid.shape, u.grid.spacing
        self.is_complex = u.dtype.kind == "c"
        self.periodic = [axis for axis, boundary in enumerate(boundaries) if boundary == "periodic"]
        self.walled = [axis for axis, boundary in enumerate(boundaries) if boundary in _WAVES]
        counts = [self.shape[axis] for axis in self.periodic] + [2 * self.shape[axis] for axis in self.walled]
        self.count = math.prod(counts)  # what there and back multiplies by

    def there(self, u: Field) -> Field:
        """Return the waves that a field is the sum of, in a new field without halo. Collective."""
        if not self.periodic and not self.walled:
            waves = u.like(halo=0)
            waves.owned[...] = u.owned
            return waves
        for axis in self.walled:
            u = self._along(u, axis, "")
        if not self.periodic:
            return u
        return (fftn if self.is_complex else rfftn)(u, axes=self.periodic)

    def back(self, waves: Field) -> Field:
        """Return the sum of waves. Collective."""
        if self.periodic and self.is_complex:
            waves = ifftn(waves, axes=self.periodic, norm="forward")
        elif self.periodic:
            lengths = [self.shape[axis] for axis in self.periodic]
            waves = irfftn(waves, lengths, self.periodic, norm="forward")
        for axis in self.walled:
            waves = self._along(waves, axis, "i")
        return waves

    def _along(self, u: Field, axis: int, way: str) -> Field:
        name = way + _WAVES[self.boundaries[axis] or ""]
        return Waves.of(name, 2, "forward" if way else "backward", None).along(u, [axis], [u.grid.shape[axis]])

    def eigenvalues(self, waves: Field) -> list[npt.NDArray[np.float64]]:
        """Return for each axis the eigenvalues of this rank's places, zeros for axes that are left. Local."""
        box = waves.box
        return [
            np.zeros(high - low)
            if boundary is None
            else eigenvalues(range(low, high), self.shape[axis], self.spacing[axis], boundary, self.symbol)
            for axis, (boundary, low, high) in enumerate(zip(self.boundaries, box.start, box.stop, strict=True))
        ]
