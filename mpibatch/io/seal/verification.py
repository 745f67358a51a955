"""Whether a file is, byte for byte, what was written: `verify`.

Every byte of a sealed file belongs to one range with one digest, so that all there is to do is to read ranges and to
compare. It reads no HDF5, and needs no MPI unless launched under it; then the ranks share the ranges.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mpibatch.base.errors import MpibatchError, RunError, UsageError, reason_of
from mpibatch.base.processes.launch import launched
from mpibatch.io.base.names import SEPARATOR, PathLike, user_path
from mpibatch.io.base.subfiles import flaw, place_of
from mpibatch.io.seal import folders, seal
from mpibatch.io.seal.digests import of_bytes
from mpibatch.io.seal.folders import FolderBytes
from mpibatch.io.seal.hits import Broken, Hit, broken_places, joined
from mpibatch.io.seal.manifest import Manifest, Sealed, pieces_outside
from mpibatch.io.vault.images import image_of
from mpibatch.io.vault.keyring import Damaged, Unlocked, has_whole_header, keyed, take, unlocked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.io.seal.seal import Read
    from mpibatch.mpi import MPI

__all__ = ["Report", "check", "verify"]

# Of broken places, neighbors taken together, that one rank tells.
MOST_TOLD = 1000
FOREIGN = "it has no seal, so mpibatch did not write it"


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
    is_of_other_version : bool, default False
        Whether another version of mpibatch sealed the file, or a subfile, so that this one cannot tell.

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
    is_of_other_version: bool = False

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


def verify(path: PathLike, comm: MPI.Intracomm | None = None, *, identity: PathLike | None = None) -> Report:
    """Compare every byte of a file with its seal.

    Parameters
    ----------
    path : str or path-like
        A file written by mpibatch.
    comm : mpi4py.MPI.Intracomm, optional
        Who shares the work. Default: all ranks, or nobody where this was not launched by mpiexec and its like.
    identity : str or path-like, optional
        The key file for an encrypted file, or an open descriptor as "fd:3". Default: ``$MPIBATCH_IDENTITY``, else
        ``mpibatch.identity`` in ``$CREDENTIALS_DIRECTORY``.

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
    once; memory is bounded. Subfiles are verified with their front.

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
    with _agreed(comm, f"verifying {file}"):
        file = user_path(file)
    report = _verified(file, comm, identity)
    names: list[str] = []
    # No HDF5 is needed for it: the seal has the names.
    with _agreed(comm, f"verifying {file}"):
        if report.is_whole and not folders.is_store(file) and (comm is None or comm.rank == 0):
            names = [*seal.unpack(*seal.read(file)).subfiles]
    for name in names if comm is None else comm.bcast(names, root=0):
        report = _with_subfile(report, name, comm)
    return report


def _with_subfile(report: Report, name: str, comm: MPI.Intracomm | None) -> Report:
    """Return the report of a front with what one of its subfiles adds to it. Collective."""
    trouble = ""
    with _agreed(comm, f"verifying {report.path}"):
        if comm is None or comm.rank == 0:
            trouble = flaw(report.path, name)
    if comm is not None:
        trouble = comm.bcast(trouble, root=0)
    if trouble:
        return replace(report, broken=(*report.broken, Broken(0, 0, "", trouble)))
    part = _verified(str(place_of(report.path, name)), comm, None)
    places = (replace(place, description=f"subfile {name}: {place.description}") for place in part.broken)
    return replace(
        report,
        size=report.size + part.size,
        broken=(*report.broken, *places),
        is_of_other_version=report.is_of_other_version or part.is_of_other_version,
    )


def _verified(file: str, comm: MPI.Intracomm | None, identity: PathLike | None) -> Report:
    """Verify one file or folder."""
    rank, ranks = (comm.rank, comm.size) if comm is not None else (0, 1)
    evidence = _Evidence()
    with _agreed(comm, f"verifying {file}"):
        if rank == 0:
            evidence = _begin(file, identity)
    evidence = evidence if comm is None else comm.bcast(evidence, root=0)
    size, files = evidence.size, evidence.files
    if evidence.trouble:
        trouble = (Broken(0, size, "", evidence.trouble),)
        return Report(
            path=file, size=size, content="", datasets=(), broken=trouble,
            is_foreign=evidence.is_foreign, is_of_other_version=evidence.is_of_other_version,
        )  # fmt: skip
    take(evidence.secret)
    with _agreed(comm, f"verifying {file}"):
        manifest = seal.unpack(evidence.data, evidence.before)
        local_hits = _shared_work(file, files, manifest, rank, ranks)
    hits_by_rank = [local_hits] if comm is None else comm.allgather(local_hits)
    hits = [hit for hits in hits_by_rank for hit in hits]
    names = FolderBytes(file, files).names if files is not None else None
    broken = tuple(broken_places(manifest, hits, names))
    datasets = tuple(d.name for d in manifest.datasets)
    return Report(path=file, size=size, content=evidence.content, datasets=datasets, broken=broken)


def check(path: PathLike, comm: MPI.Intracomm | None = None) -> Report:
    """Verify a file, and raise RunError if anything in it is broken.

    Parameters
    ----------
    path : str or path-like
        A file written by mpibatch.
    comm : mpi4py.MPI.Intracomm, optional
        Who shares the work. Default: all ranks, or nobody where this was not launched by mpiexec and its like.

    Returns
    -------
    Report
        Of a file that is whole.

    Raises
    ------
    UsageError
        The same on every rank, if a dataset is named.
    RunError
        The same on every rank, if the file is broken, has no seal or that of another version, is not there or cannot be
        opened.

    Notes
    -----
    Collective; Local without `comm` and without mpiexec. Each byte is read once, by one rank, as by `verify`.

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
    if report.is_of_other_version:
        raise RunError(f"{report.path} was sealed by another version of mpibatch; load it and save it anew")
    if report.broken:
        more = f", and {len(report.broken) - 1} more places" if len(report.broken) > 1 else ""
        raise RunError(f"{report.path} is not as it was written: {report.broken[0]}{more}; restore it from a copy")
    return report


def _agreed(comm: MPI.Intracomm | None, doing: str) -> Any:
    if comm is None:
        return contextlib.nullcontext()
    from mpibatch.mpi import agreed

    return agreed(comm, doing)


class _Evidence(NamedTuple):
    """What rank 0 learns of a file or folder, as plain values to be sent.

    Its bytes, its packed manifest and the bytes that this tells of; of a folder the names and sizes of files; why there
    is no manifest, and whether another program wrote it, or another version.
    """

    size: int = 0
    data: bytes = b""
    before: int = 0
    files: folders.Files | None = None
    content: str = ""
    secret: Unlocked = None
    trouble: str = ""
    is_foreign: bool = False
    is_of_other_version: bool = False


def _begin(file: str, identity: PathLike | None) -> _Evidence:
    """Look at the seal. Local. RunError or UsageError if there is nothing to look at."""
    if SEPARATOR in file and not os.path.lexists(file):
        raise UsageError(f"cannot verify a part of {file}: give the file alone; all of it is verified")
    if not os.path.lexists(file):
        raise RunError(f"cannot verify {file}: there is no such file; check the name")
    is_folder = folders.is_store(file)
    if not is_folder and not Path(file).is_file():
        raise RunError(f"cannot verify {file}: it is not a regular file, nor a folder of Zarr; give another name")
    size, files = 0, None
    try:
        secret: Unlocked = None
        if is_folder:
            files, data = folders.read(file)
            size = before = sum(nbytes for _, nbytes in files)
        else:
            size = Path(file).stat().st_size
            secret = unlocked(file, identity)
            if not has_whole_header(file):
                return _Evidence(size, trouble="one of the two copies of the header, bytes 0-65535, is damaged")
            data, before = seal.read(file)
        content = keyed(file, seal.unpack(data, before).content)
    except Damaged as trouble:
        return _Evidence(size, trouble=str(trouble))
    except seal.OtherVersion as trouble:
        return _Evidence(size, trouble=str(trouble), is_of_other_version=True)
    except seal.Unsealed as trouble:
        is_foreign = not folders.is_ours(file) if is_folder else _is_foreign(file)
        return _Evidence(size, trouble=FOREIGN if is_foreign else str(trouble), is_foreign=is_foreign)
    except OSError as error:
        raise RunError(f"cannot verify {file}: {reason_of(error)}") from error
    return _Evidence(size, data, before, files, content=content, secret=secret)


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


def _shared_work(file: str, files: folders.Files | None, manifest: Manifest, rank: int, ranks: int) -> list[Hit]:
    """Verify the ranges that begin in this rank's share of the file's bytes."""
    begin, end = (-(-manifest.size * r // ranks) for r in (rank, rank + 1))
    hits: list[Hit] = []
    with _opened(file, files) as read:
        for number, (start, stop) in enumerate(pieces_outside(manifest)):
            if begin <= start < end and not _is_hashed(read, start, stop, manifest.hashes[number]):
                hits.append(Hit(-1, start, stop, start, stop))
        for number, dataset in enumerate(manifest.datasets):
            hits += _broken_values(read, number, dataset, begin, end)
    return list(joined(manifest, hits))[:MOST_TOLD]


@contextmanager
def _opened(file: str, files: folders.Files | None) -> Iterator[Read]:
    """What reads so many bytes from a place on, of a file or of a folder's files."""
    if files is None:
        with image_of(file) as image:
            yield image.read
    else:
        with FolderBytes(file, files) as parts:
            yield parts.read


def _is_hashed(read: Read, start: int, stop: int, expected: bytes) -> bool:
    try:
        return seal.hash_of(read, start, stop) == expected
    except OSError:
        return False


def _broken_values(read: Read, number: int, dataset: Sealed, begin: int, end: int) -> Iterator[Hit]:
    offsets, sizes = dataset.table[:, 0], dataset.table[:, 1]
    counts = -(-sizes // dataset.table[:, 3])
    low_of = np.cumsum(counts) - counts
    for row in np.flatnonzero((offsets < end) & (offsets + sizes > begin)).tolist():
        offset, nbytes, first, per_digest = dataset.table[row].tolist()
        for k in range(int(counts[row])):
            start = offset + k * per_digest
            if not begin <= start < end:
                continue
            stop = min(start + per_digest, offset + nbytes)
            low = first + k * per_digest
            if _digest(read, start, stop, low) != int(dataset.digests[low_of[row] + k]):
                if dataset.boxes is not None:
                    yield Hit(number, row, row + 1, start, stop)
                else:
                    yield Hit(number, low, low + stop - start, start, stop)


def _digest(read: Read, start: int, stop: int, first: int) -> int:
    """The digest of a range of bytes, -1 if they cannot be read."""
    total = 0
    for low in range(start, stop, seal.PIECE_BYTES):
        length = min(seal.PIECE_BYTES, stop - low)
        try:
            data = read(length, low)
        except OSError:
            return -1
        if len(data) != length:
            return -1
        total += sum(of_bytes(data, first + low - start, length).tolist())
    return total & 0xFFFFFFFFFFFFFFFF
