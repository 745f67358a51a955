"""One pass of a filter along one axis: fetch what lies before and after the block, then run a compiled loop.

The loop reads lo, block and hi from where they are: the block is never copied as a whole, and a pass may write over
its own input. So a filter of several passes needs its input, its output, and the slabs of one pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import as_numbers
from mpibatch.base.processes.threads import share_out
from mpibatch.domain import check_mode
from mpibatch.filters._engine.work import counted
from mpibatch.halo.surroundings import frame_along

if TYPE_CHECKING:
    from mpibatch.fields.field import Field
    from mpibatch.filters._loops.strips import Strip

__all__ = ["EPSILON", "Pass", "beyond_walls", "correlation", "mean", "sweep", "symmetry"]

Array = npt.NDArray[Any]
# Takes the strips before, of and behind a bundle of lines, that of the results, planes and lanes of the bundle, and
# the global index along the axis of its first cell.
Loop = Callable[[Any, Any, int, int, int], None]

EPSILON = float(np.finfo(np.float64).eps)  # scipy's tolerance for "is symmetric" and "is zero"


def symmetry(weights: npt.NDArray[np.float64]) -> int:
    """Return 1 for weights that scipy takes as symmetric, -1 for antisymmetric, 0 for all others. Local."""
    if weights.size % 2 == 0:
        return 0
    half = weights.size // 2
    after, before = weights[half + 1 :], weights[:half][::-1]
    # "Not greater", rather than "less or equal": weights that are nan count as symmetric there.
    if not (np.abs(after - before) > EPSILON).any():
        return 1
    return 0 if (np.abs(after + before) > EPSILON).any() else -1


def beyond_walls(u: Field, axis: int, reach: tuple[int, int], mode: str) -> tuple[int, int]:
    """Return how many of the `reach` cells before and after the block lie outside a "constant" wall. Local."""
    if u.grid.periodic[axis] or check_mode(mode) != "constant":
        return 0, 0
    low, high = reach
    start, stop = u.box.start[axis], u.box.stop[axis]
    return min(low, max(0, low - start)), min(high, max(0, stop + high - u.grid.shape[axis]))


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass along one axis: how far it reads, what lies beyond the walls, the compiled loop over lines, and its costs.

    `operations` on numbers are those of each cell.
    """

    axis: int
    reach: tuple[int, int]
    mode: str
    loop: Loop
    operations: int


def correlation(axis: int, weights: npt.NDArray[np.float64], mode: str, origin: int = 0) -> Pass:
    """Return the pass that correlates with `weights` along `axis`. Local."""
    from mpibatch.filters._loops.line_correlation import correlate_lines

    half = weights.size // 2
    taps, kind = np.ascontiguousarray(weights, np.float64), symmetry(weights)

    def loop(line: Any, strip: Any, outers: int, lanes: int, _first: int) -> None:
        correlate_lines(line, strip, outers, lanes, taps, kind)

    # Cells that share a weight are added first, or taken from one another.
    operations = 3 * half + 1 if kind else 2 * weights.size - 1
    return Pass(axis, (half + origin, weights.size - 1 - half - origin), mode, loop, operations)


def mean(axis: int, size: int, mode: str, origin: int = 0) -> Pass:
    """Return the pass that takes the means of windows of `size` cells along `axis`. Local."""
    from mpibatch.filters._loops.moving_means import uniform_lines

    low = size // 2 + origin

    def loop(line: Any, strip: Any, outers: int, lanes: int, first: int) -> None:
        uniform_lines(line, strip, outers, lanes, size, (first - low) % size)

    return Pass(axis, (low, size - 1 - low), mode, loop, operations=4)  # two sums on the way, theirs, and a quotient


def sweep(u: Field, out: Field, step: Pass, cval: float) -> None:
    """Carry out a pass over all lines of `u`, into `out`, which may be `u` itself. Collective."""
    axis, (low, high), mode = step.axis, step.reach, step.mode
    frame = frame_along(u, axis, step.reach, mode)
    # The wall's value is written below, as f64: scipy does not round it to the field's dtype.
    frame.fetch(u)
    work = counted(u, out, step.operations)
    if not u.owned.size:
        return
    lo, hi = (as_numbers(slab.array).astype(np.float64, copy=False) for slab in frame.slabs[axis])
    outside = beyond_walls(u, axis, (low, high), mode)
    along: list[slice] = [slice(None)] * axis
    lo[(*along, slice(0, outside[0]))] = cval
    hi[(*along, slice(high - outside[1], None))] = cval
    views = ((lo, lo), (u.owned, u.padded), (hi, hi), (out.owned, out.padded))
    for strips, outers, lanes in _bundles(views, axis):
        run = partial(_run_share, step.loop, strips, (outers, lanes), u.box.start[axis])
        with work:
            share_out(run, max(outers, lanes), outers * lanes * strips[1].rows)


def _run_share(loop: Loop, strips: Sequence[Strip], counts: tuple[int, int], start: int, begin: int, end: int) -> None:
    """Run a loop over some planes of a bundle, or over some of its lanes if there are more of them. Local."""
    outers, lanes = counts
    if outers < lanes and end > begin:
        part, lanes = [s._replace(start=s.start + begin * s.lane) for s in strips], end - begin
    else:
        part, outers = [s._replace(start=s.start + begin * s.outer) for s in strips], end - begin
    loop((part[0], part[1], part[2]), part[3], outers, lanes, start)


def _bundles(views: Sequence[tuple[Array, Array]], axis: int) -> Iterator[tuple[list[Strip], int, int]]:
    """Cut (lo, block, hi, out), views of contiguous arrays, into bundles of lines: planes of side-by-side lanes. Local.

    Lanes are the cells after `axis`, as many as lie evenly in memory.
    """
    from mpibatch.filters._loops.strips import Strip

    arrays = [view for view, _ in views]
    flat = [_flat(view, whole) for view, whole in views]
    steps = [tuple(s // a.itemsize for s in a.strides) for a in arrays]
    shape = arrays[1].shape
    after = _merged([(shape[d], tuple(s[d] for s in steps)) for d in range(axis + 1, len(shape))])
    before = _merged([(shape[d], tuple(s[d] for s in steps)) for d in range(axis)])
    lanes, lane = after.pop() if after else (1, (1,) * len(arrays))
    others = sorted(before + after)
    outers, outer = others.pop() if others else (1, (0,) * len(arrays))
    for place in itertools.product(*(range(n) for n, _ in others)):
        shift = [sum(i * step[k] for i, (_, step) in zip(place, others, strict=True)) for k in range(len(arrays))]
        strips = [
            Strip(cells, start + shift[k], outer[k], steps[k][axis], lane[k], arrays[k].shape[axis])
            for k, (cells, start) in enumerate(flat)
        ]
        yield strips, outers, lanes


def _merged(dims: list[tuple[int, tuple[int, ...]]]) -> list[tuple[int, tuple[int, ...]]]:
    """Merge neighboring dimensions (extent, strides) that are one dimension in every array; drop those of extent 1."""
    result: list[tuple[int, tuple[int, ...]]] = []
    for count, strides in reversed(dims):
        if count == 1:
            continue
        if result and all(s == inner * result[0][0] for s, inner in zip(strides, result[0][1], strict=True)):
            result[0] = (count * result[0][0], result[0][1])
        else:
            result.insert(0, (count, strides))
    return result


def _flat(view: Array, whole: Array) -> tuple[Array, int]:
    """Return contiguous memory as one line of cells, and where a view of it begins there. Local."""
    start = view.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return as_numbers(whole.reshape(-1)), start // whole.itemsize
