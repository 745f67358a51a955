"""Canny's edge detector as in scikit-image, with hysteresis that follows an edge across all ranks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.fields.grid import Grid
from mpibatch.filters._engine.arguments import cval_of, mode_of, real_of, sigmas_of
from mpibatch.filters._engine.memory import largest_block
from mpibatch.filters._engine.order import quantile
from mpibatch.filters.color import as_float
from mpibatch.filters.gaussians import gaussian_filter
from mpibatch.filters.gradients import sobel
from mpibatch.filters.passes import checked
from mpibatch.halo import Exchange
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["canny"]

LOW, HIGH = 0.1, 0.2  # default thresholds, for images scaled to 0 … 1
STRONG = 2


def canny(
    u: Field,
    sigma: float | list[float] = 1.0,
    low_threshold: float | None = None,
    high_threshold: float | None = None,
    mask: None = None,
    use_quantiles: bool = False,
    *,
    mode: str = "constant",
    cval: float = 0.0,
) -> Field:
    """Return the edges of a picture as a bool field, as skimage.feature.canny.

    Parameters
    ----------
    u : Field
        Field on a grid of 2 axes, without components, of bool, integers of at most 32 bits, float32 or float64, in any
        unit. Integers are scaled to 0 … 1 (signed: -1 … 1) first.
    sigma : float or list of float, default 1.0
        Standard deviation of the smoothing in cells, at least 0; one for both, or one for each axis.
    low_threshold : float, optional
        Gradient magnitude in the unit of `u` down to which an edge is followed. Default: 10 % of the dtype's range (0.1
        for floats and bool).
    high_threshold : float, optional
        Gradient magnitude in the unit of `u` from which on an edge begins, not below `low_threshold`. Default: 20 % of
        the dtype's range.
    mask : None, optional
        To be left out: a region of interest is not supported.
    use_quantiles : bool, default False
        Whether the thresholds are quantiles (0 … 1, by default 0.1 and 0.2) of the gradient magnitude of the whole
        picture.
    mode : str, default "constant"
        What lies beyond the walls for the smoothing: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or
        "grid-wrap") or "constant" (or "grid-constant"), with which and a `cval` of 0 cells beyond count as missing. A
        periodic axis wraps whatever its mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of the scaled `u`.

    Returns
    -------
    Field
        New field of bool on the grid of `u`, without halo: True on edges.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid, if `u` has other axes or dtypes or a mask is given, or if
        what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. Smoothing reads int(4 * sigma + 0.5) cells beyond a block, as `gaussian_filter`; derivatives and
    thinning one. Hysteresis repeats a flood of the blocks, an exchange of their faces and an all-reduce until nothing
    changes on any rank: about as often as the longest edge crosses from one rank to another. Quantiles take some
    all-reduces of 512 KiB more.

    Method: doi:10.1109/TPAMI.1986.4767851. Equal to skimage.feature.canny of the whole array on any number of ranks.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (x > 8) + 0.5 * (x == 8))
    >>> edges = mb.filters.canny(u, sigma=1.0)
    >>> edges.dtype, mb.count_nonzero(edges)
    (dtype('bool'), 14)
    """
    from mpibatch.filters._loops.canny import magnitudes

    name = "canny"
    _check_picture(name, u, mask)
    low: Any
    high: Any
    low, high = _thresholds(name, u.dtype, low_threshold, high_threshold, use_quantiles)
    smoothed = _smoothed(name, u, sigma, mode_of(name, mode), cval_of(name, cval))
    down, across = sobel(smoothed, axis=0), sobel(smoothed, axis=1)
    magnitude = smoothed.like(halo=1)
    with timed("compute"):
        magnitudes(down.owned, across.owned, magnitude.padded)
    if use_quantiles:
        low, high = quantile(magnitude, low), quantile(magnitude, high)
    else:
        high = magnitude.dtype.type(high)  # as NumPy compares it
    state = _thinned(down, across, magnitude, low, high)
    _follow(state)
    edges = Field(u.grid, np.bool_)
    np.equal(state.owned, STRONG, out=edges.owned)
    return edges


def _check_picture(name: str, u: Any, mask: Any) -> None:
    checked(name, u)
    if u.grid.ndim != 2 or u.components:
        raise UsageError(
            f"{name}: the field has {u.grid.ndim} grid axes and components {u.components or 'none'};"
            " give a two-dimensional one without components, e.g. by rgb2gray"
        )
    if u.dtype.kind in "iu" and u.dtype.itemsize == 8:
        raise UsageError(f"{name}: 64-bit integers ({u.dtype}) are not taken; convert the field to 'f8' first")
    if mask is not None:
        raise UsageError(f"{name}: a mask was given; none is supported: cut the picture, or multiply the edges by it")


def _thresholds(name: str, dtype: np.dtype[Any], low: Any, high: Any, use_quantiles: bool) -> tuple[float, float]:
    """Return the thresholds for the scaled picture (or the quantiles), checked. Local."""
    scale = float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0
    thresholds = []
    for parameter, value, default in (("low_threshold", low, LOW), ("high_threshold", high, HIGH)):
        if value is None:
            thresholds.append(default)
            continue
        number = real_of(name, parameter, value)
        if use_quantiles and not 0.0 <= number <= 1.0:
            raise UsageError(f"{name}: {parameter} = {value!r} is no quantile; give one from 0 to 1")
        thresholds.append(number if use_quantiles else number / scale)
    if thresholds[1] < thresholds[0]:
        raise UsageError(
            f"{name}: high_threshold is {thresholds[1]:g}, below low_threshold, which is {thresholds[0]:g}"
            f"{'' if use_quantiles or scale == 1 else f' (scaled by 1/{scale:g})'}; give a high one that is not lower"
        )
    return thresholds[0], thresholds[1]


def _smoothed(name: str, u: Field, sigma: Any, mode: str, cval: float) -> Field:
    """Return the smoothed picture; beyond "constant" walls it counts as missing, not as `cval`. Collective."""
    sigmas = sigmas_of(name, sigma, 2)
    result = gaussian_filter(as_float(u), sigmas, mode=mode, cval=cval)
    if mode == "constant":
        share, places = _share(result, sigmas, cval)
        with timed("compute"), np.errstate(divide="ignore", invalid="ignore"):
            across = share[:, places[1]]
            for row, place in zip(result.owned, places[0], strict=True):
                np.divide(row, across[place], out=row)
    return result


def _share(smoothed: Field, sigmas: Sequence[float], cval: float) -> tuple[Any, list[Any]]:
    """Return a smoothed picture of ones, and for each axis which of its cells the block's are equal to. Collective.

    It is that of a picture so small that each of its cells but the middle ones sees a wall; every rank has its own,
    unless that would be more work than its block of the whole one.
    """
    grid = smoothed.grid
    reach = [int(4.0 * sigma + 0.5) for sigma in sigmas]
    shape = tuple(min(n, 2 * r + 1) for n, r in zip(grid.shape, reach, strict=True))
    if math.prod(shape) > math.prod(largest_block(grid)):
        return _of_ones(smoothed.like(), sigmas, cval), [range(grid.box.shape[0]), slice(None)]
    with agreed(grid.comm, "canny"):
        small = Grid(shape, comm=MPI.COMM_SELF, periodic=grid.periodic)
        share = _of_ones(Field(small, smoothed.dtype), sigmas, cval)
    places = []
    for n, m, r, begin, end in zip(grid.shape, shape, reach, grid.box.start, grid.box.stop, strict=True):
        at = np.arange(begin, end)
        places.append(np.where(at < r, at, np.maximum(m - n + at, min(r, m - 1))))
    return share, places


def _of_ones(ones: Field, sigmas: Sequence[float], cval: float) -> Any:
    """Return the smoothed picture of ones, a little larger: never 0. Collective."""
    ones.owned[...] = 1
    share = gaussian_filter(ones, sigmas, mode="constant", cval=cval).owned
    share += np.finfo(share.dtype).eps
    return share


def _thinned(down: Field, across: Field, magnitude: Field, low: Any, high: Any) -> Field:
    """Return 1 for the ridges of the magnitude from `low` on, STRONG from `high` on; none at a wall. Collective."""
    from mpibatch.filters._loops.canny import ridges

    with Exchange(magnitude, mode="nearest") as fill:
        fill()
    state = Field(magnitude.grid, np.uint8, 1)
    if not state.owned.size:
        return state
    grid = magnitude.grid
    # Cells at a wall lack a neighbor: scikit-image erodes the picture by one cell.
    walls = [(1, n - 1) if not wraps else (0, n) for n, wraps in zip(grid.shape, grid.periodic, strict=True)]
    pairs = list(zip(walls, grid.box.start, grid.box.shape, strict=True))
    begin = tuple(max(0, first - start) for (first, _), start, _ in pairs)
    end = tuple(min(count, last - start) for (_, last), start, count in pairs)
    # f4, as in scikit-image; its smallest positive threshold keeps cells of magnitude zero out.
    least, strong = np.float64(np.float32(low) or np.float32(1e-14)), np.float64(high)
    with timed("compute"):
        ridges(down.owned, across.owned, magnitude.padded, least, strong, begin, end, state.padded)
    return state


def _follow(state: Field) -> None:
    """Turn weak cells (1) that are connected to STRONG ones, over any number of ranks, into STRONG ones. Collective."""
    from mpibatch.filters._loops.canny import flood

    stack = np.empty(state.padded.size + 1, np.int64)
    turned, is_new = 1, True
    with Exchange(state, mode="constant", cval=0) as fill:
        while turned:
            fill()
            with timed("compute"):
                turned = flood(state.padded, stack, is_new) if state.owned.size else 0
            is_new = False
            with REDUCTION:
                turned = state.grid.comm.allreduce(turned, op=MPI.SUM)
