"""Tables as Parquet: rank 0 writes row groups, for each of which the others send their rows, in their order."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError, reason_of
from mpibatch.base.timing import phase
from mpibatch.io.base.names import PathLike, user_path
from mpibatch.io.base.room import failure
from mpibatch.io.write.commit import committed
from mpibatch.mpi import MPI, agreed

__all__ = ["GROUP", "load_arrow", "write_parquet"]

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]
GROUP = 1 << 16  # rows of a row group: what rank 0 holds at a time
TAG = 17


def write_parquet(
    comm: MPI.Intracomm, path: PathLike, columns: Columns, first: int, rows: int, *, overwrite: bool
) -> None:
    """Write this rank's rows, of which the first is number `first` of `rows`. Collective."""
    arrow: Any = None
    with phase("io"):
        with agreed(comm, f"writing {path}"):
            target = user_path(path)
            if comm.rank == 0:
                arrow = load_arrow()
        with committed(comm, target, overwrite, sealed=False) as part, agreed(comm, f"writing {path}"):
            # Messages within, and on no rank anything that raises before the last of them.
            if comm.rank != 0:
                _send(comm, columns, first)
            elif isinstance(error := _write(comm, arrow, part.path, columns, rows), OSError):
                raise failure(part.path, reason_of(error)) from error
            elif error is not None:
                raise error


def load_arrow() -> Any:
    """Return pyarrow. Local. UsageError where it is not installed."""
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError:
        raise UsageError(
            "cannot write Parquet: pyarrow is not installed; type: pip install 'mpibatch[parquet]', or write "
            "CSV (to_csv)"
        ) from None


def _cuts(first: int, count: int) -> Iterator[slice]:
    """The rows of a rank, cut where row groups begin."""
    low = 0
    while low < count:
        high = min(count, low + GROUP - (first + low) % GROUP)
        yield slice(low, high)
        low = high


def _bytes_of(column: Array) -> Array:
    """The memory of a contiguous column: MPI has no name for each of NumPy's types."""
    return column.view(np.uint8)


def _send(comm: MPI.Intracomm, columns: Columns, first: int) -> None:
    """Send rank 0 the number of this rank's rows, and then these."""
    count = len(next(iter(columns.values())))
    comm.Send(np.array([count], np.int64), 0, TAG)
    for cut in _cuts(first, count):
        for column in columns.values():
            comm.Send(_bytes_of(np.ascontiguousarray(column[cut])), 0, TAG)


def _pieces(comm: MPI.Intracomm, columns: Columns) -> Iterator[Columns]:
    """All rows, in their order, on rank 0: its own, and those that the others send."""
    first = len(next(iter(columns.values())))
    yield from ({name: column[cut] for name, column in columns.items()} for cut in _cuts(0, first))
    for source in range(1, comm.size):
        count = np.empty(1, np.int64)
        comm.Recv(count, source, TAG)
        for cut in _cuts(first, int(count[0])):
            piece = {name: np.empty(cut.stop - cut.start, column.dtype) for name, column in columns.items()}
            for column in piece.values():
                comm.Recv(_bytes_of(column), source, TAG)
            yield piece
        first += int(count[0])


def _write(comm: MPI.Intracomm, arrow: Any, path: str, columns: Columns, rows: int) -> Exception | None:
    """Write all rows on rank 0; return the first error, after all messages have arrived."""
    # Of whatever kind: pyarrow has errors of its own, and the others would wait for ever to be rid of their rows.
    first_error: Exception | None = None
    writer: Any = None
    try:
        schema = arrow.table({name: column[:0] for name, column in columns.items()}).schema
        writer = arrow.parquet.ParquetWriter(path, schema)
    except Exception as error:
        first_error = error
    group: list[Columns] = []
    done = 0
    for piece in _pieces(comm, columns):
        group.append(piece)
        done += len(next(iter(piece.values())))
        if done % GROUP and done < rows:
            continue
        try:
            if writer is not None and first_error is None:
                whole = {name: np.concatenate([part[name] for part in group]) for name in columns}
                writer.write_table(arrow.table(whole), row_group_size=GROUP)
        except Exception as error:
            first_error = error
        group = []
    try:
        if writer is not None:
            writer.close()
    except Exception as error:
        first_error = first_error or error
    return first_error
