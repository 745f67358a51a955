"""When checkpoints are due, and the writing of them, in a program's loop."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import Stopped, UsageError
from mpibatch.base.timing import phase
from mpibatch.checkpoint import contents, folder, identity
from mpibatch.checkpoint.signals import Caught, signal_name
from mpibatch.checkpoint.store import Store
from mpibatch.checkpoint.watch import SignalWatch
from mpibatch.mpi import MPI, failure
from mpibatch.mpi.failure import AGREED, Leaving

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from types import TracebackType

    from mpibatch.fields.field import Field
    from mpibatch.io.base.names import PathLike

__all__ = ["Checkpoints"]

_log = logging.getLogger(__name__)


class Checkpoints(Store):
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
    encrypt : str or path-like, optional
        A file with recipients, one ``age1...`` a line, who alone can read the checkpoints by their keys. Needs the
        extra "seal".

    Attributes
    ----------
    path : str
        The folder.
    comm : mpi4py.MPI.Intracomm
        A private duplicate of the communicator.
    identity : dict of str to object
        As given, and the version of mpibatch; a checkpoint of another version is only warned of.
    encrypt : str or path-like or None
        As given.
    again : str
        How to go on after a signal, which a program may put in its own words.

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
        encrypt: PathLike | None = None,
    ) -> None:
        numbers = [number for number in (every_steps, every_minutes, keep) if number is not None]
        if not all(number > 0 for number in numbers):
            raise UsageError(
                f"checkpoints every {every_steps} steps, {every_minutes} minutes, keep={keep} are not valid; give "
                "numbers above 0"
            )
        super().__init__(path, comm, identity or {})
        self._every, self._keep = every_steps, keep
        self.encrypt = encrypt
        self.again = "start again with --resume (resume=True) to go on"
        self._caught = Caught()
        seconds = None if every_minutes is None else 60 * every_minutes
        self._watch = SignalWatch(self.comm, lambda: self._caught.number, seconds)
        self._leaving = Leaving(self.comm)
        self._stopping = 0

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
        crossed = self._every is not None and step // self._every > self._reached // self._every
        self._reached = step
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
                contents.write(self.comm, path, header, fields, extra or {}, self.encrypt)
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
            _log.warning("%s: stopped at %s; %s", name, reached, self.again)
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

    def __enter__(self) -> Checkpoints:
        self._open()
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
        self._close()
