"""The journal of a batch: a folder in which every rank notes what becomes of its items, for this run and later ones.

``batch.json`` tells which batch it is, ``000001.run`` that there was a run of this number (and, of an encrypted batch,
holds its secret for the recipients: see `secrecy`), and
``000001-00000.journal`` and ``.results`` are what its rank 0 noted and kept. Files only grow. Beside them are notes of
the function's own, such as a list of items that came from a pipe. A run holds the folder's lock; parts of a batch that
run at the same time share it, and each holds a lock of its own.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch import __version__
from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.files import LOCK, hold, read_at
from mpibatch.base.json_files import write_json
from mpibatch.base.trust.grants import make_folder
from mpibatch.batch import records
from mpibatch.batch.history import History, Notes, collected, place_of, rank_of
from mpibatch.batch.log import FileLog, Log, MemoryLog
from mpibatch.batch.payloads import digest
from mpibatch.batch.records import IDENTITY, mark_of
from mpibatch.batch.secrecy import NoteCipher, Secret, new_secret, opened_records, secret_in
from mpibatch.checkpoint.identity import differences
from mpibatch.io.base.names import PathLike, user_path
from mpibatch.io.vault.age import Recipient
from mpibatch.io.vault.cipher import Forged, require
from mpibatch.io.vault.keys import recipients_of
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from mpibatch.mpi import MPI

__all__ = ["Journal", "NoJournal", "Part"]

Part = tuple[int, int]  # which part of how many; from 0

MOST_OPEN = 64  # files of results, open at a time

_log = logging.getLogger(__name__)


class NoJournal:
    """What takes the place of a journal where none was asked for."""

    def __init__(self, comm: MPI.Intracomm, identity: Mapping[str, Any], total: int) -> None:
        self._comm, self._total, self._mark = comm, total, mark_of(identity)
        self._log = MemoryLog(self._mark)

    def begin(self, is_stopping: Callable[[], bool]) -> Log:
        """Return this rank's notes of the run. Local."""
        return self._log

    def read(self) -> History:
        """Return what became of every item. Collective."""
        return collected(self._comm, self._mark, self._total, [(place_of(0, self._comm.rank), bytes(self._log.notes))])

    def result(self, item: int, history: History) -> bytes:
        """Return the bytes of a result that this rank made. Local."""
        return self._log.results[int(history.offsets[item])] if history.lengths[item] else b""

    def __enter__(self) -> NoJournal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None


class Journal:
    """The journal in a folder, which is this run's within the ``with`` block. Entering it is collective."""

    def __init__(
        self, comm: MPI.Intracomm, path: str | os.PathLike[str], identity: Mapping[str, Any], total: int,
        part: Part | None = None, kept: Mapping[str, Mapping[str, Any]] | None = None, encrypt: PathLike | None = None,
    ) -> None:  # fmt: skip
        self.path = Path(user_path(path))
        self._kept = {} if kept is None else kept  # by names of files
        self._comm, self._total, self._part = comm, total, part
        self._identity = {"mpibatch": __version__, **identity}
        self._mark = mark_of(self._identity)
        self._holds = ExitStack()  # rank 0's
        self._open: dict[int, int] = {}  # files of results by their places
        self._log: Log | None = None
        self._encrypt, self._recipients = encrypt, tuple[Recipient, ...]()  # rank 0's
        self._secrets: dict[int, Secret] = {}  # by runs

    def __enter__(self) -> Journal:
        try:
            with agreed(self._comm, f"opening the journal {self.path}"):
                if self._comm.rank == 0:
                    if self._encrypt is not None:
                        self._recipients = recipients_of(self._encrypt)
                    self._make_folder()
                    self._check_identity()  # before its locks are made there: who is refused changes nothing
                    self._hold()
                    self._note_identity()
        except BaseException:
            self._holds.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._log is not None:
            with suppress(RunError):  # of a run that ended well it is closed already
                self._log.close()
        self.release()
        self._holds.close()

    def begin(self, is_stopping: Callable[[], bool]) -> Log:
        """Begin a run, and return this rank's notes of it. Collective."""
        number, secret = 0, b""
        with agreed(self._comm, f"opening the journal {self.path}"):
            if self._comm.rank == 0:
                number = self._new_run()
                if self._encrypt is not None:
                    secret = new_secret(self._run_file(number), self._recipients)
        number, secret = self._comm.bcast((number, secret), root=0)
        place, cipher = place_of(number, self._comm.rank), None
        if self._encrypt is not None:
            self._secrets[number] = secret
            with agreed(self._comm, f"opening the journal {self.path}"):
                cipher = NoteCipher(secret, place)
        self._log = FileLog(self._stem(place), self._mark, is_stopping, cipher)
        return self._log

    def read(self) -> History:
        """Return what became of every item, each rank reading a share of the files. Collective."""
        runs: list[tuple[int, int]] = []
        with agreed(self._comm, f"reading the journal {self.path}"):
            if self._comm.rank == 0:
                runs = self._runs()
                if self._encrypt is not None:
                    # A rank notes nothing before the secret of its run is on the disk.
                    self._secrets |= {n: secret_in(self._run_file(n)) for n, ranks in runs if ranks}
        runs, self._secrets = self._comm.bcast((runs, self._secrets), root=0)
        notes: list[Notes] = []
        with agreed(self._comm, f"reading the journal {self.path}"):
            if self._encrypt is not None:
                require()
            for run, ranks in runs:
                for rank in range(self._comm.rank, ranks, self._comm.size):
                    place = place_of(run, rank)
                    with suppress(FileNotFoundError):  # of a rank that had no item
                        notes.append((place, self._stem(place).with_suffix(".journal").read_bytes()))
        opened = None if self._encrypt is None else self._opened_records
        return collected(self._comm, self._mark, self._total, notes, opened)

    def _opened_records(self, place: int, noted: Iterator[records.Record]) -> Iterator[records.Record]:
        """What a rank of a run has noted, with the words of failures."""
        return opened_records(noted, self._cipher(place), (records.FAILED, records.RAISED))

    def _cipher(self, place: int) -> NoteCipher:
        return NoteCipher(self._secrets[rank_of(place)[0]], place)

    def result(self, item: int, history: History) -> bytes:
        """Return the bytes of a result. Local. RunError if they are not what was written."""
        place, data = int(history.places[item]), b""
        with suppress(FileNotFoundError):
            if place not in self._open:
                if len(self._open) >= MOST_OPEN:
                    os.close(self._open.pop(next(iter(self._open))))
                path = self._stem(place).with_suffix(".results")
                self._open[place] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            data = read_at(self._open[place], int(history.lengths[item]), int(history.offsets[item]))
        if len(data) != history.lengths[item] or digest(data) != int(history.digests[item]) % (1 << 64):
            self._note_loss(item, place)
            raise RunError(
                f"the result of item {item} in {self._stem(place)}.results is not what was written there; give the "
                "same command again: this item is then run anew"
            )
        return data if self._encrypt is None else self._opened(item, place, data)

    def _opened(self, item: int, place: int, data: bytes) -> bytes:
        """A result as it was before it was sealed."""
        try:
            return self._cipher(place).open(records.DONE, item, data)
        except Forged:
            self._note_loss(item, place)
            raise RunError(
                f"the result of item {item} in {self._stem(place)}.results is not what was sealed there; give the same "
                "command again: this item is then run anew"
            ) from None

    def _note_loss(self, item: int, place: int) -> None:
        """Add to the records of a result that it is not there any more, whatever run made it."""
        record = records.packed(self._mark, records.LOST, item, place.to_bytes(8, "little"))
        with suppress(OSError):  # what the caller raises is the worse news
            file = os.open(self._stem(place).with_suffix(".journal"), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            os.write(file, record)
            os.close(file)

    def release(self) -> None:
        """Close files of results. Local."""
        for file in self._open.values():
            os.close(file)
        self._open.clear()

    def _stem(self, place: int) -> Path:
        run, rank = rank_of(place)
        return self.path / f"{run:06d}-{rank:05d}"

    def _run_file(self, run: int) -> Path:
        return self.path / f"{run:06d}.run"

    def _make_folder(self) -> None:
        if not self.path.parent.is_dir():
            raise RunError(f"cannot keep a journal in {self.path}: there is no folder {self.path.parent}; create it")
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"cannot keep a journal in {self.path}: it is a file; name a folder")
        with suppress(FileExistsError):
            make_folder(self.path)
        self._check_folder()

    def _hold(self) -> None:
        """Take the folder's lock, and that of the part."""
        self._take(self.path / LOCK, is_shared=self._part is not None)
        if self._part is not None:
            number, count = self._part
            own = f"-of-{count:05d}.lock"
            for other in self.path.glob("part-*.lock"):
                if not other.name.endswith(own):  # cut into another number of parts: they would share items
                    self._take(other)
            self._take(self.path / f"part-{number:05d}{own}")

    def _take(self, path: Path, *, is_shared: bool = False) -> None:
        handle = hold(path, wait=True, shared=is_shared)
        if handle < 0:
            raise RunError(f"another run is using the journal {self.path}; wait until it ends, or name another journal")
        self._holds.callback(os.close, handle)

    def take_all(self) -> bool:
        """After a part: whether no other part runs any more, and this one now holds the whole journal. Collective."""
        is_last = False
        with agreed(self._comm, f"looking at the journal {self.path}"):
            if self._comm.rank == 0:
                self._holds.close()
                self._holds = ExitStack()
                handle = hold(self.path / LOCK)
                is_last = handle >= 0
                if is_last:
                    self._holds.callback(os.close, handle)
        return bool(self._comm.bcast(is_last, root=0))

    def _check_folder(self) -> None:
        """Leave a folder of other files alone."""
        own = (LOCK, "part-", IDENTITY, "items.json", "logs", *self._kept)
        if not (self.path / IDENTITY).exists() and any(not p.name.startswith(own) for p in self.path.iterdir()):
            raise UsageError(f"{self.path} holds other files, and is no journal of a batch; name another folder for it")

    def _check_identity(self) -> str | None:
        """Refuse the journal of another batch. Returns what differs and does not matter; None: it is nobody's yet."""
        file = self.path / IDENTITY
        if not file.exists():
            return None
        try:
            then = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(then, dict):
                raise TypeError
        except (ValueError, TypeError):
            raise RunError(
                f"{file} cannot be read, so that nobody knows what {self.path} is the journal of; remove the "
                "folder, and the batch begins anew"
            ) from None
        if others := differences(then, self._identity):
            raise UsageError(
                f"{self.path} is the journal of another batch: {others}; name another journal, or remove this folder"
            )
        return differences(then, self._identity, mild=True)

    def _note_identity(self) -> None:
        """Write down which batch it is, and what its function wants to be kept; under the lock."""
        mild = self._check_identity()
        if mild is None:
            write_json(self.path / IDENTITY, self._identity)
        elif mild:
            _log.warning("going on with the journal %s, although %s", self.path, mild)
        for name, value in self._kept.items():
            file = self.path / name
            if not _holds(file, value):
                write_json(file, value)

    def _new_run(self) -> int:
        """Take the next number, which no other part takes at the same time."""
        number = 1 + max((run for run, _ in self._runs()), default=0)
        while True:
            try:
                self._run_file(number).touch(exist_ok=False)
            except FileExistsError:
                number += 1
            else:
                return number

    def _runs(self) -> list[tuple[int, int]]:
        """All runs so far, and how many of their first ranks may have noted something."""
        ranks = dict.fromkeys((int(path.stem) for path in self.path.glob("[0-9]*.run")), 0)
        for path in self.path.glob("[0-9]*-[0-9]*.journal"):
            run, _, rank = path.stem.partition("-")
            ranks[int(run)] = max(ranks.get(int(run), 0), int(rank) + 1)
        return sorted(ranks.items())


def _holds(file: Path, value: Mapping[str, Any]) -> bool:
    """Whether a file has this value; one that cannot be read has not. Local."""
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")) == value)
    except (FileNotFoundError, ValueError):
        return False
