"""Numbers as a reader wants them."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["bytes_text", "shape_text"]


def bytes_text(count: int) -> str:
    """Return a number of bytes in words: 1.5 MiB. Local."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def shape_text(shape: Iterable[int]) -> str:
    """Return a shape in words: 872 × 1000 × 3; "one value" for that of a scalar. Local."""
    return " × ".join(map(str, shape)) or "one value"
