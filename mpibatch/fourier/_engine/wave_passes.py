"""Cosine and sine transforms along one axis after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.lazy_names import scipy_module
from mpibatch.fields.steps import AxisStep
from mpibatch.filters._engine.arguments import whole
from mpibatch.fourier._engine.arguments import axis_of, check_norm, extents_of, float_dtype, length_of, scale
from mpibatch.fourier._engine.passes import fit, resized, through
from mpibatch.fourier._engine.waves import scaled_waves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["Waves"]

Array = npt.NDArray[Any]
_INVERSE = {1: 1, 2: 3, 3: 2, 4: 4}


@dataclass(frozen=True)
class Waves:
    """A cosine or sine transform: its name, its type, and how it is scaled.

    Attributes
    ----------
    name : the function's, for errors.
    kind : the type, 1 to 4, that is computed: of an inverse the one that undoes the type.
    is_cosine, is_forward : which transform.
    norm : "backward", "ortho" or "forward".
    orthogonalize : whether ends are scaled; None: if the norm is "ortho".
    """

    name: str
    kind: int
    is_cosine: bool
    is_forward: bool
    norm: str
    orthogonalize: bool | None

    @classmethod
    def of(cls, name: str, kind: Any, norm: Any, orthogonalize: Any) -> Waves:
        """Return the one that a function of scipy.fft's name stands for. Local."""
        number = whole(name, "type", kind)
        if number not in _INVERSE:
            raise UsageError(f"{name}: type = {number} is unknown; give 1, 2, 3 or 4")
        forward = not name.startswith("i")
        return cls(
            name,
            number if forward else _INVERSE[number],
            "dct" in name,
            forward,
            check_norm(name, norm),
            None if orthogonalize is None else bool(orthogonalize),
        )

    def of_lines(self, u: Field, n: int | None, axis: int) -> Field:
        """Return the transform of lines along an axis, of a length that a user gives. Collective."""
        float_dtype(self.name, u)
        number = axis_of(self.name, axis, u.grid.ndim)
        return self.along(u, [number], [length_of(self.name, n, u.grid.shape[number])])

    def over_axes(self, u: Field, s: Sequence[int] | None, axes: Sequence[int] | None) -> Field:
        """Return the transform along axes, of lengths that a user gives. Collective."""
        float_dtype(self.name, u)
        return self.along(u, *extents_of(self.name, u, s, axes))

    def along(self, u: Field, axes: Sequence[int], sizes: Sequence[int]) -> Field:
        """Return the transform along axes, of lines of these lengths. Collective."""
        dtype = float_dtype(self.name, u)
        if not axes:
            return u.astype(dtype)
        if self.kind == 1 and self.is_cosine and min(sizes, default=2) < 2:
            raise UsageError(f"{self.name}: type 1 is of at least 2 points along each axis; take another type")
        delta = 0 if self.kind != 1 else -1 if self.is_cosine else 1
        factor = scale(self.norm, math.prod(2 * (n + delta) for n in sizes), dtype, forward=self.is_forward)
        u = resized(u, axes[1:], sizes[1:])
        factors = [factor, *[None] * (len(axes) - 1)]
        steps = [
            AxisStep(axis, n, dtype, self._work(factor, is_alone=len(axes) == 1))
            for axis, n, factor in zip(axes, sizes, factors, strict=True)
        ]
        return through(self.name, u, steps)

    def _work(self, factor: Any, *, is_alone: bool) -> Any:
        fft = scipy_module("fft")
        function = fft.dct if self.is_cosine else fft.dst

        def transform(values: Array) -> Array:
            # SciPy leaves `orthogonalize` out of complex values.
            ortho = self.norm == "ortho" if self.orthogonalize is None or is_complex else self.orthogonalize
            if factor is None or is_alone:
                norm = "backward" if factor is None else "ortho" if self.norm == "ortho" else "forward"
                result: Array = function(values, self.kind, axis=1, norm=norm, orthogonalize=ortho)
                return result
            return scaled_waves(values, self.kind, factor, is_cosine=self.is_cosine, is_ortho=ortho)

        is_complex = False

        def work(source: Array, target: Array, _: Any) -> None:
            nonlocal is_complex
            is_complex = target.dtype.kind == "c"
            if not np.may_share_memory(source, target):
                fit(source, target)
            for part in (target.real, target.imag) if is_complex else (target,):
                part[...] = transform(part)

        return work
