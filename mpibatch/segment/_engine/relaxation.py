"""Relax until nothing changes: the fixed points of this package, on any number of ranks.

A fixed point that does not depend on the order in which cells are visited may be reached block by block: each rank
goes on alone until nothing changes in its block, then asks its neighbors for news.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.log import logger
from mpibatch.base.progress.rounds import note
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.filters._engine.rows import starts
from mpibatch.halo import Exchange
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["OwnedLines", "lines_of", "relax", "summed", "total"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OwnedLines:
    """The lines of a block's owned cells along the last axis, in its padded memory.

    Cell x of line i is ``padded.reshape(-1)[bases[i] + x]``, 0 <= x < length. `at_face`: lines that are within reach of
    a face of the block, the last axis' apart; of the others only the first `low` and the last `high` cells are.
    """

    bases: Ints
    length: int
    at_face: npt.NDArray[np.bool_]
    low: int
    high: int


def lines_of(u: Field) -> OwnedLines:
    """Return the lines of a field without components. Local."""
    shape = u.box.shape if u.box.size else (0,) * u.grid.ndim
    corner = tuple(low for low, _ in u.halo)
    at_face = np.zeros(shape[:-1], np.bool_)
    for axis, ((low, high), n) in enumerate(zip(u.halo[:-1], shape[:-1], strict=True)):
        ends = [slice(None)] * (len(shape) - 1)
        for part in (slice(0, low), slice(max(0, n - high), n)):
            ends[axis] = part
            at_face[tuple(ends)] = True
    low, high = u.halo[-1]
    length = shape[-1]
    bases = starts(u.padded.shape, corner, shape) if u.box.size else np.empty(0, np.int64)
    return OwnedLines(bases, length, at_face.reshape(-1), min(low, length), min(high, max(0, length - low)))


def relax(name: str, fields: Field | Sequence[Field], solve: Callable[[bool], Any], beyond: Any) -> int:
    """Fill halos and solve, again and again until nothing changes on any rank; return how often. Collective.

    `solve` is given whether it is the first time, works on this rank's block alone, and returns whether anything
    changed. `beyond` is what lies outside the walls. One exchange and one all-reduce of 8 bytes a round.
    """
    together = [fields] if isinstance(fields, Field) else list(fields)
    is_empty = not math.prod(together[0].box.shape)
    rounds, changed = 0, 1
    is_alone = together[0].grid.size == 1 and not any(together[0].grid.periodic)  # no news comes from anywhere
    with Exchange(together, mode="constant", cval=beyond) as fill:
        while changed:
            fill()
            changed = 0
            if not is_empty:
                with timed("compute"):
                    changed = int(bool(solve(rounds == 0)))
            rounds += 1
            changed = 0 if is_alone else total(together[0], changed)
    logger("segment").debug("%s: %d rounds", name, rounds)
    return rounds


def total(u: Field, mine: int) -> int:
    """Return the sum over all ranks, which ends a round. Collective: one all-reduce of 8 bytes."""
    everywhere = summed(u, mine)
    note(everywhere)
    return everywhere


def summed(u: Field, mine: int) -> int:
    """Return the sum over all ranks, where nothing goes on in rounds. Collective: one all-reduce of 8 bytes."""
    sent, everywhere = np.array([mine], np.int64), np.empty(1, np.int64)
    with REDUCTION:
        u.grid.comm.Allreduce(sent, everywhere, op=MPI.SUM)
    return int(everywhere[0])
