"""A file gets its name when it is complete: written as ``NAME.part`` beside it, flushed, sealed, renamed.

A leftover of a killed run has the same temporary name, and the next run replaces it, or goes on with it (`adopt`).
A run holds the lock of its temporary file, so that of two that write to one name at once the later is refused. Where a
file system has no locks, the later takes the name over, and the earlier notices, as it only renames what it has open.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import MpibatchError, RunError
from mpibatch.base.files import flush_folder, keep_permissions, lock, unlock
from mpibatch.io.base.names import PART, RESUMABLE
from mpibatch.io.base.obstacles import check_free, check_parent, forbidden, is_written, taken_over
from mpibatch.io.base.room import failure
from mpibatch.io.base.subfiles import folder_of, front_of, named, remove
from mpibatch.io.seal import seal
from mpibatch.io.write.storage.stripes import make_striped
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpibatch.io.seal.extent import Digests, Extent
    from mpibatch.io.vault.vault import Vault

__all__ = ["PART", "PartFile", "committed"]


@dataclass
class PartFile:
    """A file under its temporary name `path`.

    Attributes
    ----------
    extents, values : what the seal is to know, set on rank 0 before the block ends: the places and digests of chunks,
        and the digests of the values of datasets by name, both computed before the values went to the file (those of
        chunks that parallel HDF5 wrote: from what was read back). See `mpibatch.io.seal.seal.append`.
    subfiles : the names of its subfiles, on rank 0, which they get just before the file gets its own. Those of what it
        replaces are removed.
    sealed : encrypted blocks that are not among `extents`, each with its tags, on rank 0.
    """

    path: str
    extents: list[Extent] = field(default_factory=list)
    values: dict[str, Digests] = field(default_factory=dict)
    subfiles: frozenset[str] = frozenset()
    sealed: list[Extent] = field(default_factory=list)


@contextmanager
def committed(
    comm: MPI.Intracomm,
    path: str,
    overwrite: bool = True,
    *,
    sealed: bool = True,
    adopt: bool = False,
    keep: Callable[[], bool] | None = None,
    vault: Vault | None = None,
) -> Iterator[PartFile]:
    """Yield the temporary name, under which an empty file lies; seal and rename it after the block. Collective.

    If the block raises, the temporary file is removed, and what was there under `path` stays. The block must raise
    on all ranks or on none.

    Parameters
    ----------
    sealed : whether it is an HDF5 file, which ends with a seal.
    adopt : go on with the temporary file that is there already.
    keep : asked, if the block raises, whether the temporary file is to stay for another run to adopt.
    vault : by which the file is encrypted; None: it is not.
    """
    target, work = "", None
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            target = os.path.realpath(path)
            work = _HeldFile.begin(target, overwrite, adopt)
            if keep is not None:
                work.mark()
    target = comm.bcast(target, root=0)
    whole = PartFile(target + PART)
    resources = ExitStack()
    try:
        if vault is not None:
            with agreed(comm, f"writing {path}"):
                if work is not None:
                    resources.enter_context(vault.draft(whole.path))
        yield whole
        with agreed(comm, f"writing {path}"):
            if work is not None:
                work.commit(overwrite, whole, sealed, vault)
    except BaseException:
        if work is not None and not (keep is not None and keep()):
            work.remove()
        raise
    finally:
        resources.close()
        if work is not None:
            work.close()


@dataclass(frozen=True)
class _HeldFile:
    """Rank 0's hold on a file under its temporary name: an open folder, and an open and locked file in it."""

    target: Path
    folder: int
    file: int

    @classmethod
    def begin(cls, target: str, overwrite: bool, adopt: bool) -> _HeldFile:
        """Make the empty temporary file, or take the one there, which no other run holds."""
        path = Path(target)
        check_parent(path)
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise RunError(f"cannot write {target}: it is not a regular file; give another name")
        check_free(path, overwrite=overwrite)
        folder = -1
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            file = _adopt(path, folder) if adopt else _create(path, folder)
        except OSError as error:
            if folder >= 0:
                os.close(folder)
            raise forbidden(path, error) from error
        except RunError:
            os.close(folder)
            raise
        return cls(path, folder, file)

    def mark(self) -> None:
        """Note for those who clean up that another run may go on with the file."""
        with suppress(OSError):  # a file system without such attributes
            os.setxattr(self.file, RESUMABLE, b"")

    def _unmark(self) -> None:
        with suppress(OSError):
            os.removexattr(self.file, RESUMABLE)

    def commit(self, overwrite: bool, whole: PartFile, sealed: bool, vault: Vault | None) -> None:
        """Seal the file, bring it to the disk and give it its name."""
        part, target = self.target.name + PART, str(self.target)
        check_free(self.target, overwrite=overwrite)
        self._check_ours(part)
        own = _subfiles(self.target)
        try:
            if sealed:
                folder = folder_of(self.target.name)
                subfiles = [f"{folder}/{name}" for name in whole.subfiles]
                seal.append(whole.path, whole.extents, whole.values, subfiles)
            if vault is not None:
                vault.finish(whole.path, [*whole.extents, *whole.sealed])
            keep_permissions(self.file, Path(front_of(target)))
            self._unmark()
            os.fsync(self.file)
            self._check_ours(part)
            with named(target, whole.subfiles, own):
                if overwrite:
                    os.rename(part, self.target.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
                else:
                    # Unlike a rename, this cannot take the place of a file that came into being just now.
                    folders = {"src_dir_fd": self.folder, "dst_dir_fd": self.folder}
                    os.link(part, self.target.name, **folders, follow_symlinks=False)
            if not overwrite:
                os.unlink(part, dir_fd=self.folder)
            # The new name itself is safe only when the folder is.
            flush_folder(self.folder)
        except FileExistsError:
            check_free(self.target, overwrite=overwrite)
            raise
        except OSError as error:
            raise failure(whole.path, error.strerror or str(error), could_not_be="completed") from error
        self._check_ours(self.target.name)
        # Under the lock, which those hold who write subfiles.
        remove(target, own - whole.subfiles)
        # Before the other ranks go on, who may open the file at once.
        unlock(self.file)

    def remove(self) -> None:
        """Remove the temporary file, if it is this run's."""
        # The error that all ranks have is the one to be told.
        with suppress(OSError):
            if self._is_ours(self.target.name + PART):
                os.unlink(self.target.name + PART, dir_fd=self.folder)
                remove(str(self.target))

    def close(self) -> None:
        """Let go of the file and its lock."""
        # Whatever closing says: what counts was flushed, and the error that all ranks have is the one to be told.
        for handle in (self.file, self.folder):
            with suppress(OSError):
                os.close(handle)

    def _is_ours(self, name: str) -> bool:
        try:
            return os.path.samestat(os.stat(name, dir_fd=self.folder, follow_symlinks=False), os.fstat(self.file))
        except FileNotFoundError:
            return False

    def _check_ours(self, name: str) -> None:
        if not self._is_ours(name):
            raise taken_over(self.target, name)


def _subfiles(target: Path) -> set[str]:
    """The subfiles of what lies under a name now, as far as they are in the folder of this name. Local."""
    folder = folder_of(target.name)
    if not (target.parent / folder).is_dir():
        return set()
    try:
        names = seal.unpack(*seal.read(str(target))).subfiles
    except (seal.Unsealed, MpibatchError, OSError):
        return set()
    return {name for place, _, name in (name.partition("/") for name in names) if place == folder}


def _adopt(target: Path, folder: int) -> int:
    file = os.open(target.name + PART, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    if not lock(file, wait=True):
        os.close(file)
        raise is_written(target)
    return file


def _create(target: Path, folder: int) -> int:
    """Make the temporary file anew, never through what lies there: another's, or a link to something valuable."""
    name = target.name + PART
    try:
        left = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        pass
    except OSError:  # a link, or not ours to read: no run of ours has it open
        os.unlink(name, dir_fd=folder)
    else:
        try:
            if not lock(left, wait=True):
                raise is_written(target)
            # What a killed run left. Its lock is held until the new file has its own.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(left)):
                    os.unlink(name, dir_fd=folder)
            return _locked_new(target, folder)
        finally:
            os.close(left)
    return _locked_new(target, folder)


def _locked_new(target: Path, folder: int) -> int:
    is_there = make_striped(target.with_name(target.name + PART))
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if is_there else os.O_CREAT | os.O_EXCL)
    try:
        file = os.open(target.name + PART, flags, 0o666, dir_fd=folder)
    except FileExistsError:  # another run was faster
        raise is_written(target) from None
    if not lock(file):
        os.close(file)
        raise is_written(target)
    keep_permissions(file, Path(front_of(str(target))), mask=0o600)
    return file
