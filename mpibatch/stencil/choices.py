"""What timing found fastest, on disk: for each processor, kernel and shape, so that later runs begin with it.

Bits never depend on it, and who recalls a choice checks that it is one of those possible here: a file that is damaged,
or another machine's, costs time at most. Each lies in a file of its own in the cache's folder ``choices``, so that
processes that write at once do not undo one another's; the folder may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.base.compiled import CHOICES, cache_folder
from mpibatch.base.errors import UsageError
from mpibatch.base.host import caches, cpu_model
from mpibatch.base.json_files import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Topic", "forget_choices", "known_choices", "timed_anew"]

FORM = 1  # of the files, and of what choices depend on
MOST = 2000  # files; beyond, the older half goes
LOOK_EVERY = 50  # new files: how many there are
LARGEST = 1 << 16  # bytes of a file

_log = logging.getLogger(__name__)
_is_recalled = True


@functools.cache
def _processor() -> tuple[str, list[int]]:
    return cpu_model(), list(caches())


@dataclass(frozen=True)
class Topic:
    """What is to be chosen.

    Attributes
    ----------
    kind : such as "strips".
    subject : the kernel and its cells, in words.
    details : all else that the choice depends on, as text that is equal for equal things.
    """

    kind: str
    subject: str
    details: str

    def recall(self) -> Any:
        """Return what was chosen on such a processor, None if nothing is known. Local."""
        choice = None
        if not _is_recalled:
            return None
        with contextlib.suppress(OSError, UsageError):
            choice = _read(self._path()).get("choice")
        if choice is not None:
            _log.info("%s of %s: %s, as found before", self.kind, self.subject, choice)
        return choice

    def remember(self, choice: Any, seconds: dict[str, float]) -> None:
        """Keep a choice, and the seconds that each way took; it is lost where the folder cannot be written. Local."""
        ways = ", ".join(f"{way} {number:.3g} s" for way, number in seconds.items())
        _log.info("%s of %s: %s, the fastest of %s", self.kind, self.subject, choice, ways)
        about = {"processor": _processor()[0], "kind": self.kind, "subject": self.subject}
        # Ranks find the same at the same sweep: most of them need not write it, or look through the folder.
        with contextlib.suppress(OSError, UsageError):
            path = self._path()
            if _read(path).get("choice") == choice:
                return
            if int(path.stem, 16) % LOOK_EVERY == 0:
                _clear(path.parent)
            write_json(path, {**about, "choice": choice, "seconds": seconds})

    def _path(self) -> Path:
        text = json.dumps([FORM, *_processor(), self.kind, self.subject, self.details])
        return _folder() / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def known_choices() -> list[str]:
    """Return a line for each choice on this processor, by kind and subject. Local."""
    entries = [entry for entry in map(_read, _files()) if entry.get("processor") == _processor()[0]]
    return sorted({f"{entry.get('kind')} of {entry.get('subject')}: {entry.get('choice')}" for entry in entries})


@contextlib.contextmanager
def timed_anew() -> Iterator[None]:
    """Time every choice as if nothing were known, and keep it: what a first run costs is to be measured. Local."""
    global _is_recalled
    _is_recalled = False
    try:
        yield
    finally:
        _is_recalled = True


def forget_choices() -> None:
    """Delete what was found, so that it is timed again. Local."""
    for path in _files():
        with contextlib.suppress(OSError):
            path.unlink()


def _clear(folder: Path) -> None:
    """Delete the older half of too many files."""
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
    for old in files[: MOST // 2] if len(files) >= MOST else []:
        old.unlink(missing_ok=True)


def _folder() -> Path:
    return cache_folder() / CHOICES


def _files() -> Iterator[Path]:
    return _folder().glob("*.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
