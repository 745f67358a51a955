"""What all resampling functions were asked, checked, and real and imaginary parts one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpibatch.base.errors import UsageError, nearest
from mpibatch.fields.field import Field, check_field
from mpibatch.fields.grid import Grid
from mpibatch.filters._engine.arguments import dtype_of, input_dtype, output_dtype, whole
from mpibatch.resample._loops.samples import MODES

__all__ = ["ResampleRequest", "grid_for", "mode_of", "order_of", "request_of"]

Work = Callable[[Field, np.dtype[Any], float], Field]


def order_of(name: str, order: Any, least: int = 0) -> int:
    """Return the order of a spline, from `least` to 5. Local."""
    number = whole(name, "order", order)
    if not least <= number <= 5:
        raise UsageError(f"{name}: order = {number} is no order of a spline here; give {least} … 5")
    return number


def mode_of(name: str, mode: Any) -> str:
    """Return a known mode. Local."""
    if mode in MODES:
        return str(mode)
    raise UsageError(f"{name}: mode {mode!r} is unknown{nearest(str(mode), MODES)}")


@dataclass(frozen=True, slots=True)
class ResampleRequest:
    """What was asked, checked."""

    name: str
    u: Field
    order: int
    mode: str
    cval: complex
    dtype: np.dtype[Any]

    def done(self, work: Work) -> Field:
        """Return what `work(field, dtype, cval)` makes of a field, or of both parts of a complex one. Collective."""
        if self.u.dtype.kind != "c":
            return work(self.u, self.dtype, self.cval.real)
        real_dtype = np.empty(0, self.dtype).real.dtype
        parts: list[Field] = []
        for part, cval in ((self.u.owned.real, self.cval.real), (self.u.owned.imag, self.cval.imag)):
            field = self.u.like(part.dtype, 0)
            field.owned[...] = part
            parts.append(work(field, real_dtype, cval))
        result = parts[0].like(self.dtype, 0)
        result.owned.real, result.owned.imag = parts[0].owned, parts[1].owned
        return result


def request_of(name: str, u: Any, order: Any, mode: Any, cval: Any, output: Any, least: int = 0) -> ResampleRequest:
    """Return what was asked, checked. Local."""
    check_field(name, u)
    is_complex = u.dtype.char in "FD" and u.dtype.isnative
    if not is_complex:
        input_dtype(name, u.dtype)
    dtype = u.dtype if output is None else _output_dtype(name, output, is_complex=is_complex)
    try:
        value = complex(cval)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: cval = {cval!r} is not a number; give one such as 0.0") from None
    if value.imag and not is_complex:
        raise UsageError(f"{name}: cval = {cval!r} is complex, and the field, of {u.dtype}, is not; give a real number")
    return ResampleRequest(
        name=name, u=u, order=order_of(name, order, least), mode=mode_of(name, mode), cval=value, dtype=dtype
    )


def _output_dtype(name: str, output: Any, *, is_complex: bool) -> np.dtype[Any]:
    if not is_complex:
        return output_dtype(name, output, np.dtype(np.float64))
    dtype = dtype_of(name, output)
    if dtype.char not in "fdFD":
        raise UsageError(f"{name}: output = {output!r} for a complex field; give 'c8' or 'c16'")
    return np.promote_types(dtype, np.complex64)


def grid_for(u: Field, shape: Sequence[int], spacing: Sequence[float], origin: Sequence[float]) -> Grid:
    """Return a grid for results, cut as that of `u`. Collective."""
    grid = u.grid
    return Grid(
        shape,
        comm=grid.comm,
        topology=grid.topology,
        periodic=grid.periodic,
        spacing=spacing,
        origin=origin,
        units=grid.units,
        axes=grid.axes,
    )
