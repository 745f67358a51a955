"""Compiled weighted sum of three channels, with a fixed rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled, is_interpreted, loaded_numba

__all__ = ["weigh_fused", "weigh_plain"]


def _generated(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    from numba.types import float64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return float64(float64, float64, float64), generate


if is_interpreted():  # an intrinsic has no Python; and a rehearsal keeps no values

    def _fused(a: float, b: float, c: float) -> float:
        return a * b + c

else:  # multiplies and adds with one rounding: an instruction where the processor has it, else the library's function
    _fused = loaded_numba()[0].extending.intrinsic(_generated)


@compiled
def weigh_fused(channels: Any, weights: Any, out: Any) -> None:
    """Sum f8 channels (cells × 3): green, then red, then blue, each product and sum after the first in one rounding."""
    red, green, blue = weights
    for i in range(out.size):
        start = np.uint64(3) * np.uint64(i)
        first = channels[start + np.uint64(1)] * green
        out[i] = _fused(channels[start + np.uint64(2)], blue, _fused(channels[start], red, first))


@compiled
def weigh_plain(channels: Any, weights: Any, out: Any) -> None:
    """Sum f4 channels (cells × 3) from red to blue, with a rounding after each operation."""
    red, green, blue = weights
    for i in range(out.size):
        start = np.uint64(3) * np.uint64(i)
        first = channels[start] * red + channels[start + np.uint64(1)] * green
        out[i] = first + channels[start + np.uint64(2)] * blue
