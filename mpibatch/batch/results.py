"""What a batch leaves: how many items were done, which failed, and the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.batch.payloads import decoded
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpibatch.batch.history import History
    from mpibatch.batch.log import Failure
    from mpibatch.io.write.tables.region_table import RegionTable

__all__ = ["Batch"]


class Batch:
    """What `mpibatch.map_items` returns, the same on every rank but for `table`, of which each rank has a share.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        The ranks.
    history : History
        What became of every item.
    failed : tuple of Failure
        Those that failed.
    table : RegionTable
        The numbers among the results.
    block : callable
        Returns the bytes of this rank's share of the results.

    Attributes
    ----------
    done : int
        Items with a result, in this run and in earlier ones.
    failed : tuple of Failure
        Those that failed, in their order: `item`, `name`, `error`, `traceback`, `attempts`.
    left : int
        Items with neither; run the batch again for these.
    ran : int
        Items that this run worked on.
    table : RegionTable
        The numbers among the results, a row for each item that is done, in their order; its first column is ``item``.
    seconds, busy : float
        How long this run took, and the share of it that ranks spent within items.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> batch = mb.map_items(lambda x: {"square": x * x}, [3, 4, 5])
    >>> batch.done, batch.failed, batch.left
    (3, (), 0)
    >>> batch.table.gather()["square"].tolist()
    [9, 16, 25]
    """

    def __init__(
        self, comm: MPI.Intracomm, history: History, failed: tuple[Failure, ...], table: RegionTable,
        block: Callable[[], dict[int, bytes]],
    ) -> None:  # fmt: skip
        self._comm, self._block, self._total = comm, block, len(history.places)
        self.done = int(np.count_nonzero(history.done))
        self.failed, self.table = failed, table
        self.left = int(np.count_nonzero(history.left))
        self.ran, self.seconds, self.busy = 0, 0.0, 0.0

    def note_work(self, ran: int, seconds: float, busy: float) -> None:
        """Note what this run did.

        Parameters
        ----------
        ran : int
            How many items it worked on.
        seconds, busy : float
            How long it took, and this rank's seconds within items.

        Notes
        -----
        Collective: one sum.

        Examples
        --------
        >>> import mpibatch as mb
        >>> batch = mb.map_items(abs, [-1, 2])
        >>> batch.note_work(2, 1.0, 0.5)
        >>> batch.ran, batch.busy
        (2, 0.5)
        """
        total, longest = np.array([int(busy * 1e9)], np.int64), np.array([seconds])
        self._comm.Allreduce(MPI.IN_PLACE, total, op=MPI.SUM)
        self._comm.Allreduce(MPI.IN_PLACE, longest, op=MPI.MAX)
        self.ran, self.seconds = ran, float(longest[0])
        self.busy = float(total[0]) * 1e-9 / (self._comm.size * self.seconds)

    def gather(self) -> list[dict[str, Any] | None]:
        """Return all results, on every rank.

        Returns
        -------
        list of dict or None
            For each item its values by name, as arrays (a number is one without axes); None where it has no result.

        Notes
        -----
        Collective. Every rank holds everything then.

        Examples
        --------
        >>> import mpibatch as mb
        >>> print(mb.map_items(lambda x: x + 1, [1, 2]).gather())
        [{'result': array(2)}, {'result': array(3)}]
        """
        results: list[dict[str, Any] | None] = [None] * self._total
        with agreed(self._comm, "reading the results of a batch"):
            block = self._block()
        for part in self._comm.allgather(block):
            for item, payload in part.items():
                results[item] = decoded(payload)
        return results

    def share(self) -> dict[int, dict[str, Any]]:
        """Return the results of this rank's share of the items: of as many consecutive ones as others have.

        Returns
        -------
        dict of int to dict
            For each item that is done, by its number and in order, its values by name, as `gather` has them.

        Notes
        -----
        Collective. The ranks' shares follow one another; none holds more than its own.

        Examples
        --------
        >>> import mpibatch as mb
        >>> share = mb.map_items(lambda x: x + 1, [1, 2]).share()
        >>> all(values["result"] == item + 2 for item, values in share.items())
        True
        """
        with agreed(self._comm, "reading the results of a batch"):
            return {item: decoded(payload) for item, payload in self._block().items()}

    def __repr__(self) -> str:
        return f"Batch({self.done} done, {len(self.failed)} failed, {self.left} left)"
