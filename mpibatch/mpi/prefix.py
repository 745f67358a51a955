"""Sums over the ranks before this one, along a line of ranks: by messages between ranks that know one another.

Point to point, in 2 log2(ranks) steps, and not by MPI_Exscan, which would need a communicator for every line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TAG", "sums_before"]

Ints = npt.NDArray[np.int64]

TAG = 12


def sums_before(comm: MPI.Intracomm, line: Sequence[int], mine: Ints) -> tuple[Ints, Ints]:
    """Return the sums of the arrays of the ranks before this one in `line`, and of all. Collective over `line`.

    All ranks of the line give it in the same order, and arrays of the same shape. (W. D. Hillis, G. L. Steele, "Data
    parallel algorithms", doi:10.1145/7902.7903.)
    """
    place, count = line.index(comm.rank), len(line)
    total = np.array(mine, np.int64)
    if count == 1 or not total.size:
        return np.asarray(total - mine), total
    distance = 1
    while distance < count:
        # Sent from a copy: what arrives is added while the message may still be under way.
        sent = comm.Isend(total.copy(), line[place + distance], TAG) if place + distance < count else MPI.REQUEST_NULL
        if place >= distance:
            arriving = np.empty_like(total)
            comm.Recv(arriving, line[place - distance], TAG)
            total += arriving
        sent.Wait()
        distance *= 2
    before = np.asarray(total - mine)
    # The last rank has the sum of all, and passes it on; those who have it double in every step.
    place, distance = count - 1 - place, 1
    while distance < count:
        if place < distance and place + distance < count:
            comm.Send(total, line[count - 1 - place - distance], TAG)
        elif distance <= place < 2 * distance:
            comm.Recv(total, line[count - 1 - place + distance], TAG)
        distance *= 2
    return before, total
