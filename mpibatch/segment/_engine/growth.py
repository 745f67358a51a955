"""Values that grow into their neighborhood under limits, on any number of ranks: reconstruction by dilation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.fields.field import Field
from mpibatch.filters._engine.memory import check_memory, padded_bytes
from mpibatch.segment._engine.relaxation import lines_of, relax

if TYPE_CHECKING:
    from mpibatch.segment._engine.neighborhood import Neighborhood

__all__ = ["Growth", "lowest", "spread_truths"]

Array = npt.NDArray[Any]


def lowest(dtype: np.dtype[Any]) -> Any:
    """Return the least value of a dtype. Local."""
    return dtype.type(-np.inf) if dtype.kind == "f" else np.iinfo(dtype).min


class Growth:
    """Room for values and their limits: write to `values` and `limits`, grow, and read `values`. Collective to create.

    Attributes
    ----------
    values, limits : views of the owned cells; values are at most their limits, and no NaN.
    """

    __slots__ = ("_beyond", "_field", "_name", "_near", "_top", "limits", "values")

    def __init__(self, name: str, u: Field, dtype: np.dtype[Any], near: Neighborhood, beyond: Any = None) -> None:
        """Make room on the grid of `u`. `beyond`: the value outside the walls, by default the lowest. Collective."""
        reach = near.reach
        check_memory(u.grid, name, 2 * padded_bytes(u, reach, dtype.itemsize))
        self._name, self._near = name, near
        self._field, top = Field(u.grid, dtype, reach), Field(u.grid, dtype, reach)
        least = lowest(dtype)
        self._beyond = least if beyond is None else beyond
        self._top = top.padded
        self._top[...] = least
        self.values, self.limits = self._field.owned, top.owned

    def run(self) -> int:
        """Let values grow until none can any more; return the rounds that it took. Collective."""
        from mpibatch.segment._loops.growth import grow, regrow

        lines, steps = lines_of(self._field), self._near.flat(self._field.padded.shape)
        values, limits = self._field.padded.reshape(-1), self._top.reshape(-1)

        def solve(is_first: bool) -> bool:
            if is_first:
                grow(
                    values,
                    limits,
                    lines.bases,
                    lines.length,
                    steps.every,
                    steps.forth,
                    steps.back,
                    steps.right,
                    steps.left,
                )
                return True
            return bool(
                regrow(values, limits, lines.bases, lines.length, lines.at_face, lines.low, lines.high, steps.every)
            )

        return relax(self._name, self._field, solve, self._beyond)


def spread_truths(name: str, u: Field, seeds: Array, allowed: Array, near: Neighborhood, beyond: bool = False) -> Field:
    """Return the seeds and the cells that are allowed and reached from one. Collective.

    `u` says on which grid; `seeds` and `allowed` are arrays of this rank's owned cells.
    """
    growth = Growth(name, u, np.dtype(np.uint8), near, int(beyond))
    growth.values[...] = seeds
    np.logical_or(seeds, allowed, out=growth.limits)
    growth.run()
    out = Field(u.grid, np.bool_)
    np.not_equal(growth.values, 0, out=out.owned)
    return out
