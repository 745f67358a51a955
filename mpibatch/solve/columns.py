"""Tridiagonal systems along an axis of uneven cells, one for each wave along the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.fourier._engine.passes import passed
from mpibatch.solve.operators import sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field
    from mpibatch.fields.lines import Cut
    from mpibatch.solve.operators import BandRows

__all__ = ["solve_columns"]

Array = npt.NDArray[Any]


def solve_columns(
    name: str, waves: Field, axis: int, rows: BandRows, values: Sequence[Array], alpha: float, *, is_singular: bool
) -> None:
    """Solve for waves in place, given the eigenvalues along the other axes. Collective."""
    from mpibatch.solve._loops import tridiagonals

    before = sums(values[:axis])
    behind = np.repeat(sums(values[axis + 1 :]), math.prod(waves.components))

    def work(source: Array, target: Array, cut: Cut) -> None:
        shifts = before[cut[0], None] + behind[None, cut[1]] - alpha
        for part, out in [(source.real, target.real)] + ([(source.imag, target.imag)] if _is_complex(source) else []):
            lines = np.array(part, "f8", order="C")
            tridiagonals.solve_lines(rows.lower, rows.diagonal, rows.upper, shifts, rows.widths, is_singular, lines)
            out[...] = lines

    passed(name, waves, axis, waves.grid.shape[axis], waves.dtype, work, waves)


def _is_complex(array: Array) -> bool:
    return array.dtype.kind == "c"
