"""The fused sweep over this rank's cells: tiles, rings, and arguments as the compiled text takes them."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.processes.threads import pool
from mpibatch.domain import Box
from mpibatch.fields.memory import staggered
from mpibatch.stencil.compiled import arguments
from mpibatch.stencil.compiled.fills import AXES, FAR, Span, Surroundings, levels_of
from mpibatch.stencil.compiled.modules import load
from mpibatch.stencil.compiled.numba_run import flat_arguments
from mpibatch.stencil.compiled.numba_source import number_parameters, signature_of
from mpibatch.stencil.compiled.tables import FusedLevel, table_of
from mpibatch.stencil.compiled.types import Stored, Typed
from mpibatch.stencil.compiled.ways import WAYS
from mpibatch.stencil.fused.wavefront import Chain, fused_text
from mpibatch.stencil.walls import WallGeometry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid
    from mpibatch.stencil.fused.choice import FusionLayout
    from mpibatch.stencil.fused.trials import Choice

__all__ = ["Sweeper", "geometry_numbers"]

LEAST_TILE = 8  # cells along the axis that tiles cut
Job = tuple[list[int], list[Any]]  # addresses and numbers, and the memory that is at them


@functools.lru_cache(maxsize=64)
def _compiled(typed: Typed, chains: tuple[Chain, ...], way: int) -> Callable[..., None]:
    function: Callable[..., None] = load(fused_text(typed, chains, WAYS[way])).fused
    return function


class Sweeper:
    """Computes fused steps on this rank, once halos hold what other ranks have. Its rings are its own."""

    def __init__(self, typed: Typed, chains: Sequence[Chain], layout: FusionLayout, grid: Grid, threads: int) -> None:
        self._loops = functools.partial(_compiled, typed, tuple(chains))
        self._typed = typed
        self._parameters = number_parameters(typed, signature_of(typed))
        self._chains = chains
        self._layout = layout
        self._grid = grid
        self._threads = threads
        self._axes = AXES[grid.ndim]
        self._reach = [0 if a is None else layout.reach[a] for a in self._axes]
        self._slots = (max(chain.depth for chain in chains) + 1) * self._reach[0] + 1
        self._domain = tuple(self._interval(axis) for axis in self._axes)
        self._walls = [self._surroundings(m) for m in range(len(chains))]
        self._values = [walls.values() for walls in self._walls]
        self._jobs: dict[Any, list[list[Job]]] = {}
        self._rings: dict[Any, list[list[npt.NDArray[Any]]]] = {}

    def __call__(
        self,
        slots: Sequence[Sequence[Field]],
        targets: Sequence[Sequence[Field]],
        kept: Mapping[int, Field],
        steps: int,
        choice: Choice,
        numbers: Sequence[Any],
    ) -> None:
        """Compute `steps` steps from the chains' fields `slots` into the fields `targets`. Local.

        `kept` are the other inputs by number, `choice` has the bytes that rings may take and the way that the loops
        are compiled, `numbers` are the scalars and those of the grid.
        """
        if not self._grid.box.size:
            return
        loop, budget = self._loops(choice.way), choice.budget
        key = (*(id(f) for chain in (*slots, *targets) for f in chain), steps, budget)
        parts = self._jobs.get(key)
        if parts is None:
            parts = self._jobs[key] = self._planned(slots, targets, kept, steps, budget)
        ints, known = arguments.numbers(self._parameters, numbers)
        floats = np.array(known, "f8")
        if len(parts) == 1:
            _run(loop, parts[0], ints, floats)
            return
        for future in [pool(self._threads).submit(_run, loop, part, ints, floats) for part in parts]:
            future.result()

    def _planned(
        self,
        slots: Sequence[Sequence[Field]],
        targets: Sequence[Sequence[Field]],
        kept: Mapping[int, Field],
        steps: int,
        budget: int,
    ) -> list[list[Job]]:
        """Return the calls of each thread."""
        tiles = self.tiles(steps, budget)
        number = max(1, min(self._threads, len(tiles)))
        cuts = [len(tiles) * t // number for t in range(number + 1)]
        rings = self._rings.get((steps, budget))
        if rings is None:
            rings = self._rings[steps, budget] = [self._ring_memory(tiles, steps) for _ in range(number)]
        others: list[Any] = []
        for n in sorted(kept):
            others += flat_arguments(_stored(kept[n]), self._typed.ndim)
        parts = []
        for t in range(number):
            part = []
            for tile in tiles[cuts[t] : cuts[t + 1]]:
                levels = levels_of(self._ranges(tile), self._domain, self._reach, steps)
                memory: list[Any] = []
                for m in range(len(self._chains)):
                    memory += [field.memory.cells.reshape(-1) for field in (*slots[m], *targets[m])]
                    memory += [rings[t][m], *self._ring_strides(m, tile, steps), self._walls[m].table(levels)]
                    memory += [self._values[m], *flat_arguments(_stored(slots[m][0]), self._typed.ndim)[1:]]
                job = [*memory, *others, *self._turns(levels, steps)]
                part.append((arguments.addresses(job), job))
            parts.append(part)
        return parts

    def _turns(self, levels: Sequence[Sequence[Span]], steps: int) -> tuple[Any, ...]:
        """Return the table of levels, and the numbers that come behind it."""
        table = [
            FusedLevel(
                first=slow.start,
                planes_end=slow.stop,
                turns_end=slow.stop + slow.outside[1],
                row=middle.start,
                rows_end=middle.stop,
                column=fast.start,
                columns_end=fast.stop,
            )
            for slow, middle, fast in levels
        ]
        reach = self._reach[0]
        return (
            table_of(table, FusedLevel),
            levels[0][0].start,
            levels[-1][0].stop + steps * reach,
            steps,
            reach,
            self._slots,
        )

    def _ring_strides(self, m: int, tile: Box, steps: int) -> tuple[int, int, int]:
        """Return words per row and per plane of a ring, and where this rank's first cell would lie in its plane."""
        words = self._typed.outputs[m].words
        _, (j0, j1), (i0, i1) = self._ranges(tile)
        rows, columns = steps * self._reach[1], steps * self._reach[2]
        row = (i1 - i0 + 2 * columns) * words
        return row, (j1 - j0 + 2 * rows) * row, (rows - j0) * row + (columns - i0) * words

    def tiles(self, steps: int, budget: int) -> list[Box]:
        """Return this rank's cells in tiles whose rings take about `budget` bytes. Local."""
        shape = self._grid.box.shape
        axis = min(1, len(shape) - 1)
        across = int(np.prod([n + 2 * steps * r for n, r in zip(shape[2:], self._layout.reach[2:], strict=True)]))
        planes = steps * (self._slots if len(shape) > 1 else 1)
        bytes_per_line = planes * across * sum(a.words * a.dtype.itemsize for a in self._typed.outputs)
        # Lines around a tile are computed twice: not more of them than of its own.
        least = max(LEAST_TILE, 2 * steps * self._layout.reach[axis])
        length = max(least, budget // max(1, bytes_per_line))
        number = max(1, -(-shape[axis] // length))
        cuts = [shape[axis] * t // number for t in range(number + 1)]
        tiles = []
        for low, high in itertools.pairwise(cuts):
            start, stop = [0] * len(shape), list(shape)
            start[axis], stop[axis] = low, high
            tiles.append(Box(tuple(start), tuple(stop)))
        return tiles

    def _ring_memory(self, tiles: Sequence[Box], steps: int) -> list[npt.NDArray[Any]]:
        cells = 0
        for tile in tiles:
            _, *around = (
                high - low + 2 * steps * r for (low, high), r in zip(self._ranges(tile), self._reach, strict=True)
            )
            cells = max(cells, around[0] * around[1])
        rings = []
        for chain, array in zip(self._chains, self._typed.outputs, strict=True):
            ring = staggered((max(1, steps - chain.depth) * self._slots * cells * array.words,), array.dtype)
            ring[...] = 0
            rings.append(ring)
        return rings

    def _interval(self, axis: int | None) -> tuple[int, int]:
        """Return where the domain lies, counted from this rank's first cell; without end where it wraps."""
        if axis is None:
            return (0, 1)
        start = self._grid.box.start[axis]
        return (-FAR, FAR) if self._layout.wraps[axis] else (-start, self._grid.shape[axis] - start)

    def _surroundings(self, m: int) -> Surroundings:
        layout, axes = self._layout, self._axes
        conditions = tuple(() if a is None or layout.wraps[a] else layout.walls[m][a] or () for a in axes)
        spacing = tuple(1.0 if a is None else self._grid.spacing[a] for a in axes)
        return Surroundings(self._typed.outputs[m], self._domain, conditions, spacing, max(1, *self._reach))

    def _ranges(self, tile: Box) -> list[tuple[int, int]]:
        return [(0, 1) if a is None else (tile.start[a], tile.stop[a]) for a in self._axes]


def _run(loop: Callable[..., None], jobs: Sequence[Job], ints: list[int], floats: npt.NDArray[np.float64]) -> None:
    for job, _ in jobs:
        loop(np.array(job + ints, "i8"), floats)


def _stored(field: Field) -> Stored:
    return Stored(field.memory.cells, tuple(low for low, _ in field.halo))


def geometry_numbers(typed: Typed, grid: Grid) -> list[Any]:
    """Return the parameters of the grid, as the generated functions take it. Local."""
    numbers = WallGeometry.of(grid).numbers(grid.box.start)
    return [numbers[key] for key in signature_of(typed).geometry]
