"""What runs that were killed have left on this host: this user's, and held by no process that lives.

Names of MPI's shared memory, temporary folders of ours, files that were being written. Locks need no care: they end
with their process. In doubt a file is kept: one that is held, young or another's; one that a run may go on with, or
that lies where other hosts write, too, unless a day has passed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import reason_of
from mpibatch.base.files import DRAFT
from mpibatch.base.units import bytes_text, plural
from mpibatch.io.base.names import PART, RESUMABLE
from mpibatch.tools.doctor.checks.folders import NETWORK, PARALLEL, file_system
from mpibatch.tools.doctor.finding import Finding, fine, warning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Leftover", "LeftoverPlaces", "check_leftovers", "leftovers", "lines", "remove"]

GRACE, DAY = 60.0, 86400.0  # seconds
FULL = 0.5  # the part of the shared memory from which on leftovers are a trouble
# MPICH's, UCX', Open MPI's.
_SHARED = re.compile(r"mpich_shm_\w+|ucx_shm_posix_\w+|(vader|sm)_segment\..+|osc_rdma\..+")
_FOLDER = re.compile(r"mpibatch-(supervisor|drill|probe)-\w+|mpibatch-doctor-\d+-\d+")
_FIRST = 1 << 16  # bytes in which a file of ours says so
_OURS = b"mpibatch"


@dataclass(frozen=True)
class LeftoverPlaces:
    """Where to look: for shared memory, for temporary folders, and for outputs."""

    shared: Path = Path("/dev/shm")
    temporary: tuple[Path, ...] = ()
    folder: Path | None = None

    @classmethod
    def usual(cls, folder: Path) -> LeftoverPlaces:
        """Return those of this user and host, and a folder of outputs. Local."""
        with suppress(OSError):
            temporary = {Path(tempfile.gettempdir()), Path("/tmp"), folder}
            return cls(temporary=tuple(sorted(temporary)), folder=folder)
        return cls(folder=folder)


@dataclass(frozen=True)
class Leftover:
    """A file or folder that a killed run has left, its bytes, and why it is kept: "" if nothing speaks for it."""

    path: Path
    bytes: int
    kept: str = ""


@dataclass(frozen=True)
class _Held:
    """What this user's processes have open, mapped or under way, as far as it can be seen."""

    inodes: frozenset[int]
    words: frozenset[str]

    @classmethod
    def now(cls) -> _Held:
        inodes, words = set[int](), set[str]()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words.update(os.fsdecode((process / "cmdline").read_bytes()).split("\0"))
                for link in (process / "cwd", *(process / "fd").iterdir()):
                    with suppress(OSError):
                        inodes.add(link.stat().st_ino)
                        words.add(str(link.readlink()))
                with (process / "maps").open(errors="replace") as maps:
                    for line in maps:
                        columns = line.split(maxsplit=5)
                        if len(columns) == 6:
                            inodes.add(int(columns[4]))
                            words.add(columns[5].strip())
        with suppress(OSError):  # what sockets are bound to
            words.update(Path("/proc/net/unix").read_text(errors="replace").split())
        return cls(frozenset(inodes), frozenset(words))

    def has(self, path: Path, number: int) -> bool:
        """Whether a file is in use. Local."""
        return number in self.inodes or str(path) in self.words

    def has_below(self, folder: Path) -> bool:
        """Whether a folder, or something in it, is in use by its name. Local."""
        return any(str(folder) in word for word in self.words)


def leftovers(places: LeftoverPlaces, grace: float | None = None) -> list[Leftover]:
    """Return what killed runs have left in some places, sorted by path. Local.

    `grace` is for how long, in seconds, nothing may have happened to it; default: `GRACE`.
    """
    remains = []
    candidates = [*_candidates(places)]
    held, now = _Held.now(), time.time()  # after the names: one that came later is none of them
    for path in candidates:
        with suppress(OSError):
            about = path.lstat()
            entries = [about, *(below.lstat() for below in path.rglob("*"))] if stat.S_ISDIR(about.st_mode) else [about]
            leftover = Leftover(path, sum(entry.st_size for entry in entries if not stat.S_ISDIR(entry.st_mode)))
            last = max(max(entry.st_mtime, entry.st_ctime) for entry in entries)
            if about.st_uid != os.geteuid() or now - last < (GRACE if grace is None else grace):
                continue
            is_below = stat.S_ISDIR(about.st_mode) and held.has_below(path)
            if not is_below and not any(held.has(path, entry.st_ino) for entry in entries):
                remains.append(replace(leftover, kept=_doubt(path, now - last) if path.suffix == PART else ""))
    return sorted((leftover for leftover in remains if leftover.kept != _IN_USE), key=lambda leftover: leftover.path)


def _candidates(places: LeftoverPlaces) -> Iterator[Path]:
    """Files and folders that have the names of leftovers."""
    rules = [(places.shared, _SHARED, stat.S_ISREG), *((place, _FOLDER, stat.S_ISDIR) for place in places.temporary)]
    rules += [(places.folder, re.compile(rf".+{re.escape(PART)}"), stat.S_ISREG)] if places.folder else []
    for place, name, is_kind in rules:
        with suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if name.fullmatch(entry.name) and is_kind(entry.stat(follow_symlinks=False).st_mode):
                    yield Path(entry.path)


_IN_USE = "in use"


def _doubt(path: Path, age: float) -> str:
    """Why a file that was being written is kept."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # by a run on another host
            return _IN_USE
        except OSError:
            return "its folder has no locks, by which a run would show that it writes it"
        if not DRAFT.fullmatch(path.name) and _OURS not in os.pread(file, _FIRST, 0):
            return "nothing in it says that mpibatch has written it"
        if file_system(path)[0] in (*NETWORK, *PARALLEL) and age < DAY:
            return "less than a day old, and other hosts may write it"
        return _resumable(path, file)
    finally:
        os.close(file)


def _resumable(path: Path, file: int) -> str:
    """Why a run may go on with a file: it is marked, or its folder keeps no marks; or there are checkpoints."""
    target = path.with_suffix("")
    words = f"a run may go on with it (--resume); if none will: rm {path}"
    if any(Path(f"{target}{end}").exists() for end in (".checkpoints", ".stream")):
        return words
    try:
        return words if RESUMABLE in os.listxattr(file) else ""
    except OSError:
        return "" if DRAFT.fullmatch(path.name) else words


def remove(remains: Iterable[Leftover]) -> tuple[list[Leftover], list[Leftover]]:
    """Remove those for which nothing speaks; return what is removed, and what is kept, with the reasons. Local."""
    removed: list[Leftover] = []
    kept: list[Leftover] = []
    for leftover in remains:
        reason = leftover.kept
        if not reason:
            try:
                shutil.rmtree(leftover.path) if leftover.path.is_dir() else leftover.path.unlink()
            except OSError as error:
                reason = f"cannot be removed: {reason_of(error)}"
        (kept if reason else removed).append(replace(leftover, kept=reason))
    return removed, kept


def lines(remains: Sequence[Leftover], verb: str) -> list[str]:
    """Return for each place how many are removed, or could be, and their bytes; and each that is kept. Local."""
    groups: dict[Path, list[Leftover]] = {}
    for leftover in remains:
        if not leftover.kept:
            groups.setdefault(leftover.path.parent, []).append(leftover)
    text = [
        f"{verb} {plural(len(group), 'leftover')} in {place}: {bytes_text(sum(leftover.bytes for leftover in group))}"
        for place, group in groups.items()
    ]
    return [*text, *(f"kept {leftover.path}: {leftover.kept}" for leftover in remains if leftover.kept)]


def check_leftovers(folder: Path, places: LeftoverPlaces | None = None) -> list[Finding]:
    """Look for what killed runs have left on this host, and in the folder of outputs. Local."""
    check, places = "leftovers", places or LeftoverPlaces.usual(folder)
    remains = [leftover for leftover in leftovers(places) if not leftover.kept]
    if not remains:
        return [fine(check, "killed runs have left nothing here")]
    total = sum(leftover.bytes for leftover in remains)
    shared = sum(leftover.bytes for leftover in remains if leftover.path.parent == places.shared)
    command = "mpibatch doctor --clean" + ("" if folder == Path.cwd() else f" --folder {folder}")
    message = f"killed runs have left {plural(len(remains), 'file')} ({bytes_text(total)})"
    with suppress(OSError):
        about = os.statvfs(places.shared)
        if shared > FULL * about.f_blocks * about.f_frsize:
            return [warning(check, f"{message}, most of {places.shared}", command)]
    return [fine(check, f"{message}; {command} removes them")]
