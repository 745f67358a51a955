"""STREAM's triad: what memory can give."""

from __future__ import annotations

from typing import Any

from mpibatch.base.compiled import compiled

__all__ = ["triad"]


@compiled
def triad(a: Any, b: Any, c: Any, s: float) -> None:
    """Put ``b + s * c`` into `a`. Local. Reads 16 bytes and writes 8 for each number."""
    for i in range(a.size):
        a[i] = b[i] + s * c[i]
