"""The checkpoints in a folder, as all ranks see them: looked for, read and removed."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch import __version__
from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.files import LOCK, hold, release
from mpibatch.checkpoint import contents, folder, identity
from mpibatch.checkpoint.checkpoint import Checkpoint
from mpibatch.io.base.names import user_path
from mpibatch.io.seal.verification import verify
from mpibatch.mpi import MPI, agreed, private

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

__all__ = ["Store"]

_log = logging.getLogger(__name__)


class Store:
    """The checkpoints of one run, in a folder of their own.

    Attributes
    ----------
    path : str
        The folder.
    comm : mpi4py.MPI.Intracomm
        A private duplicate of the communicator.
    identity : dict of str to object
        What tells this run from others, and the version of mpibatch.
    """

    def __init__(self, path: str | os.PathLike[str], comm: MPI.Intracomm | None, identity: Mapping[str, Any]) -> None:
        self.path = user_path(path)
        self.comm = private(comm)
        self.identity = {"mpibatch": __version__, **identity}
        self._known: list[int] = []  # steps of this run's checkpoints, the newest last
        self._is_folder_ours = False  # whether what lies in the folder has been looked at, or removed
        self._reached = 0  # the step that the run has reached, as far as is known here
        self._is_open = False
        self._handle: int | None = None  # rank 0's, of the folder's lock

    @property
    def newest(self) -> int | None:
        """The step of the newest checkpoint of this run, an int; None if there is none. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> print(mb.Checkpoints("newest.checkpoints").newest)
        None
        """
        return self._known[-1] if self._known else None

    def count(self) -> int:
        """Return how many checkpoints are in the folder, whole or not.

        Returns
        -------
        int
            The same on every rank; 0 if there is no folder.

        Raises
        ------
        RunError
            The same on every rank, if the folder cannot be read.

        Notes
        -----
        Collective: rank 0 looks, and tells the others.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Checkpoints("counted.checkpoints").count()
        0
        """
        return len(self._steps())

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint that verifies.

        Returns
        -------
        Checkpoint or None
            None if there is none.

        Raises
        ------
        UsageError
            The same on every rank, if it is another run's.

        Notes
        -----
        Collective. All of its file is read, each rank a share; one that does not verify is named in a warning. This run
        goes on from the one that is returned: the next `save` lets newer ones go.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid(4).full(8.0)
        >>> with mb.Checkpoints("latest.checkpoints") as checkpoints:
        ...     checkpoints.clear()
        ...     checkpoints.save(1, {"u": u})
        ...     checkpoints.save(2, {"u": u})
        ...     print(checkpoints.latest().step)
        ...     checkpoints.clear()
        2
        """
        return next(self.candidates(), None)

    def candidates(self) -> Iterator[Checkpoint]:
        """Yield the checkpoints that verify, the newest first; warn of those that do not.

        The one that was yielded last is where this run goes on: the next `save` lets newer ones go.

        Yields
        ------
        Checkpoint
            One that is whole, and of this run.

        Raises
        ------
        UsageError
            The same on every rank, if one is another run's.

        Notes
        -----
        Collective. A file is read as a whole before it is yielded, each rank a share.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid(4).full(8.0)
        >>> with mb.Checkpoints("several.checkpoints") as checkpoints:
        ...     checkpoints.clear()
        ...     checkpoints.save(1, {"u": u})
        ...     checkpoints.save(2, {"u": u})
        ...     print([candidate.step for candidate in checkpoints.candidates()])
        ...     checkpoints.clear()
        [2, 1]
        """
        steps = self._steps()
        self._is_folder_ours = True
        for number, step in enumerate(steps):
            path = folder.file_of(self.path, step)
            header = self.header_of(path)
            if header is None:
                continue
            self._check_identity(path, header["identity"])
            self._known = sorted(steps[number:])
            self._reached = step
            yield Checkpoint(path, step, header["extra"], self.comm, header)
        self._known, self._reached = [], 0

    def clear(self) -> None:
        """Remove all checkpoints, and the folder if nothing else is in it.

        Raises
        ------
        RunError
            The same on every rank, if one cannot be removed.

        Notes
        -----
        Collective: rank 0 removes them. What killed runs left half-written goes, too.

        Examples
        --------
        >>> import mpibatch as mb
        >>> with mb.Checkpoints("cleared.checkpoints") as checkpoints:
        ...     checkpoints.clear()
        ...     checkpoints.save(1, {"u": mb.Grid(4).zeros()})
        ...     checkpoints.clear()
        ...     checkpoints.count()
        0
        """
        self._known, self._is_folder_ours = [], True
        self._tidy()

    def _open(self) -> None:
        """Hold the folder, as soon as there is one. Collective."""
        with agreed(self.comm, f"looking at the folder {self.path}"):
            if self.comm.rank == 0:
                folder.check_writable(self.path)
                self._lock()
        self._is_open = True

    def _close(self) -> None:
        if self._handle is not None:
            release(Path(self.path) / LOCK, self._handle)
            self._handle = None

    def _lock(self) -> None:
        """Hold the folder until the block ends: two runs would remove one another's checkpoints. Rank 0's."""
        if self._handle is not None or not Path(self.path).is_dir():
            return  # it is made later, and locked then
        handle = hold(Path(self.path) / LOCK, wait=True)
        if handle < 0:
            raise RunError(
                f"cannot keep checkpoints in {self.path}: another run is using this folder; wait until it ends, "
                "or name another folder"
            )
        self._handle = handle

    def _steps(self) -> list[int]:
        on_root: list[int] = []
        with agreed(self.comm, f"looking for checkpoints in {self.path}"):
            if self.comm.rank == 0:
                on_root = folder.steps_in(self.path)
        steps: list[int] = self.comm.bcast(on_root, root=0)
        return steps

    def header_of(self, path: str) -> contents.Header | None:
        """Return the header of a file of ours.

        Parameters
        ----------
        path : str
            A checkpoint's.

        Returns
        -------
        dict of str to object or None
            The step, the identity, the names of the fields ("state") and what was saved beside them ("extra"); None,
            with a warning, unless the file is whole.

        Notes
        -----
        Collective. All of the file is read, each rank a share.

        Examples
        --------
        >>> import mpibatch as mb
        >>> with mb.Checkpoints("header.checkpoints") as checkpoints:
        ...     checkpoints.clear()
        ...     checkpoints.save(1, {"u": mb.Grid(4).zeros()})
        ...     header = checkpoints.header_of(checkpoints.latest().path)
        ...     checkpoints.clear()
        >>> header["step"], header["state"]
        (1, ['u'])
        """
        try:
            report = verify(path, self.comm)
            if not report.broken:
                return contents.read_header(self.comm, path)
            words = "is not used" if report.is_of_other_version else "is broken, and not used"
            self.warn(f"{path} {words}: {report.broken[0]}")
        except RunError as error:
            self.warn(f"{path} is not used: {error}")
        return None

    def warn(self, words: str) -> None:
        """Log a warning on rank 0.

        Parameters
        ----------
        words : str
            What is said.

        Notes
        -----
        Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Checkpoints("warn.checkpoints").warn("the last checkpoint is an hour old")
        """
        if self.comm.rank == 0:
            _log.warning("%s", words)

    def _check_identity(self, path: str, then: identity.Identity) -> None:
        if others := identity.differences(then, self.identity):
            raise UsageError(
                f"{path} is the checkpoint of another run: {others}; start anew (--anew), or keep checkpoints "
                "in another folder"
            )
        if mild := identity.differences(then, self.identity, mild=True):
            self.warn(f"going on from {path}, although {mild}")

    def make_folder(self) -> None:
        """Make the folder, if it is not there.

        Raises
        ------
        RunError
            The same on every rank, if it cannot be made, or another run is using it.

        Notes
        -----
        Collective: rank 0 makes it, and locks it if within the ``with`` block. `save` does it at the first checkpoint.

        Examples
        --------
        >>> import mpibatch as mb
        >>> with mb.Checkpoints("folder.checkpoints") as checkpoints:
        ...     checkpoints.make_folder()
        ...     checkpoints.clear()
        """
        with agreed(self.comm, f"making the folder {self.path}"):
            if self.comm.rank == 0 and not Path(self.path).is_dir():
                folder.make(self.path)
            if self.comm.rank == 0 and self._is_open:
                self._lock()

    def _tidy(self) -> None:
        with agreed(self.comm, f"removing old checkpoints in {self.path}"):
            if self.comm.rank == 0:
                folder.remove(self.path, set(self._known))
                if not self._known and folder.is_empty(self.path):
                    with suppress(OSError, RunError):  # another run has begun there
                        self._lock()
                        self._close()
                        Path(self.path).rmdir()
