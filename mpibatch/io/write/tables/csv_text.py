"""Tables as comma-separated text, each rank's rows written where they belong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.fields.field import Field
from mpibatch.fields.grid import Grid
from mpibatch.fields.redistribution import redistribute
from mpibatch.io.base.names import PathLike, user_path
from mpibatch.io.vault import crypt4gh
from mpibatch.io.write import shared_file
from mpibatch.io.write.commit import committed
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.prefix import sums_before

__all__ = ["quoted", "write_pieces", "write_text"]

Columns = Mapping[str, npt.NDArray[Any]]
Bytes = npt.NDArray[np.uint8]
ROWS = 1 << 14  # formatted at once: the texts of single values take many times the bytes of a line


def write_text(
    comm: MPI.Intracomm,
    path: PathLike,
    columns: Columns,
    first: int,
    *,
    overwrite: bool,
    encrypt: PathLike | None = None,
) -> None:
    """Write this rank's rows, of which the first is number `first` of all. Collective.

    `encrypt`: a file of public keys of Crypt4GH, for a name that ends in .c4gh.
    """
    keys: tuple[bytes, ...] = ()
    with agreed(comm, f"writing {path}"):
        if str(path).endswith(crypt4gh.SUFFIX) != (encrypt is not None):
            raise UsageError(
                f"cannot write {os.fspath(path)!r}: a name that ends in {crypt4gh.SUFFIX} is for text encrypted for "
                "recipients, and needs a file of their public keys (encrypt=); other names are for plain text"
            )
        if encrypt is not None and comm.rank == 0:
            keys = crypt4gh.public_keys(user_path(encrypt))
    head = ",".join(map(quoted, columns)) + "\n" if comm.rank == 0 else ""
    write_pieces(
        comm, path, lambda: (head.encode(), *_lines(columns)), overwrite=overwrite, recipients=comm.bcast(keys)
    )


def write_pieces(
    comm: MPI.Intracomm, path: PathLike, pieces: Callable[[], Iterable[bytes]], *, overwrite: bool = True,
    recipients: Sequence[bytes] = (),
) -> None:  # fmt: skip
    """Write a file of all ranks' bytes, in the order of the ranks, from what a function returns. Collective.

    `recipients`: keys of those for whom it is encrypted by Crypt4GH.
    """
    with phase("io"):
        with agreed(comm, f"writing {path}"):
            target = user_path(path)
            texts = [np.frombuffer(text, "u1") for text in pieces() if text]
        if recipients:
            texts = _sealed(comm, texts, recipients)
        ends = np.cumsum([0, *(text.size for text in texts)])
        before, total = sums_before(comm, range(comm.size), ends[-1:])
        with committed(comm, target, overwrite, sealed=False) as part:
            shared_file.make(comm, part.path, lambda: _extend(part.path, int(total[0])), int(total[0]))
            with shared_file.opened(comm, part.path) as file:
                shared_file.put(comm, file, part.path, list(zip((before[0] + ends).tolist(), texts, strict=False)))


def _sealed(comm: MPI.Intracomm, texts: list[Bytes], recipients: Sequence[bytes]) -> list[Bytes]:
    """All ranks' bytes, encrypted, of which each rank has whole segments. Collective."""
    count = sum(text.size for text in texts)
    counts = comm.allgather(count)
    total = sum(counts)
    shares = np.arange(comm.size + 1) * -(-total // crypt4gh.SEGMENT) // comm.size * crypt4gh.SEGMENT
    mine = Field(Grid(total, comm=comm, sizes=[counts]), "u1")
    if count:
        mine.owned[...] = np.concatenate(texts)
    whole = redistribute(mine, Grid(total, comm=comm, sizes=[np.diff(np.minimum(shares, total)).tolist()]))
    key = comm.bcast(os.urandom(crypt4gh.KEY) if comm.rank == 0 else b"")
    with agreed(comm, "encrypting a table"):
        sealed = [crypt4gh.seal(key, whole.owned.tobytes())]
        if comm.rank == 0:
            sealed.insert(0, crypt4gh.header(key, recipients))
    return [np.frombuffer(text, "u1") for text in sealed if text]


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
