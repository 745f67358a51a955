"""Indices outside the domain, mapped back into it axis by axis: scipy.ndimage's boundary modes.

Because the map acts on each axis alone, corners and edges need no case of their own: a halo box is the
product of its intervals, and so is its source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mpibatch.base.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MODES", "IndexRun", "check_mode", "wall_runs"]

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


class IndexRun(NamedTuple):
    """Consecutive targets with an arithmetic source: ``target + i`` reads ``source + step * i``, i < length.

    Parameters
    ----------
    target : int
        The first index that is to be filled, perhaps outside the domain.
    length : int
        How many there are.
    source : int or None
        The index that the first one reads; None: outside a "constant" wall, no source cell.
    step : int
        1, -1 where cells are mirrored, or 0 where one cell is repeated.

    Notes
    -----
    Local.

    Examples
    --------
    >>> from mpibatch.domain import wall_runs
    >>> next(wall_runs(-2, 6, 4, "reflect"))
    IndexRun(target=-2, length=2, source=1, step=-1)
    """

    target: int
    length: int
    source: int | None  # None: outside a "constant" wall, no source cell
    step: int


def check_mode(mode: str) -> str:
    """Return the canonical name of a boundary mode.

    Parameters
    ----------
    mode : str
        One of scipy's: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or "constant" (or
        "grid-constant"). The synonyms hold for filters; for interpolation they differ.

    Returns
    -------
    str
        "reflect", "mirror", "nearest", "wrap" or "constant".

    Raises
    ------
    UsageError
        With the nearest right name, if there is no such mode.

    Notes
    -----
    Local.

    Examples
    --------
    >>> from mpibatch.domain import check_mode
    >>> check_mode("grid-mirror")
    'reflect'
    """
    try:
        return _SYNONYMS[mode]
    except (KeyError, TypeError):
        raise UsageError(f"boundary mode {mode!r} is unknown{nearest(str(mode), MODES)}") from None


def wall_runs(low: int, high: int, cells: int, mode: str) -> Iterator[IndexRun]:
    """Yield the runs that map an interval into the domain.

    Parameters
    ----------
    low, high : int
        The half-open interval [low, high) of indices along an axis; it may lie partly or wholly outside.
    cells : int
        The axis has the indices [0, cells).
    mode : str
        What lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".

    Yields
    ------
    Run
        In the order of targets; together they cover the interval.

    Notes
    -----
    Local. The time grows with the runs, not with the cells.

    Examples
    --------
    >>> from mpibatch.domain import wall_runs
    >>> for run in wall_runs(-2, 6, 4, "reflect"):
    ...     print(run.target, run.length, run.source, run.step)
    -2 2 1 -1
    0 4 0 1
    4 2 3 -1
    """
    while low < high:
        source, length, step = _run_at(low, cells, mode)
        length = min(length, high - low) if length else high - low
        yield IndexRun(low, length, source, step)
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
