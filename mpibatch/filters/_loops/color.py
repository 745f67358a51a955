"""Compiled weighted sum of three channels, with a fixed rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base._loops.operations import fused
from mpibatch.base.compiled import compiled

__all__ = ["weigh_fused", "weigh_plain"]


@compiled
def weigh_fused(channels: Any, weights: Any, out: Any) -> None:
    """Sum f8 channels (cells × 3): green, then red, then blue, each product and sum after the first in one rounding."""
    red, green, blue = weights
    for i in range(out.size):
        start = np.uint64(3) * np.uint64(i)
        first = channels[start + np.uint64(1)] * green
        out[i] = fused(channels[start + np.uint64(2)], blue, fused(channels[start], red, first))


@compiled
def weigh_plain(channels: Any, weights: Any, out: Any) -> None:
    """Sum f4 channels (cells × 3) from red to blue, with a rounding after each operation."""
    red, green, blue = weights
    for i in range(out.size):
        start = np.uint64(3) * np.uint64(i)
        first = channels[start] * red + channels[start + np.uint64(1)] * green
        out[i] = first + channels[start + np.uint64(2)] * blue
