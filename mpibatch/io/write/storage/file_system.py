"""What a folder is on: the type of its file system. Without MPI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["file_system"]


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on, as "lustre" or "nfs4"; "" if nobody knows. Local."""
    # The last one first: what is mounted over another place hides it.
    places = [line.split()[1:3] for line in reversed(mounts()) if len(line.split()) > 2]
    place = folder.resolve()
    around = [(len(point), kind) for point, kind in places if place.is_relative_to(point.replace("\\040", " "))]
    return max(around, default=(0, ""), key=lambda entry: entry[0])[1]


def mounts() -> Sequence[str]:
    """Return the lines of the system's table of mounts. Local."""
    try:
        return Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return []
