"""Writing, finding and removing checkpoints."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from mpibatch import __version__
from mpibatch.base.errors import RunError, Stopped, UsageError
from mpibatch.base.files import lock
from mpibatch.base.timing import phase
from mpibatch.checkpoint import contents, folder, identity
from mpibatch.checkpoint.signals import Caught, signal_name
from mpibatch.checkpoint.watch import Watch
from mpibatch.fields.field import Field
from mpibatch.io.base.names import user_path
from mpibatch.io.seal.verification import verify
from mpibatch.mpi import AGREED, MPI, Leaving, agreed, failure, private

__all__ = ["Checkpoint", "Checkpoints"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been found whole; `Checkpoints.latest` and `candidates` return them.

    Parameters
    ----------
    path : str
        The file.
    step : int
        The step after which it was written.
    extra : mapping of str to object
        What was saved beside the fields.
    _comm : mpi4py.MPI.Intracomm
        Whose ranks read it; set by `Checkpoints`.
    _header : mapping of str to object
        What the file tells of itself; set by `Checkpoints`.

    Notes
    -----
    Local. `path`, `step` and `extra` are attributes; it cannot be changed.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).full(2.0)
    >>> with mb.Checkpoints("one.checkpoints") as checkpoints:
    ...     checkpoints.clear()
    ...     checkpoints.save(3, {"u": u}, {"phase": 0.25})
    ...     latest = checkpoints.latest()
    ...     checkpoints.clear()
    >>> latest.step, latest.extra
    (3, {'phase': 0.25})
    """

    path: str
    step: int
    extra: Mapping[str, Any]
    _comm: MPI.Intracomm = field(repr=False)
    _header: contents.Header = field(repr=False)

    def restore(self, fields: Mapping[str, Field]) -> None:
        """Put the saved values into fields of the same names, shapes and dtypes.

        Parameters
        ----------
        fields : mapping of str to Field
            All those that were saved, by name; on grids of any decomposition. Their owned cells are written to.

        Raises
        ------
        UsageError
            The same on every rank, if they are others.
        RunError
            The same on every rank, if the file cannot be read.

        Notes
        -----
        Collective. Each field is read as by `mpibatch.load`: memory for one more field at a time.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid(4).full(2.0)
        >>> with mb.Checkpoints("restore.checkpoints") as checkpoints:
        ...     checkpoints.clear()
        ...     checkpoints.save(3, {"u": u})
        ...     u.owned[...] = 0.0
        ...     checkpoints.latest().restore({"u": u})
        ...     checkpoints.clear()
        >>> mb.sum(u)
        8.0
        """
        with phase("io"):
            contents.restore(self._comm, self.path, self._header, fields)


class Checkpoints:
    """The checkpoints of one run, in a folder of their own; see `mpibatch.checkpoint`. A context manager.

    Parameters
    ----------
    path : str or path-like
        The folder; it is made at the first checkpoint, beside what must be there, and shared by all nodes.
    comm : mpi4py.MPI.Intracomm, optional
        Whose ranks take part. Default: COMM_WORLD.
    every_steps : int, optional
        Steps after which `due` says yes.
    every_minutes : float, optional
        Minutes after which `due` says yes, by rank 0's clock. Neither: only when a signal came.
    keep : int, default 2
        How many are kept; older ones are removed when a new one is on disk.
    identity : mapping of str to object, optional
        Values, as JSON has them, that tell this run from others. A checkpoint of another is refused.

    Attributes
    ----------
    path : str
        The folder.
    comm : mpi4py.MPI.Intracomm
        A private duplicate of the communicator.
    identity : dict of str to object
        As given, and the version of mpibatch; a checkpoint of another version is only warned of.

    Raises
    ------
    UsageError
        The same on every rank, if the numbers are not above 0.

    Notes
    -----
    Collective. In its ``with`` block SIGUSR1 and SIGTERM no longer end the process, but make `due` say yes on all
    ranks; and the folder is locked, so that no other run uses it: entering raises RunError if one does, or if the
    folder could not be made or written to.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).full(8.0)
    >>> with mb.Checkpoints("halves.checkpoints", every_steps=2) as checkpoints:
    ...     checkpoints.clear()
    ...     for step in (1, 2, 3):
    ...         u = 0.5 * u
    ...         if checkpoints.due(step):
    ...             checkpoints.save(step, {"u": u})
    ...     latest = checkpoints.latest()
    ...     latest.restore({"u": u})
    ...     checkpoints.clear()
    >>> latest.step, mb.sum(u)
    (2, 8.0)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        comm: MPI.Intracomm | None = None,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        keep: int = 2,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        numbers = [number for number in (every_steps, every_minutes, keep) if number is not None]
        if not all(number > 0 for number in numbers):
            raise UsageError(
                f"checkpoints every {every_steps} steps, {every_minutes} minutes, keep={keep} were asked for; give "
                "numbers above 0"
            )
        self.path = user_path(path)
        self.comm = private(comm)
        self.identity = {"mpibatch": __version__, **(identity or {})}
        self._every, self._keep = every_steps, keep
        self._caught = Caught()
        seconds = None if every_minutes is None else 60 * every_minutes
        self._watch = Watch(self.comm, lambda: self._caught.number, seconds)
        self._leaving = Leaving(self.comm)
        self._known: list[int] = []  # steps of this run's checkpoints, the newest last
        self._is_folder_ours = False  # whether what lies in the folder has been looked at, or removed
        self._looked_at = 0
        self._stopping = 0
        self._is_entered = False
        self._handle: int | None = None  # rank 0's, of the folder

    @property
    def stopping(self) -> bool:
        """Whether a signal asked for the end, as all ranks know; a bool. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Checkpoints("stopping.checkpoints").stopping
        False
        """
        return self._stopping != 0

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
            self._looked_at = step
            yield Checkpoint(path, step, header["extra"], self.comm, header)
        self._known, self._looked_at = [], 0

    def due(self, step: int) -> bool:
        """Tell whether a checkpoint is due after some steps: by their number, by the clock or by a signal.

        Parameters
        ----------
        step : int
            The steps made, the same number on all ranks.

        Returns
        -------
        bool
            The same on every rank. What a rank knows of a signal, or rank 0 of the time, arrives at once after long
            steps, within about 10 ms between short ones.

        Notes
        -----
        Collective; to be called once after every step, or pass of several steps. An all-reduce of 24 bytes; where steps
        are short it is begun after one and completed after the next, and only every so many of very short ones take
        part.

        Examples
        --------
        >>> import mpibatch as mb
        >>> checkpoints = mb.Checkpoints("due.checkpoints", every_steps=2)
        >>> with checkpoints:
        ...     [checkpoints.due(step) for step in (1, 2, 3, 4)]
        [False, True, False, True]
        """
        verdict = self._watch.ask()
        self._stopping = self._stopping or verdict.signal
        crossed = self._every is not None and step // self._every > self._looked_at // self._every
        self._looked_at = step
        return bool(self._stopping) or crossed or verdict.is_time

    def save(self, step: int, fields: Mapping[str, Field], extra: Mapping[str, Any] | None = None) -> None:
        """Write the checkpoint of a step; when it is on disk, remove old ones.

        Parameters
        ----------
        step : int
            Its number; the newest checkpoint has the largest one.
        fields : mapping of str to Field
            What is saved, by name.
        extra : mapping of str to object, optional
            Values beside them: NumPy arrays, and whatever JSON can hold. Those of rank 0 are saved.

        Raises
        ------
        Stopped
            A SystemExit, if a signal asked for the end.
        UsageError
            The same on every rank, for what cannot be saved; also where checkpoints of an earlier run are in the folder
            that neither `latest` has seen nor `clear` has removed.
        RunError
            The same on every rank: a full disk, a folder that is gone.

        Notes
        -----
        Collective. An ordinary file of `mpibatch.save`, ``step-000000120.h5``, sealed and flushed. Nothing is written
        for the step of the newest checkpoint.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid(4).full(8.0)
        >>> with mb.Checkpoints("saved.checkpoints", keep=1) as checkpoints:
        ...     checkpoints.clear()
        ...     checkpoints.save(1, {"u": u})
        ...     checkpoints.save(2, {"u": u})
        ...     print(checkpoints.newest, checkpoints.count())
        ...     checkpoints.clear()
        2 1
        """
        path = folder.file_of(self.path, step)
        if not self._is_folder_ours and (count := self.count()):
            raise UsageError(
                f"{count} checkpoints of an earlier run are in {self.path}, which this run has not looked at; go on "
                "from them (latest), or remove them first (clear)"
            )
        self._is_folder_ours = True
        if step != self.newest:
            with phase("io"):
                self.make_folder()
                header = {"step": step, "identity": identity.plain(self.identity)}
                contents.write(self.comm, path, header, fields, extra or {})
                self._known = [*(known for known in self._known if known < step), step][-self._keep :]
                self._tidy()
            if self.comm.rank == 0:
                _log.info("checkpoint %s", path)
        self.restart()
        if self._stopping:
            self.stop(f"step {step}; {path} is complete")

    def stop(self, reached: str) -> None:
        """Raise `Stopped`, and say so on rank 0.

        Parameters
        ----------
        reached : str
            Where the run stopped, for the message.

        Raises
        ------
        Stopped
            Always.

        Notes
        -----
        Collective; nothing is communicated.

        Examples
        --------
        >>> import mpibatch as mb
        >>> try:
        ...     mb.Checkpoints("stop.checkpoints").stop("step 3")
        ... except mb.Stopped as stopped:
        ...     print(stopped.code)
        75
        """
        if self.comm.rank == 0:
            name = signal_name(self._stopping) if self._stopping else "asked to"
            _log.warning("%s: stopped at %s. Start again with --resume (resume=True) to go on", name, reached)
        raise Stopped

    def restart(self) -> None:
        """Begin to count the minutes to the next checkpoint anew.

        Notes
        -----
        Local; only rank 0's clock counts. `save` does it, and entering the ``with`` block.

        Examples
        --------
        >>> import mpibatch as mb
        >>> checkpoints = mb.Checkpoints("restart.checkpoints", every_minutes=60)
        >>> with checkpoints:
        ...     checkpoints.restart()
        ...     checkpoints.due(1)
        False
        """
        self._watch.restart()

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

    def __enter__(self) -> Checkpoints:
        with agreed(self.comm, f"looking at the folder {self.path}"):
            if self.comm.rank == 0:
                folder.check_writable(self.path)
                self._lock()
        self._is_entered = True
        self._caught.__enter__()
        self._leaving.__enter__()
        self._watch.restart()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leaving.__exit__(kind, error, at)
        if error is None:
            self._watch.close()
        elif isinstance(error, AGREED):
            if not self._watch.give_up(failure.PATIENCE):
                failure.end(error)
        else:
            self._watch.give_up(0.0)
        self._caught.__exit__(kind, error, at)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _lock(self) -> None:
        """Hold the folder until the block ends: two runs would remove one another's checkpoints. Rank 0's."""
        if self._handle is not None or not Path(self.path).is_dir():
            return  # it is made later, and locked then
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if not lock(handle, wait=True):
            os.close(handle)
            raise RunError(
                f"checkpoints were to be kept in {self.path}, but another run is using this folder; wait for its end, "
                "or name another"
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
            self.warn(f"{path} is broken, and not used: {report.broken[0]}")
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
                Path(self.path).mkdir()
                _flush_folder(str(Path(self.path).resolve().parent))
            if self.comm.rank == 0 and self._is_entered:
                self._lock()

    def _tidy(self) -> None:
        with agreed(self.comm, f"removing old checkpoints in {self.path}"):
            if self.comm.rank == 0:
                folder.remove(self.path, set(self._known))


def _flush_folder(path: str) -> None:
    """A new name is safe only when its folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
