"""Multiplying and adding with one rounding, for compiled loops. Imported late, since this loads numba."""

from __future__ import annotations

from typing import Any

from mpibatch.base.compiled import is_interpreted, loaded_numba

__all__ = ["fused"]


def _generated(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    from numba.types import float64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return float64(float64, float64, float64), generate


if is_interpreted():  # an intrinsic has no Python; and a rehearsal keeps no values

    def fused(a: float, b: float, c: float) -> float:
        """Return a b + c. Local."""
        return a * b + c

else:  # an instruction where the processor has it, else the library's function: the same bits
    fused = loaded_numba()[0].extending.intrinsic(_generated)
