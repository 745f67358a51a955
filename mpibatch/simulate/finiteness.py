"""Finding the first cell that is not a finite number, and saying so on all ranks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import RunError
from mpibatch.base.tally import REDUCTION
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.fields.field import Field

__all__ = ["check_finite"]

NOWHERE = (1 << 63) - 1


def check_finite(fields: Mapping[str, Field], when: str, advice: str) -> None:
    """Raise RunError, the same on every rank, if a value is NaN or infinite. Collective: one all-reduce of 8 bytes.

    Named is, of the first such field by name, the first such cell in the global raster order.
    """
    names = sorted(fields)
    first = [_first(fields[name]) for name in names]
    mine = next((number for number, place in enumerate(first) if place != NOWHERE), NOWHERE)
    comm = next(iter(fields.values())).grid.comm
    with REDUCTION:
        guilty = comm.allreduce(mine, op=MPI.MIN)
    if guilty == NOWHERE:
        return
    u, name = fields[names[guilty]], names[guilty]
    place = comm.allreduce(first[guilty], op=MPI.MIN)
    index = tuple(int(i) for i in np.unravel_index(place, u.shape))
    position, component = index[: u.grid.ndim], index[u.grid.ndim :]
    owner, text = comm.allreduce(
        (comm.rank, _value(u, position, component)) if first[guilty] == place else (-1, ""), MPI.MAX
    )
    of = f" component {component if len(component) > 1 else component[0]} of" if component else ""
    at = ", ".join(f"{axis} = {i}" for axis, i in zip(u.grid.axes, position, strict=True))
    raise RunError(f"{name} is {text} in{of} cell {position} ({at}; on rank {owner} of {comm.size}) {when}; {advice}")


def _first(u: Field) -> int:
    """The flat index, into the global array, of the first value of this rank that is not finite."""
    if u.dtype.kind not in "fc" or not u.owned.size or _sums_up(u.owned):
        return NOWHERE
    for row in range(u.owned.shape[0]):
        broken = np.flatnonzero(~np.isfinite(u.owned[row]))
        if broken.size:
            within = np.unravel_index(int(broken[0]) + row * math.prod(u.owned.shape[1:]), u.owned.shape)
            start = (*u.box.start, *(0 for _ in u.components))
            return int(np.ravel_multi_index([int(i) + s for i, s in zip(within, start, strict=True)], u.shape))
    return NOWHERE


def _sums_up(values: npt.NDArray[Any]) -> bool:
    """Whether the sum is finite, which it is not with any NaN or infinity in it: one fast pass, and no memory."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.add.reduce(values, axis=None)))


def _value(u: Field, index: tuple[int, ...], component: tuple[int, ...]) -> str:
    local_index = tuple(i - low for i, low in zip(index, u.box.start, strict=True))
    value = u.owned[local_index + component]
    return "NaN" if np.isnan(value) else str(value)
