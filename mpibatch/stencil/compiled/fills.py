"""Which cells outside the domain a compiled sweep fills, and what is computed at each level of fused steps.

Axes are those of the compiled text: slow, middle and fast; one that the grid does not have is one cell long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.domain import wall_runs
from mpibatch.stencil.compiled.tables import Beside, Beyond, Head, table_of
from mpibatch.stencil.compiled.wall_source import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mpibatch.stencil.compiled.types import Array
    from mpibatch.stencil.walls import Condition

__all__ = ["AXES", "FAR", "Fill", "Span", "Surroundings", "levels_of"]

Interval = tuple[int, int]
AXES = {1: (None, None, 0), 2: (0, None, 1), 3: (0, 1, 2)}  # of the grid, as the text has them
FAR = 1 << 40  # further than any index: an axis without walls


@dataclass(frozen=True, slots=True)
class Span:
    """Cells [start, stop) along one axis, and how many are read outside the domain before and after them."""

    start: int
    stop: int
    outside: tuple[int, int]

    @classmethod
    def of(cls, cells: tuple[int, int], domain: tuple[int, int], reach: int, left: int) -> Span:
        """Return what a level is computed on, where `left` more follow that end in `cells`. Local."""
        start, stop = cells[0] - left * reach, cells[1] + left * reach
        beyond = (min(max(domain[0] - start, 0), reach), min(max(stop - domain[1], 0), reach))
        return cls(max(start, domain[0]), min(stop, domain[1]), beyond)


def levels_of(
    cells: Sequence[Interval], domain: Sequence[Interval], reach: Sequence[int], steps: int
) -> list[list[Span]]:
    """Return for each level, from 0, the spans along the three axes, so that the last one has `cells`. Local."""
    axes = list(zip(cells, domain, reach, strict=True))
    return [[Span.of(*axis, steps - level) for axis in axes] for level in range(steps + 1)]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The walls of one chain: per axis where the domain lies, what counts on each side, and the distance of cells."""

    array: Array
    domain: tuple[Interval, ...]
    conditions: tuple[tuple[Condition | None, ...], ...]
    spacing: tuple[float, ...]
    most: int  # cells that are read outside, at most

    def values(self) -> npt.NDArray[Any]:
        """Return what the formulas take, by axis, side, distance and component. Local."""
        values = np.zeros((3, 2, self.most, self.array.words), self.array.dtype)
        for axis, pair in enumerate(self.conditions):
            for side, condition in enumerate(pair):
                for outside in range(self.most):
                    number = _wall_value(condition, outside, self.spacing[axis])
                    values[axis, side, outside] = np.broadcast_to(number, self.array.components or (1,)).reshape(-1)
        return values.reshape(-1)

    def table(self, levels: Sequence[Sequence[Span]]) -> npt.NDArray[np.int64]:
        """Return the fills around what is computed, as `wavefront` reads them. Local."""
        heads: list[Head] = []
        rows: list[Beside | Beyond] = []
        for slow, middle, fast in levels:
            planes, above, beside = (list(self.fills(axis, span)) for axis, span in enumerate((slow, middle, fast)))
            low, high = (sum(fill.side == side for fill in above) for side in (0, 1))
            first, across, along = middle.start - low, fast.stop - fast.start, middle.stop - middle.start + low + high
            within = [
                Beside(f.to, fast.start, f.of, fast.start, rows=1, columns=across, kind=f.kind, value=f.value)
                for f in above
            ]
            within += [
                Beside(first, f.to, first, f.of, rows=along, columns=1, kind=f.kind, value=f.value) for f in beside
            ]
            # Planes before the domain are filled when the one that they come from is there, others in their turn.
            beyond = [Beyond(f.to if f.side else f.of, f.to, f.of, f.kind, f.value) for f in planes]
            turns = [[f.to if side else f.of for f in planes if f.side == side] for side in (0, 1)]
            start = len(levels) + len(rows)
            heads.append(
                Head(
                    beside=start,
                    beside_end=start + len(within),
                    beyond=start + len(within),
                    beyond_end=start + len(within) + len(beyond),
                    inner=max(turns[0], default=-FAR) + 1,
                    inner_end=min(turns[1], default=FAR),
                )
            )
            rows += [*within, *beyond]
        return table_of([*heads, *rows], Beside)

    def fills(self, axis: int, span: Span) -> Iterator[Fill]:
        """Yield what is to be filled along an axis, on both sides of the domain."""
        low, high = self.domain[axis]
        for side, condition in enumerate(self.conditions[axis]):
            if condition is None:
                continue
            kind = KINDS[condition.kind if condition.kind in KINDS else "copy"]
            for outside in range(span.outside[side]):
                to = low - 1 - outside if side == 0 else high + outside
                of = _source(condition.source or "nearest", to, low, high)
                yield Fill(side, to, of, kind, ((2 * axis + side) * self.most + outside) * self.array.words)


@dataclass(frozen=True, slots=True)
class Fill:
    """Cells at `to` that are made of those at `of`, with the value at that place."""

    side: int
    to: int
    of: int
    kind: int
    value: int


def _source(mode: str, index: int, low: int, high: int) -> int:
    """Return the cell of the domain [low, high) that one outside comes from."""
    run = next(wall_runs(index - low, index - low + 1, high - low, mode))
    return low + (run.source or 0)


def _wall_value(condition: Condition | None, outside: int, spacing: float) -> Any:
    """Return what the formula of a wall takes at one distance, computed as `walls.WallTask` does."""
    if condition is None or not condition.value:
        return 0
    value = np.asarray(condition.value if len(condition.value) > 1 else condition.value[0])
    if condition.kind == "dirichlet":
        return 2.0 * value
    if condition.kind == "neumann":
        return value * (np.float64(2 * outside + 1) * np.float64(spacing))
    return value
