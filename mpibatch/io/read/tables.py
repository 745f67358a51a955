"""From files to tables: each rank reads an equal share of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io.formats import Source, read
from mpibatch.io.read.inspector import inspect_safely
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_plain", "load_table"]


def check_plain(source: Source, given: Mapping[str, Any]) -> None:
    """Refuse parameters of fields for a table. Local. UsageError."""
    if others := [name for name, value in given.items() if value is not None]:
        raise UsageError(f"cannot load {source.name} with {', '.join(others)}=: it is a table; leave this out")


def load_table(comm: MPI.Intracomm, source: Source) -> RegionTable:
    """Return a table of a file. Collective. Rank 0 asks where the columns lie; `source` is what it knows so far."""
    on_root: dict[str, Source] = {}
    with agreed(comm, f"reading {source.name}"):
        if comm.rank == 0 and source.shape[0]:
            for name in source.columns:
                on_root[name] = inspect_safely(source.path, f"{source.dataset}/{name}", source.allow)
    parts = comm.bcast(on_root, root=0)
    rows, columns = source.shape[0], {}
    low, high = (rows * rank // comm.size for rank in (comm.rank, comm.rank + 1))
    with agreed(comm, f"reading {source.name}"):
        for name, dtype in source.columns.items():
            columns[name] = np.empty(high - low, dtype)
            if high > low:
                read(parts[name], (slice(low, high, 1),), columns[name], (slice(0, high - low),))
    return RegionTable(comm, columns, source.attrs)
