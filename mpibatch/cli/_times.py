"""The names of a dataset's axes, and what time it is at one place of a series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import MpibatchError

if TYPE_CHECKING:
    from mpibatch.io.formats.source import Source

__all__ = ["axes_of", "time_at"]


def axes_of(path: str, source: Source) -> list[str]:
    """Return the names of a dataset's axes, "axis 0" and so on where the file tells none. Local."""
    from mpibatch.io import describe
    from mpibatch.io.base.geometry import from_attributes
    from mpibatch.io.base.names import SEPARATOR, split_path

    names: list[str] = []
    if source.format == "hdf5":
        (description,) = describe(f"{split_path(path)[0]}{SEPARATOR}{source.dataset}")
        names = list(from_attributes(description.attrs, len(source.shape)).get("axes", ()))
    return names + [f"axis {axis}" for axis in range(len(names), len(source.shape))]


def time_at(path: str, axis: str, index: int, length: int) -> str:
    """Return the time at a place of a series in words, such as " (time 0.25 s)"; "" if the file tells none. Local."""
    from mpibatch.io import describe, read_slice
    from mpibatch.io.base.names import SEPARATOR, split_path

    if axis not in ("t", "time"):
        return ""
    file = split_path(path)[0]
    try:
        (times,) = describe(f"{file}{SEPARATOR}time")
        if times.shape != (length,):
            return ""
        return f" (time {float(read_slice(file, 'time', index)):.6g} {times.attrs.get('units', '')}".rstrip() + ")"
    except (MpibatchError, TypeError, ValueError):
        return ""
