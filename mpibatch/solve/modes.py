"""From values to waves and back: cosines, sines or exponentials along each axis, as its walls want them.

One axis is the last on the way there and the first on the way back: what is done to waves is done in between, while
its lines are whole. Which one does not depend on the decomposition, nor do the bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.lazy_names import scipy_module
from mpibatch.fourier._engine.passes import complex_passes, from_half, passed
from mpibatch.fourier._engine.wave_passes import Waves
from mpibatch.fourier.fft.complex_transforms import fftn
from mpibatch.fourier.fft.real_transforms import rfftn
from mpibatch.solve.operators import eigenvalues, sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field
    from mpibatch.fields.lines import Cut

__all__ = ["Modes"]

Array = npt.NDArray[Any]
Factors = Callable[[Array], Array]
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
        # The first axis is the one that is cut before others are, and those go there and back only once.
        self.turn = boundaries.index(None) if None in boundaries else 0

    def there(self, u: Field) -> Field:
        """Return the waves along all axes but `turn` that a field is the sum of; itself if that is all. Collective."""
        for axis in self._other(self.walled):
            u = self._along(u, axis, "")
        others = self._other(self.periodic)
        if others:
            u = (fftn if self.is_complex else rfftn)(u, axes=others)
        return u

    def turned(self, name: str, waves: Field, factors: Factors, *, is_spare: bool) -> Field:
        """Return what becomes of waves that are multiplied once they are waves along `turn`, too. Collective.

        Lines go there, are transformed, multiplied and transformed back, and return: each moves twice in all.
        `factors(values)` makes of eigenvalues what the waves with these are multiplied by. With `is_spare`, the field
        is changed and returned.
        """
        axis, n = self.turn, self.shape[self.turn]
        forward, backward, places = self._transforms(waves.dtype.kind == "c", is_spare=is_spare)
        tables = self.eigenvalues(waves)
        along = self._eigenvalues(axis, range(places))
        before, behind = sums(tables[:axis]), np.repeat(sums(tables[axis + 1 :]), math.prod(waves.components))

        def work(source: Array, target: Array, cut: Cut) -> None:
            others = before[cut[0], None, None] + behind[None, None, cut[1]]
            lines = forward(source)
            factor = factors(along[None, :, None] + others)
            for part in (lines.real, lines.imag) if lines.dtype.kind == "c" else (lines,):
                np.multiply(part, factor, out=part)
            result = backward(lines)
            if not np.may_share_memory(result, target):
                target[...] = result

        return passed(name, waves, axis, n, waves.dtype, work, waves if is_spare else None)

    def back(self, waves: Field) -> Field:
        """Return the sum of waves along all axes but `turn`; they are changed. Collective."""
        others = self._other(self.periodic)
        sizes = [self.shape[axis] for axis in others]
        if others and self.is_complex:
            waves = complex_passes("ifftn", waves, others, sizes, None, forward=False, is_spare=True)
        elif others:
            waves = from_half("irfftn", waves, others, sizes, None, is_spare=True)
        for axis in self._other(self.walled):
            waves = self._along(waves, axis, "i")
        return waves

    def _other(self, axes: Sequence[int]) -> list[int]:
        return [axis for axis in axes if axis != self.turn]

    def _along(self, u: Field, axis: int, way: str) -> Field:
        name = way + _WAVES[self.boundaries[axis] or ""]
        return Waves.of(name, 2, "forward" if way else "backward", None).along(u, [axis], [u.grid.shape[axis]])

    def _transforms(self, is_complex: bool, *, is_spare: bool) -> tuple[Any, Any, int]:  # noqa: FBT001
        """Return the transform of lines along `turn`, the one back, unscaled both, and the places between them."""
        fft, n, boundary = scipy_module("fft"), self.shape[self.turn], self.boundaries[self.turn]
        if boundary != "periodic":
            function = getattr(fft, _WAVES[boundary or ""])
            return lambda v: function(v, 2, axis=1), lambda v: function(v, 3, axis=1), n
        if is_complex:
            return (
                lambda v: fft.fft(v, axis=1, overwrite_x=is_spare),
                lambda v: fft.ifft(v, axis=1, norm="forward", overwrite_x=True),
                n,
            )
        return lambda v: fft.rfft(v, axis=1), lambda v: fft.irfft(v, n, axis=1, norm="forward"), n // 2 + 1

    def eigenvalues(self, waves: Field) -> list[Array]:
        """Return for each axis the eigenvalues of this rank's places, zeros for axes that are left. Local."""
        bounds = zip(waves.box.start, waves.box.stop, strict=True)
        return [self._eigenvalues(axis, range(low, high)) for axis, (low, high) in enumerate(bounds)]

    def largest(self) -> float:
        """Return the largest magnitude of all eigenvalues. Local."""
        return sum(float(abs(self._eigenvalues(axis, range(n))).max()) for axis, n in enumerate(self.shape))

    def _eigenvalues(self, axis: int, places: range) -> Array:
        boundary = self.boundaries[axis]
        if boundary is None:
            return np.zeros(len(places))
        return eigenvalues(places, self.shape[axis], self.spacing[axis], boundary, self.symbol)
