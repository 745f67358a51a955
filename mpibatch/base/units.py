"""Numbers as a reader wants them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["bytes_of", "bytes_text", "plural", "ranks_text", "shape_text", "some"]


_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def bytes_of(text: str) -> int | None:
    """Return the bytes of an amount in words, such as "500M", "2G" or "1.5 GiB"; None if it is none. Local."""
    number = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        amount = float(number.removesuffix(unit)) * (1 << _UNITS[unit])
    except ValueError:
        return None
    return int(amount) if math.isfinite(amount) and amount >= 1 else None


def bytes_text(count: float) -> str:
    """Return a number of bytes in words: 1.5 MiB. Local."""
    for bits, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << bits:
            value = count / (1 << bits)
            return f"{value:.1f} {unit}" if value < 1e6 else f"{value:.3g} {unit}"
    return f"{count:.0f} B"


def plural(count: float, noun: str) -> str:
    """Return a number of things in words: 1 rank, 2 ranks, 1.5 cores. Local."""
    return f"{f'{count:g}' if isinstance(count, float) else count} {noun}{'' if count == 1 else 's'}"


def some(words: Sequence[str], most: int = 6) -> str:
    """Return the first of some words, and how many more there are. Local."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def shape_text(shape: Iterable[int]) -> str:
    """Return a shape in words: 872 × 1000 × 3; "one value" for that of a scalar. Local."""
    return " × ".join(map(str, shape)) or "one value"


def ranks_text(ranks: list[int]) -> str:
    """Return ranks as "rank 3", or "ranks 0-2, 5". Local."""
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    text = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return f"rank{'s' if len(ranks) > 1 else ''} {text}"
