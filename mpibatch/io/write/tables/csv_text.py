"""Tables as comma-separated text, each rank's rows written where they belong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.io.base.names import PathLike, user_path
from mpibatch.io.write import shared_file
from mpibatch.io.write.commit import committed
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.prefix import sums_before

__all__ = ["quoted", "write_pieces", "write_text"]

Columns = Mapping[str, npt.NDArray[Any]]
ROWS = 1 << 14  # formatted at once: the texts of single values take many times the bytes of a line


def write_text(comm: MPI.Intracomm, path: PathLike, columns: Columns, first: int, *, overwrite: bool) -> None:
    """Write this rank's rows, of which the first is number `first` of all. Collective."""
    head = ",".join(map(quoted, columns)) + "\n" if comm.rank == 0 else ""
    write_pieces(comm, path, lambda: (head.encode(), *_lines(columns)), overwrite=overwrite)


def write_pieces(
    comm: MPI.Intracomm, path: PathLike, pieces: Callable[[], Iterable[bytes]], *, overwrite: bool = True
) -> None:
    """Write a file of all ranks' bytes, in the order of the ranks, from what a function returns. Collective."""
    with phase("io"):
        with agreed(comm, f"writing {path}"):
            target = user_path(path)
            texts = [np.frombuffer(text, "u1") for text in pieces() if text]
            ends = np.cumsum([0, *(text.size for text in texts)])
        before, total = sums_before(comm, range(comm.size), ends[-1:])
        with committed(comm, target, overwrite, sealed=False) as part:
            shared_file.make(comm, part.path, lambda: _extend(part.path, int(total[0])), int(total[0]))
            with shared_file.opened(comm, part.path) as file:
                shared_file.put(comm, file, part.path, list(zip((before[0] + ends).tolist(), texts, strict=False)))


def _extend(path: str, size: int) -> None:
    with Path(path).open("rb+") as file:
        file.truncate(size)


def _lines(columns: Columns) -> Iterable[bytes]:
    count = len(next(iter(columns.values())))
    for low in range(0, count, ROWS):
        texts = [_texts(column[low : low + ROWS]) for column in columns.values()]
        yield ("\n".join(map(",".join, zip(*texts, strict=True))) + "\n").encode()


def _texts(values: npt.NDArray[Any]) -> list[str]:
    # Python's own numbers are written faster; narrow floats have fewer digits as NumPy's.
    return list(map(str, values if values.dtype.kind == "f" and values.itemsize < 8 else values.tolist()))


def quoted(name: str) -> str:
    """Return a text as a value of a line. Local."""
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"\n\r') else name
