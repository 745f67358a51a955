"""Whether a file is, byte for byte, what was written: `verify`.

Every byte of a sealed file belongs to one range with one digest, so that all there is to do is to read ranges and to
compare. It reads no HDF5, and needs no MPI unless launched under it; then the ranks share the ranges.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mpibatch.base.errors import MpibatchError, RunError, UsageError, reason_of
from mpibatch.base.files import read_at
from mpibatch.base.launch import launched
from mpibatch.io.base.names import SEPARATOR, PathLike, user_path
from mpibatch.io.seal import seal
from mpibatch.io.seal.digests import of_words
from mpibatch.io.seal.manifest import Manifest, Sealed, pieces_outside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.mpi import MPI

__all__ = ["Broken", "Report", "check", "verify"]

# Of broken places, neighbours taken together, that one rank tells.
MOST_TOLD = 1000
FOREIGN = "it has no seal, so mpibatch did not write it"


@dataclass(frozen=True, order=True)
class Broken:
    """A part of a file that is not what was written.

    Parameters
    ----------
    start, stop : int
        The bytes [start, stop) of the file among which at least one is wrong; all of it where the seal is missing.
    dataset : str
        Whose values lie there; "" for everything else.
    description : str
        The region in words, such as ``u[12:14, :, :]``, ``metadata, bytes 0-799``, or why there is no seal.

    Notes
    -----
    Local. All of them are attributes; it cannot be changed. It prints as `description`, and sorts in the order of
    the file.

    Examples
    --------
    >>> from mpibatch.io import Broken
    >>> print(Broken(800, 992, "u", "u[0:4, :]"))
    u[0:4, :]
    """

    start: int
    stop: int
    dataset: str
    description: str

    def __str__(self) -> str:
        return self.description


@dataclass(frozen=True)
class Report:
    """What `verify` found: the file is whole if nothing is `broken`.

    Parameters
    ----------
    path : str
        The file.
    size : int
        Its bytes.
    content : str
        The content digest that the seal tells; "" without a seal. It is right if nothing is broken.
    datasets : tuple of str
        Names of all datasets under the seal.
    broken : tuple of Broken
        What is not as it was written, in the order of the file.
    is_foreign : bool, default False
        Whether another program wrote the file: it has no seal, and never had one.

    Notes
    -----
    Local. All of them are attributes; it cannot be changed.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.save("report.h5", u=mb.Grid((4, 6)).zeros())
    >>> report = mb.io.verify("report.h5")
    >>> report.datasets, report.broken, report.is_foreign
    (('u',), (), False)
    """

    path: str
    size: int
    content: str
    datasets: tuple[str, ...]
    broken: tuple[Broken, ...]
    is_foreign: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether every byte is as it was written, a bool. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.save("whole.h5", u=mb.Grid((4, 6)).zeros())
        >>> mb.io.verify("whole.h5").is_whole
        True
        """
        return not self.broken


def verify(path: PathLike, comm: MPI.Intracomm | None = None) -> Report:
    """Compare every byte of a file with its seal.

    Parameters
    ----------
    path : str or path-like
        A file written by mpibatch.
    comm : mpi4py.MPI.Intracomm, optional
        Who shares the work. Default: all ranks, or nobody where this was not launched by mpiexec and its like.

    Returns
    -------
    Report
        The same on all ranks: what is broken; also that a file has no seal.

    Raises
    ------
    UsageError
        The same on every rank, if a dataset is named: all of the file is verified.
    RunError
        The same on every rank, if there is no such file or it cannot be opened.

    Notes
    -----
    Collective; Local without `comm` and without mpiexec. The ranks share the bytes of the file, each of which is read
    once; memory is bounded.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.save("verified.h5", u=mb.Grid((4, 6)).zeros())
    >>> mb.io.verify("verified.h5").is_whole
    True
    """
    file = os.fspath(path)
    if comm is None and launched()[1] > 1:
        from mpibatch.mpi import private

        comm = private()
    rank, size = (comm.rank, comm.size) if comm is not None else (0, 1)
    begun: tuple[int, bytes, int, str, bool] = (0, b"", 0, "", False)
    with _agreed(comm, f"verifying {file}"):
        file = user_path(file)
        if rank == 0:
            begun = _begin(file)
    bytes_of_file, data, before, trouble, is_foreign = begun if comm is None else comm.bcast(begun, root=0)
    if trouble:
        return Report(file, bytes_of_file, "", (), (Broken(0, bytes_of_file, "", trouble),), is_foreign)
    with _agreed(comm, f"verifying {file}"):
        manifest = seal.unpack(data, before)
        local_hits = _shared_work(file, manifest, rank, size)
    hits_by_rank = [local_hits] if comm is None else comm.allgather(local_hits)
    broken = tuple(_told(manifest, [hit for hits in hits_by_rank for hit in hits]))
    return Report(file, bytes_of_file, manifest.content, tuple(d.name for d in manifest.datasets), broken)


def check(path: PathLike, comm: MPI.Intracomm | None = None) -> Report:
    """Verify a file, and raise RunError if anything in it is broken. Collective or Local, as `verify`, and of its cost.

    Parameters
    ----------
    path : str or path-like
        A file written by mpibatch.
    comm : mpi4py.MPI.Intracomm, optional
        Who shares the work. Default: as in `verify`.

    Returns
    -------
    Report
        Of a file that is whole.

    Raises
    ------
    UsageError
        The same on every rank, if a dataset is named.
    RunError
        The same on every rank, if the file is broken, has no seal, is not there or cannot be opened.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.save("sound.h5", u=mb.Grid((4, 6)).zeros())
    >>> mb.io.check("sound.h5").datasets
    ('u',)
    """
    report = verify(path, comm)
    if report.is_foreign:
        raise RunError(f"cannot verify {report.path}: {FOREIGN}; give a file that mpibatch wrote")
    if report.broken:
        more = f", and {len(report.broken) - 1} more places" if len(report.broken) > 1 else ""
        raise RunError(f"{report.path} is not as it was written: {report.broken[0]}{more}; restore it from a copy")
    return report


def _agreed(comm: MPI.Intracomm | None, doing: str) -> Any:
    if comm is None:
        return contextlib.nullcontext()
    from mpibatch.mpi import agreed

    return agreed(comm, doing)


def _begin(file: str) -> tuple[int, bytes, int, str, bool]:
    """Return (bytes of the file, packed manifest, bytes before it, why there is none, whether it is another program's).

    As plain values, to be sent.
    """
    if SEPARATOR in file and not os.path.lexists(file):
        raise UsageError(f"cannot verify a part of {file}: give the file alone; all of it is verified")
    if not os.path.lexists(file):
        raise RunError(f"cannot verify {file}: there is no such file; check the name")
    if not Path(file).is_file():
        raise RunError(f"cannot verify {file}: it is not a regular file; give the name of a file")
    try:
        size = Path(file).stat().st_size
        data, before = seal.read(file)
        seal.unpack(data, before)
    except seal.Unsealed as trouble:
        return (size, b"", 0, FOREIGN, True) if _is_foreign(file) else (size, b"", 0, str(trouble), False)
    except OSError as error:
        raise RunError(f"cannot verify {file}: {reason_of(error)}") from error
    return size, data, before, "", False


def _is_foreign(file: str) -> bool:
    """Whether a file without a seal never had one. What cannot be opened any more may be ours, and damaged."""
    from mpibatch.io.base.marks import VERSION_ATTRIBUTE
    from mpibatch.io.formats import format_of, hdf5

    if _is_in_ends(file, seal.MAGIC, VERSION_ATTRIBUTE.encode()):
        return False
    try:
        if format_of(file) != "hdf5":
            return True
    except RunError:  # of no format that is read
        return True
    try:
        with hdf5.opened(file) as opened:
            return VERSION_ATTRIBUTE not in opened.attrs
    except (MpibatchError, OSError):
        return False


def _is_in_ends(file: str, *words: bytes) -> bool:
    """Whether a word stands in the first or last `seal.PIECE_BYTES` of a file; also if the file is empty."""
    with open(file, "rb") as opened:
        first = opened.read(seal.PIECE_BYTES)
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - seal.PIECE_BYTES))
        last = opened.read()
    return not first or any(word in part for word in words for part in (first, last))


class _Hit(NamedTuple):
    """A broken range: of words `low` to `high` of a dataset, of a stored chunk, or (dataset -1) of bytes."""

    dataset: int
    low: int
    high: int
    start: int
    stop: int


def _shared_work(file: str, manifest: Manifest, rank: int, ranks: int) -> list[_Hit]:
    """Verify the ranges that begin in this rank's share of the file's bytes."""
    begin, end = (-(-manifest.size * r // ranks) for r in (rank, rank + 1))
    hits: list[_Hit] = []
    with open(file, "rb", buffering=0) as opened:
        handle = opened.fileno()
        for number, (start, stop) in enumerate(pieces_outside(manifest)):
            if begin <= start < end and not _is_hashed(handle, start, stop, manifest.hashes[number]):
                hits.append(_Hit(-1, start, stop, start, stop))
        for number, dataset in enumerate(manifest.datasets):
            hits += _broken_values(handle, number, dataset, manifest.byteorder, begin, end)
    return list(_joined(manifest, hits))[:MOST_TOLD]


def _is_hashed(handle: int, start: int, stop: int, expected: bytes) -> bool:
    try:
        return seal.hash_of(handle, start, stop) == expected
    except OSError:
        return False


def _broken_values(handle: int, number: int, dataset: Sealed, byteorder: str, begin: int, end: int) -> Iterator[_Hit]:
    offsets, sizes = dataset.table[:, 0], dataset.table[:, 1]
    counts = -(-sizes // (dataset.table[:, 2] * dataset.table[:, 4]))
    low_of = np.cumsum(counts) - counts
    for row in np.flatnonzero((offsets < end) & (offsets + sizes > begin)).tolist():
        offset, nbytes, word, first, per_digest = dataset.table[row].tolist()
        for k in range(int(counts[row])):
            start = offset + k * per_digest * word
            if not begin <= start < end:
                continue
            stop = min(start + per_digest * word, offset + nbytes)
            low = first + k * per_digest
            if _digest(handle, start, stop, word, low, byteorder) != int(dataset.digests[low_of[row] + k]):
                if dataset.boxes is not None:
                    yield _Hit(number, row, row + 1, start, stop)
                else:
                    yield _Hit(number, low, low + (stop - start) // word, start, stop)


def _digest(handle: int, start: int, stop: int, word: int, first: int, byteorder: str) -> int:
    """The digest of a range of bytes, -1 if they cannot be read."""
    total = 0
    kind = np.dtype(f"u{word}").newbyteorder("<" if byteorder == "little" else ">")
    for low in range(start, stop, seal.PIECE_BYTES):
        length = min(seal.PIECE_BYTES, stop - low)
        try:
            data = read_at(handle, length, low)
        except OSError:
            return -1
        if len(data) != length:
            return -1
        words = np.frombuffer(data, kind).astype(kind.newbyteorder("="), copy=False)
        total += of_words(words, first + (low - start) // word)
    return total & 0xFFFFFFFFFFFFFFFF


def _joined(manifest: Manifest, hits: list[_Hit]) -> Iterator[_Hit]:
    """Take neighbours together."""
    open_hit: _Hit | None = None
    for hit in sorted(hits):
        if open_hit is None:
            open_hit = hit
        elif (
            hit.dataset == open_hit.dataset
            and hit.low == open_hit.high
            and (hit.dataset < 0 or manifest.datasets[hit.dataset].boxes is None)
        ):
            start, stop = min(hit.start, open_hit.start), max(hit.stop, open_hit.stop)
            open_hit = open_hit._replace(high=hit.high, start=start, stop=stop)
        else:
            yield open_hit
            open_hit = hit
    if open_hit is not None:
        yield open_hit


def _told(manifest: Manifest, hits: list[_Hit]) -> list[Broken]:
    """What is broken, in words, in the order of the file."""
    broken = []
    for hit in _joined(manifest, hits):
        if hit.dataset < 0:
            broken.append(Broken(hit.start, hit.stop, "", f"metadata, bytes {hit.start}-{hit.stop - 1}"))
            continue
        dataset = manifest.datasets[hit.dataset]
        broken.append(Broken(hit.start, hit.stop, dataset.name, f"{dataset.name}[{_region(dataset, hit)}]"))
    return sorted(broken)


def _region(dataset: Sealed, hit: _Hit) -> str:
    """The smallest box of values around the words of a hit, as it is written in Python."""
    shape = dataset.shape
    if dataset.boxes is not None:
        first, last = dataset.boxes[hit.low, 0].tolist(), [n - 1 for n in dataset.boxes[hit.low, 1].tolist()]
    else:
        item, word = np.dtype(dataset.dtype).itemsize, int(dataset.table[0, 2])
        first = _place(hit.low * word // item, shape)
        last = _place((hit.high * word - 1) // item, shape)
        differing = next((axis for axis, (a, b) in enumerate(zip(first, last, strict=True)) if a != b), len(shape))
        for axis in range(differing + 1, len(shape)):
            first[axis], last[axis] = 0, shape[axis] - 1
    indices = [
        ":" if b - a + 1 == n and n > 1 else f"{a}:{b + 1}" if b > a else str(a)
        for a, b, n in zip(first, last, shape, strict=True)
    ]
    return ", ".join(indices) or "()"


def _place(index: int, shape: tuple[int, ...]) -> list[int]:
    """The indices of the value that is number `index` in C order."""
    place = []
    for n in reversed(shape):
        index, at = divmod(index, n)
        place.append(at)
    return place[::-1]
