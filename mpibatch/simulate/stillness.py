"""A loop that does nothing: passes after which no field of the state has changed, as when a swap was forgotten."""

from __future__ import annotations

import logging
import zlib
from typing import TYPE_CHECKING

import numpy as np

from mpibatch.mpi import MPI
from mpibatch.reduce.arrays import chunks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.fields.field import Field

__all__ = ["Stillness"]

_log = logging.getLogger(__name__)


class Stillness:
    """Compares the state at the first two outputs of a run; a warning is logged on rank 0 if nothing has changed."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = comm
        self._before: dict[str, int] | None = None
        self._is_over = False

    def look(self, state: Mapping[str, Field], step: int) -> None:
        """Compare, if this is the second output. Collective."""
        if self._is_over:
            return
        now = {name: _checksum(field) for name, field in state.items()}
        if self._before is None:
            self._before = now
            return
        self._is_over = True
        differs = np.array([self._before.get(name) != value for name, value in now.items()], "i4")
        changed = np.empty_like(differs)
        self._comm.Allreduce(differs, changed, op=MPI.MAX)
        if self._comm.rank == 0 and not changed.any():
            names = ", ".join(f"state[{name!r}]" for name in now)
            _log.warning(
                "%s: not one cell has changed up to step %d, and equal outputs are written; unless this is a steady "
                "state, a pass must put its results into the state: state['u'], spare = spare, state['u']",
                names,
                step,
            )


def _checksum(field: Field) -> int:
    total = 0
    for _, part in chunks(field.owned):
        total = zlib.crc32(part.view(np.uint8).data, total)
    return total
