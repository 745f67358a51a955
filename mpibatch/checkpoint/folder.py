"""The names of checkpoints in their folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mpibatch.base.errors import RunError
from mpibatch.base.files import LOCK
from mpibatch.base.trust.grants import make_folder

__all__ = ["check_writable", "file_of", "is_empty", "make", "remove", "steps_in"]

_NAME = re.compile(r"step-(\d{9,})\.h5")
_LEFT = re.compile(r"step-\d{9,}\.h5\.part")


def file_of(folder: str, step: int) -> str:
    """Return the path of a step's checkpoint. Local."""
    return str(Path(folder) / f"step-{step:09d}.h5")


def steps_in(folder: str) -> list[int]:
    """Return the steps of which there are checkpoints, the newest first; [] if there is no folder. Local."""
    if not Path(folder).is_dir():
        return []
    return sorted((int(m[1]) for path in Path(folder).iterdir() if (m := _NAME.fullmatch(path.name))), reverse=True)


def check_writable(folder: str) -> None:
    """Refuse now what would otherwise fail at the first checkpoint. Local."""
    place = Path(folder) if Path(folder).exists() else Path(folder).absolute().parent
    if not place.is_dir():
        raise RunError(f"cannot keep checkpoints in {folder}: there is no folder {place}; create it")
    if not os.access(place, os.W_OK | os.X_OK):
        raise RunError(f"cannot keep checkpoints in {folder}: {place} is not writable; keep them elsewhere")


def make(folder: str) -> None:
    """Make the folder. Local. Its name is safe only when the folder that it is in is on disk."""
    make_folder(Path(folder))
    handle = os.open(Path(folder).resolve().parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(folder: str, keep: set[int]) -> None:
    """Remove all checkpoints but those of some steps, and what killed runs left. Local."""
    if not Path(folder).is_dir():
        return
    for step in steps_in(folder):
        if step not in keep:
            Path(file_of(folder, step)).unlink(missing_ok=True)
    for path in Path(folder).iterdir():
        if _LEFT.fullmatch(path.name):
            path.unlink(missing_ok=True)


def is_empty(folder: str) -> bool:
    """Return whether there is a folder that holds nothing but its lock. Local."""
    return Path(folder).is_dir() and all(path.name == LOCK for path in Path(folder).iterdir())
