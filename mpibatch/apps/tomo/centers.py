"""The center: the detector that the axis of rotation is projected on, by projections half a turn apart.

One is the mirror image of the other about the center. Where the scan has no projection half a turn from its first, or
its last, it is interpolated linearly in angle between the nearest two, or extrapolated from them; errors of the first
and of the last have other signs, and cancel to the second order in the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["find_center", "half_turns"]

Array = npt.NDArray[Any]
Pair = tuple[int, tuple[tuple[int, float], ...]]

FARTHEST = 1.5  # steps from what is measured to what is extrapolated
EXACT = 1e-6  # degrees


def half_turns(angles: Array) -> list[Pair]:
    """Return the first and last projection, each with numbers and weights of those half a turn away. Local."""
    step = abs(float(angles[-1] - angles[0])) / max(1, len(angles) - 1)
    pairs: list[Pair] = []
    for number, target in ((0, angles[0] + 180), (len(angles) - 1, angles[-1] + 180)):
        away = (angles - target + 180) % 360 - 180
        nearest, second = map(int, np.argsort(np.abs(away), kind="stable")[:2]) if len(angles) > 1 else (0, 0)
        if abs(away[nearest]) <= EXACT:
            pairs.append((number, ((nearest, 1.0),)))
        elif abs(away[nearest]) <= FARTHEST * step and away[nearest] != away[second]:
            share = float(away[second] / (away[second] - away[nearest]))
            pairs.append((number, ((nearest, share), (second, 1 - share))))
    return pairs


def find_center(sinograms: Field, angles: Array) -> float:
    """Return the center of sinograms (row, detector, angle) with whole rows on each rank. Collective. RunError.

    The mean square of what mirror images differ by is least there; between half detectors by a parabola.
    """
    from mpibatch.apps.tomo._loops.projections import mismatch

    grid = sinograms.grid
    width = grid.shape[1]
    pairs = half_turns(angles)
    if not pairs:
        raise mb.RunError(
            f"the angles from {angles.min():g} to {angles.max():g} have no two half a turn apart, by which the center "
            "of rotation is found; give --center"
        )
    first, last = width // 2, (width - 1) * 2 - width // 2  # at least half of the detectors have mirror images
    sums = mb.Grid((grid.shape[0], last - first + 1), comm=grid.comm, sizes=(_sizes(grid), None)).zeros("f8")
    for number, weights in pairs:
        rows = np.ascontiguousarray(sinograms.owned[:, :, number])
        opposite = sum(np.float32(share) * sinograms.owned[:, :, other] for other, share in weights)
        mismatch(rows, np.ascontiguousarray(opposite), first, sums.owned)
    total: Array = mb.gather_all(mb.sum(sums, axis=0))
    least = int(np.argmin(total))
    if not 0 < least < len(total) - 1:
        raise mb.RunError(
            "no center of rotation in the middle half of the detectors makes projections half a turn apart mirror "
            "images; give --center, and look at some with preview"
        )
    before, at, after = (float(value) for value in total[least - 1 : least + 2])
    bend = before - 2 * at + after
    return (first + least + (0.5 * (before - after) / bend if bend > 0 else 0.0)) / 2


def _sizes(grid: mb.Grid) -> list[int]:
    axis = grid.decomposition.axes[0]
    return [stop - start for start, stop in map(axis.bounds, range(axis.parts))]
