"""Indices outside the domain, mapped back into it axis by axis: scipy.ndimage's boundary modes.

Because the map acts on each axis alone, corners and edges need no case of their own: a halo box is the
product of its intervals, and so is its source.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mpibatch.base.errors import UsageError, nearest

__all__ = ["MODES", "Run", "check_mode", "wall_runs"]

# scipy's names; the "grid-" ones are synonyms for filters (they differ for interpolation only).
_SYNONYMS = {
    "reflect": "reflect",
    "grid-mirror": "reflect",
    "mirror": "mirror",
    "nearest": "nearest",
    "wrap": "wrap",
    "grid-wrap": "wrap",
    "constant": "constant",
    "grid-constant": "constant",
}
MODES = tuple(_SYNONYMS)


class Run(NamedTuple):
    """Consecutive targets with an arithmetic source: ``target + i`` reads ``source + step * i``, i < length."""

    target: int
    length: int
    source: int | None  # None: outside a "constant" wall, no source cell
    step: int


def check_mode(mode: str) -> str:
    """Return the canonical name of a boundary mode, or raise UsageError with the nearest right one. Local."""
    try:
        return _SYNONYMS[mode]
    except (KeyError, TypeError):
        raise UsageError(f"boundary mode {mode!r} was asked for{nearest(str(mode), MODES)}") from None


def wall_runs(low: int, high: int, cells: int, mode: str) -> Iterator[Run]:
    """Yield the runs that map the interval [low, high) into [0, cells) by a canonical `mode`. Local."""
    while low < high:
        source, length, step = _run_at(low, cells, mode)
        length = min(length, high - low) if length else high - low
        yield Run(low, length, source, step)
        low += length


def _run_at(index: int, cells: int, mode: str) -> tuple[int | None, int, int]:
    """Return the source of `index`, the length of the run that begins there (0: endless), and its step."""
    if 0 <= index < cells:
        return index, cells - index, 1
    to_domain = -index if index < 0 else 0
    if mode == "constant":
        return None, to_domain, 0
    if mode == "nearest" or cells == 1:
        return (0 if index < 0 else cells - 1), to_domain, 0
    if mode == "wrap":
        folded = index % cells
        return folded, cells - folded, 1
    # Half-sample (reflect) or whole-sample (mirror) symmetry: up, then down again.
    period = 2 * cells if mode == "reflect" else 2 * cells - 2
    folded = index % period
    if folded < cells:
        return folded, cells - folded, 1
    return (period - 1 - folded if mode == "reflect" else period - folded), period - folded, -1
