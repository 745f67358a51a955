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
    """A checkpoint that has been found whole.

    Attributes
    ----------
    path, step : of the file.
    extra : what was saved beside the fields.
    """

    path: str
    step: int
    extra: Mapping[str, Any]
    _comm: MPI.Intracomm = field(repr=False)
    _header: contents.Header = field(repr=False)

    def restore(self, fields: Mapping[str, Field]) -> None:
        """Put the saved values into fields of the same names, shapes and dtypes. Collective."""
        with phase("io"):
            contents.restore(self._comm, self.path, self._header, fields)


class Checkpoints:
    """The checkpoints of one run, in a folder of their own; see `mpibatch.checkpoint`. Making one is collective.

    Parameters
    ----------
    path : the folder; it is made at the first checkpoint, beside what must be there, and shared by all nodes.
    comm : an mpi4py communicator; default COMM_WORLD.
    every_steps, every_minutes : when `due` says yes (minutes by rank 0's clock); neither: only when a signal came.
    keep : how many are kept; older ones are removed when a new one is on disk.
    identity : values, as JSON has them, that tell this run from others. A checkpoint of another is refused.

    Raises UsageError, the same on every rank.
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
        """Whether a signal asked for the end, as all ranks know. Local."""
        return self._stopping != 0

    @property
    def newest(self) -> int | None:
        """The step of the newest checkpoint of this run. Local."""
        return self._known[-1] if self._known else None

    def found(self) -> int:
        """Return how many checkpoints are in the folder, whole or not. Collective."""
        return len(self._steps())

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint that verifies; None if there is none. Collective.

        Raises UsageError if it is another run's.
        """
        return next(self.candidates(), None)

    def candidates(self) -> Iterator[Checkpoint]:
        """Yield the checkpoints that verify, the newest first; warn of those that do not. Collective.

        The one that was yielded last is where this run goes on: the next `save` lets newer ones go.
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
        """Whether a checkpoint is due after `step` steps: by their number, by the clock or by a signal. Collective.

        To be called once after every step, or pass of several steps, with the same number on all ranks.
        """
        verdict = self._watch.ask()
        self._stopping = self._stopping or verdict.signal
        crossed = self._every is not None and step // self._every > self._looked_at // self._every
        self._looked_at = step
        return bool(self._stopping) or crossed or verdict.is_time

    def save(self, step: int, fields: Mapping[str, Field], extra: Mapping[str, Any] | None = None) -> None:
        """Write the checkpoint of a step; when it is on disk, remove old ones. Collective.

        Parameters
        ----------
        step : its number; the newest checkpoint has the largest one.
        fields : by name.
        extra : values beside them: NumPy arrays, and whatever JSON can hold. Those of rank 0 are saved.

        Raises `Stopped` (SystemExit) if a signal asked for the end; else UsageError, also where checkpoints of an
        earlier run are in the folder that neither `latest` has seen nor `clear` has removed, or RunError.
        """
        path = folder.file_of(self.path, step)
        if not self._is_folder_ours and (count := self.found()):
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
        """Raise `Stopped`, and say so on rank 0. Collective."""
        if self.comm.rank == 0:
            name = signal_name(self._stopping) if self._stopping else "asked to"
            _log.warning("%s: stopped at %s. Start again with --resume (resume=True) to go on", name, reached)
        raise Stopped

    def restart(self) -> None:
        """Begin to count the minutes to the next checkpoint anew. Local."""
        self._watch.restart()

    def clear(self) -> None:
        """Remove all checkpoints, and the folder if nothing else is in it. Collective."""
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
        found: list[int] = []
        with agreed(self.comm, f"looking for checkpoints in {self.path}"):
            if self.comm.rank == 0:
                found = folder.steps_in(self.path)
        steps: list[int] = self.comm.bcast(found, root=0)
        return steps

    def header_of(self, path: str) -> contents.Header | None:
        """Return the header of a file of ours; None, with a warning, unless the file is whole. Collective."""
        try:
            report = verify(path, self.comm)
            if not report.broken:
                return contents.read_header(self.comm, path)
            self.warn(f"{path} is broken, and not used: {report.broken[0]}")
        except RunError as error:
            self.warn(f"{path} is not used: {error}")
        return None

    def warn(self, words: str) -> None:
        """Log a warning on rank 0. Local."""
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
        """Make the folder, if it is not there. Collective."""
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
