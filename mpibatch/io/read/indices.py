"""NumPy's basic indexing, as far as files can follow it: integers, slices and one ellipsis."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError

if TYPE_CHECKING:
    from mpibatch.io.formats.source import Array, Selection

__all__ = ["Chosen", "chosen"]


@dataclass(frozen=True)
class Chosen:
    """What an index asks of a file: slices with steps > 0, and what becomes of the values read by them."""

    selection: Selection
    flipped: tuple[int, ...]  # axes with a negative step
    dropped: tuple[int, ...]  # axes with an integer

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in which the selection is read. Local."""
        return tuple(len(range(s.start, s.stop, s.step)) for s in self.selection)

    def of(self, values: Array) -> Array:
        """Return what NumPy would give for the index, from the values of the selection. Local."""
        turned = tuple(slice(None, None, -1 if axis in self.flipped else 1) for axis in range(values.ndim))
        return values[turned].squeeze(axis=self.dropped)


def chosen(name: str, shape: tuple[int, ...], index: Any) -> Chosen:
    """Return what an index asks of an array, `name` in messages. Local. UsageError if that is not to be had."""
    given = list(index) if isinstance(index, tuple) else [index]
    dots = [at for at, part in enumerate(given) if part is Ellipsis]
    if len(given) - len(dots) > len(shape) or len(dots) > 1:
        raise UsageError(f"{len(given)} indices were given for {name} of shape {shape}; give at most one per axis")
    at = dots[0] if dots else len(given)
    given[at : at + 1] = [slice(None)] * (len(shape) - len(given) + len(dots))
    slices, flipped, dropped = [], [], []
    for axis, (part, extent) in enumerate(zip(given, shape, strict=True)):
        if isinstance(part, slice):
            line = range(*part.indices(extent))
            if line.step < 0:
                flipped.append(axis)
                line = line[::-1]
            slices.append(slice(line.start, max(line.start, line.stop), line.step))
            continue
        place = _place(name, shape, axis, part)
        slices.append(slice(place, place + 1, 1))
        dropped.append(axis)
    return Chosen(tuple(slices), tuple(flipped), tuple(dropped))


def _place(name: str, shape: tuple[int, ...], axis: int, index: Any) -> int:
    try:
        place = None if isinstance(index, bool) else operator.index(index)
    except TypeError:
        place = None
    if place is None:
        raise UsageError(
            f"{name} of shape {shape} was indexed by {index!r}; give integers and slices, and index the array that "
            "they give for more"
        )
    if not -shape[axis] <= place < shape[axis]:
        raise UsageError(f"index {place} on axis {axis} of {name} of shape {shape} is out of range")
    return place % shape[axis]
