"""What one rank notes of its items while it works on them: two files that only grow, or the same in memory."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, reason_of
from mpibatch.base.trust import grants
from mpibatch.batch import records
from mpibatch.batch.payloads import digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mpibatch.batch.secrecy import NoteCipher

__all__ = ["Failure", "FileLog", "Log", "MemoryLog", "failure_of"]

FLUSH = 2.0  # seconds at most until a record is on disk
LOOK = 0.1  # seconds between looks whether the run is asked to stop


@dataclass(frozen=True)
class Failure:
    """An item that failed. Its parameters are its attributes.

    Parameters
    ----------
    item : int
        Its number, from 0.
    name : str
        What it is called.
    error : str
        The last line of the traceback, or why its rank ended.
    traceback : str, default ""
        Of the last attempt; "" if the rank ended.
    attempts : int, default 1
        How often it was tried.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> (failure,) = mb.map_items(lambda x: 1 / x, [2, 0]).failed
    >>> failure.item, failure.error
    (1, 'ZeroDivisionError: division by zero')
    """

    item: int
    name: str
    error: str
    traceback: str = ""
    attempts: int = 1


def failure_of(item: int, data: bytes) -> Failure:
    """Return the failure that a record's bytes tell of. Local."""
    return Failure(item=item, **json.loads(data))


def _bytes_of(failure: Failure) -> bytes:
    return json.dumps({key: value for key, value in asdict(failure).items() if key != "item"}).encode()


class Log:
    """One rank's notes. In memory: what is left of them when the process ends is nothing."""

    def __init__(self, mark: int, cipher: NoteCipher | None = None) -> None:
        self._mark, self._size, self._cipher = mark, 0, cipher

    def start(self, item: int) -> None:
        """Note that an item begins. Local."""
        self._note(records.packed(self._mark, records.START, item))

    def done(self, item: int, payload: bytes) -> None:
        """Note an item's result. Local."""
        payload = self._sealed(records.DONE, item, payload)
        self._keep(payload)
        place = records.PLACE.pack(self._size, len(payload), digest(payload))
        self._size += len(payload)
        self._note(records.packed(self._mark, records.DONE, item, place))

    def failed(self, failure: Failure) -> None:
        """Note that an item failed, and why. Local."""
        words = self._sealed(records.FAILED, failure.item, _bytes_of(failure))
        self._note(records.packed(self._mark, records.FAILED, failure.item, words))

    def raised(self, item: int, failure: Failure | None) -> None:
        """Note that an item failed on this rank, and its team does not know yet; None: now it does. Local."""
        words = b"" if failure is None else self._sealed(records.RAISED, item, _bytes_of(failure))
        self._note(records.packed(self._mark, records.RAISED, item, words))

    def interrupted(self, item: int) -> None:
        """Note that an item is left unfinished, and not to blame. Local."""
        self._note(records.packed(self._mark, records.INTERRUPTED, item))

    def close(self) -> None:
        """Bring all to the disk. Local."""

    def _sealed(self, kind: int, item: int, text: bytes) -> bytes:
        return text if self._cipher is None else self._cipher.seal(kind, item, text)

    def _note(self, record: bytes) -> None:
        raise NotImplementedError

    def _keep(self, payload: bytes) -> None:
        raise NotImplementedError


class MemoryLog(Log):
    """Notes of a batch without a journal."""

    def __init__(self, mark: int) -> None:
        super().__init__(mark)
        self.notes = bytearray()
        self.results: dict[int, bytes] = {}  # by their first bytes' number, which an empty one shares with the next

    def _note(self, record: bytes) -> None:
        self.notes += record

    def _keep(self, payload: bytes) -> None:
        if payload:
            self.results[self._size] = payload


class FileLog(Log):
    """Notes in two files of their own, made with the first item.

    Each goes to the system before the next step of work, and a thread brings them to the disk every few seconds.
    `is_stopping` is asked meanwhile: an item that runs when the run is asked to stop is not to blame if it ends then.
    `cipher` seals results and failures.
    """

    def __init__(
        self, stem: Path, mark: int, is_stopping: Callable[[], bool], cipher: NoteCipher | None = None
    ) -> None:
        super().__init__(mark, cipher)
        self._stem, self._is_stopping = stem, is_stopping
        self._files: tuple[int, int] | None = None  # of results, of records
        self._is_dirty, self._running = False, -1
        self._error: OSError | None = None  # of the thread's
        self._leave = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, item: int) -> None:
        """Note that an item begins. Local."""
        super().start(item)
        self._running = item

    def raised(self, item: int, failure: Failure | None) -> None:
        """Note that an item failed on this rank, and its team does not know yet; None: now it does. Local."""
        running = self._running
        super().raised(item, failure)
        self._running = running  # for the others

    def _open(self) -> tuple[int, int]:
        if self._files is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            with self._refusing():
                results, notes = (
                    os.open(self._stem.with_suffix(end), flags, 0o666) for end in (".results", ".journal")
                )
            self._files = results, notes
            for file in self._files:
                grants.apply(file)
            self._thread = threading.Thread(target=self._look_after, daemon=True, name="mpibatch journal")
            self._thread.start()
        return self._files

    def _note(self, record: bytes) -> None:
        self._running = -1
        if self._error is not None:
            with self._refusing():
                raise self._error
        _write(self._open()[1], record, self._stem)
        self._is_dirty = True

    def _keep(self, payload: bytes) -> None:
        _write(self._open()[0], payload, self._stem)

    def _look_after(self) -> None:
        waited, is_noted = 0.0, False
        while not self._leave.wait(LOOK):
            waited += LOOK
            running = self._running
            if running >= 0 and not is_noted and self._is_stopping():
                is_noted = True
                with suppress(RunError):
                    _write(self._open()[1], records.packed(self._mark, records.INTERRUPTED, running), self._stem)
                    self._is_dirty, waited = True, FLUSH
            if waited >= FLUSH:
                waited = 0.0
                try:
                    self._flush()
                except OSError as error:  # which the system reports once
                    self._error = error

    def _flush(self) -> None:
        if self._is_dirty and self._files is not None:
            self._is_dirty = False
            for file in self._files:
                os.fsync(file)

    def close(self) -> None:
        """Bring all to the disk. Local. RunError."""
        if self._files is None:
            return
        self._leave.set()
        if self._thread is not None:
            self._thread.join()
        files, self._is_dirty = self._files, True
        try:
            with self._refusing():
                self._flush()
                if self._error is not None:
                    raise self._error
        finally:
            self._files = None
            for file in files:
                os.close(file)

    def _refusing(self) -> _Refusing:
        return _Refusing(self._stem)


class _Refusing:
    """Turns what the system refuses into an error that says what to do."""

    def __init__(self, stem: Path) -> None:
        self._stem = stem

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        if isinstance(error, OSError):
            raise RunError(f"cannot write the journal {self._stem.parent}: {reason_of(error)}") from error


def _write(file: int, data: bytes, stem: Path) -> None:
    """Append all bytes: in one go, or as many as it takes."""
    view = memoryview(data)
    with _Refusing(stem):
        while view:
            view = view[os.write(file, view) :]
