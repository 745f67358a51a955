"""The background of a frame, and its noise: levels of a coarse mesh, and bicubic splines between them.

Each node of the mesh has a mode and a width of the pixels around it, found by clipping, as SExtractor has them
(E. Bertin, S. Arnouts 1996, doi:10.1051/aas:1996164); a median over neighboring nodes takes away what bright objects
leave. The frame is cut between nodes, so that each rank has all pixels of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import mpibatch as mb
from mpibatch.apps.catalog._loops import meshes
from mpibatch.fields.lines import along_lines
from mpibatch.measure._engine.places import owners
from mpibatch.mpi import agreed
from mpibatch.mpi.routes import ask
from mpibatch.segment import distance_transform_edt

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["Background"]

Sides = tuple[int, int]


class Background:
    """The background of a frame, and its noise. All methods are collective.

    Parameters
    ----------
    frame : Field
        Of two axes.
    sides : tuple of int
        Pixels of a node along each axis.
    window : tuple of int
        Nodes along each axis of which the median is taken: odd.

    Attributes
    ----------
    frame : Field
        f4, cut between nodes; NaN where it is not finite.
    level, noise : float
        The medians over all nodes.
    """

    def __init__(self, frame: Field, sides: Sides = (64, 64), window: Sequence[int] = (3, 3)) -> None:
        self.sides = sides
        shape = [-(-n // side) for n, side in zip(frame.grid.shape, sides, strict=True)]
        self.mesh = mb.Grid(shape, comm=frame.grid.comm)
        self.frame = self._framed(frame)
        raw = self.mesh.empty("f8", components=(2,))
        with agreed(self.mesh.comm, "background"):
            if raw.owned.size:
                meshes.levels(self.frame.owned, *sides, raw.owned[..., 0], raw.owned[..., 1])
        self._fill(raw)
        self._nodes = self._smoothed(raw, window)
        self.level, self.noise = (float(mb.median(self._part(k))) for k in range(2))
        if self.noise == 0:  # counts, say, of which most are none: that of the nodes which have some
            some = self._part(1)
            some.owned[some.owned <= 0] = np.nan
            if mb.any(some > 0):
                self.noise = float(mb.nanmedian(some))

    def _part(self, k: int) -> Field:
        part = self.mesh.empty("f8")
        part.owned[...] = self._nodes.owned[..., k]
        return part

    def _framed(self, u: Field) -> Field:
        grid, sizes = u.grid, []
        for blocks, side, n in zip(self.mesh.decomposition.axes, self.sides, grid.shape, strict=True):
            ends = [min(blocks.bounds(part)[1] * side, n) for part in range(blocks.parts)]
            sizes.append(np.diff([0, *ends]).tolist())
        cut = mb.Grid(
            grid.shape, comm=grid.comm, sizes=sizes, spacing=grid.spacing, origin=grid.origin, units=grid.units,
            axes=grid.axes,
        )  # fmt: skip
        moved = mb.redistribute(u if u.dtype == np.float32 else u.astype("f4"), cut)
        moved.owned[~np.isfinite(moved.owned)] = np.nan
        return moved

    def _fill(self, raw: Field) -> None:
        """Give nodes without a level that of the nearest with one. Collective."""
        bad = self.mesh.empty("?")
        bad.owned[...] = np.isnan(raw.owned[..., 0])
        count = mb.count_nonzero(bad)
        if not count:
            return
        if count == np.prod(self.mesh.shape):
            raise mb.RunError(
                f"no part of {self.sides[0]} × {self.sides[1]} pixels of the frame has a background: half of its "
                "pixels or more are no finite numbers everywhere; give another frame, or another mesh (--mesh)"
            )
        nearest = distance_transform_edt(bad, return_distances=False, return_indices=True)
        places = np.ravel_multi_index(tuple(nearest.owned[bad.owned].T), self.mesh.shape).astype(np.int64)
        box, decomposition = self.mesh.box, self.mesh.decomposition

        def answer(keys: Any) -> Any:
            index = np.unravel_index(keys, self.mesh.shape)
            mine = tuple(i - low for i, low in zip(index, box.start, strict=True))
            return np.ascontiguousarray(raw.owned[mine]).view(np.int64)

        raw.owned[bad.owned] = ask(self.mesh.comm, owners(decomposition, places), places, answer).view(np.float64)

    def _smoothed(self, raw: Field, window: Sequence[int]) -> Field:
        reach = (window[0] // 2, window[1] // 2)
        around = raw.like(halo=reach)
        around.owned[...] = raw.owned
        mb.exchange(around, mode="nearest")
        out = raw.like()
        if raw.owned.size:
            start = np.array(self.mesh.box.start)
            meshes.medians(
                around.padded, start, np.array(self.mesh.shape), np.array(reach), out.owned[..., 0], out.owned[..., 1]
            )
        return out

    def levels(self) -> Field:
        """Return the background of each pixel, f4. Collective."""
        return self._spread(0)

    def noises(self) -> Field:
        """Return the noise of each pixel, f4. Collective."""
        return self._spread(1)

    def _spread(self, k: int) -> Field:
        def bend(lines: Any, out: Any, _cut: Any) -> None:
            meshes.curvatures(lines, out)

        value = self._part(k)
        down = along_lines(value, 0, self.mesh.shape[0], "f8", bend)
        across = along_lines(value, 1, self.mesh.shape[1], "f8", bend)
        both = along_lines(down, 1, self.mesh.shape[1], "f8", bend)
        nodes = self.mesh.empty("f8", halo=1, components=(4,))
        for n, part in enumerate((value, down, across, both)):
            nodes.owned[..., n] = part.owned
        mb.exchange(nodes, mode="nearest")
        out = self.frame.like()
        if out.owned.size:
            first = np.array(nodes.origin)
            meshes.spread(
                nodes.padded, first, np.array(self.mesh.shape), np.array(self.sides), np.array(self.frame.box.start),
                out.owned,
            )  # fmt: skip
        return out
