"""How the axes of a TIFF's series become those of a field: picked, moved, turned, and made colors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mpibatch.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.io.formats.source import Array, Selection

__all__ = ["AXES", "View", "view_of"]

# Words for axes, and the letters that tifffile has for them; a single letter stands for itself.
AXES = {"frame": "T", "channel": "C", "slice": "Z"}
# The EXIF tag → whether rows are columns, and whether rows and columns run backwards in what is shown.
_TURNS = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False),
    6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip
_GRID, _COMPONENTS, _UNNAMED = "TZYX", "CS", "IQ"


@dataclass(frozen=True)
class View:
    """A field's view of a stored array.

    Attributes
    ----------
    stored : shape of what is stored.
    picks : the index along each stored axis of which only one is taken.
    order : the stored axis of each axis of the field, components last.
    flipped : stored axes that run backwards.
    components : how many of the last axes are the values of one cell.
    names, letters : of the grid's axes; no names where the file does not tell them all. Letters are the stored ones.
    palette : the colors that the values stand for; None if they stand for themselves.
    white : the value that is black; None where 0 is.
    """

    stored: tuple[int, ...]
    picks: Mapping[int, int]
    order: tuple[int, ...]
    flipped: frozenset[int]
    components: int
    names: tuple[str, ...]
    letters: str
    palette: Array | None = field(default=None, compare=False)
    white: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field, components included. Local."""
        colors = () if self.palette is None else (self.palette.shape[1],)
        return tuple(self.stored[axis] for axis in self.order) + colors

    @property
    def is_coded(self) -> bool:
        """Whether stored numbers stand for other values. Local."""
        return self.palette is not None or self.white is not None

    def selection(self, requested: Selection) -> Selection:
        """Return the stored box that has the requested cells. Local."""
        parts = [slice(self.picks.get(axis, 0), self.picks.get(axis, 0) + 1) for axis in range(len(self.stored))]
        for axis, part in zip(self.order, requested, strict=False):
            indices = range(*part.indices(self.stored[axis]))
            if axis in self.flipped and indices:
                last = self.stored[axis] - 1
                indices = range(last - indices[-1], last - indices[0] + 1, indices.step)
            parts[axis] = slice(indices.start, indices.stop, indices.step)
        return tuple(parts)

    def stored_view(self, target: Array) -> Array:
        """Return a view of a part of the field that has the axes of what is stored. Local."""
        kept = [axis for axis in range(len(self.stored)) if axis not in self.picks]
        behind = [] if self.palette is None else [len(self.order)]
        view = target.transpose([self.order.index(axis) for axis in kept] + behind)
        backwards = slice(None, None, -1)
        index = (None if a in self.picks else backwards if a in self.flipped else slice(None) for a in _axes(self))
        return view[tuple(index)]

    def decoded(self, values: Array) -> Array:
        """Return what stored values stand for: colors for a palette's numbers, 0 for black. Local."""
        if self.palette is not None:
            return self.palette[values.astype(np.intp, copy=False)]
        if self.white is None:
            return values
        return ~values if values.dtype.kind == "b" else (self.white - values).astype(values.dtype, copy=False)


def _axes(view: View) -> range:
    return range(len(view.stored))


def view_of(
    name: str,
    letters: str,
    stored: tuple[int, ...],
    picks: Mapping[str, int],
    orientation: int = 1,
    palette: Array | None = None,
    white: int | None = None,
) -> View:
    """Return the view of a stored array whose axes have tifffile's letters. Local. UsageError on a wrong pick."""
    chosen = _chosen(name, letters, stored, picks)
    left = [axis for axis in range(len(stored)) if axis not in chosen]
    components = sorted((axis for axis in left if letters[axis] in _COMPONENTS), key=lambda a: letters[a])
    order = [axis for axis in left if axis not in components]
    swap, *backwards = _TURNS.get(orientation, (False, False, False))
    flipped: set[int] = set()
    if {"Y", "X"} <= {letters[axis] for axis in order}:
        rows, columns = letters.rindex("Y"), letters.rindex("X")
        at = order.index(rows), order.index(columns)
        if swap:
            order[at[0]], order[at[1]] = columns, rows
        flipped = {order[place] for place, turned in zip(at, backwards, strict=True) if turned}
    grid = "".join(letters[axis] for axis in order)
    names = _names("".join(letters[axis] for axis in left if axis not in components), letters)
    behind = len(components) + (palette is not None)
    return View(
        stored=stored,
        picks=chosen,
        order=(*order, *components),
        flipped=frozenset(flipped),
        components=behind,
        names=names,
        letters=grid,
        palette=palette,
        white=white,
    )


def _names(letters: str, everything: str) -> tuple[str, ...]:
    """Names of a grid's axes; () where the file does not tell them. A lone stack of pages is one of slices."""
    unnamed = [letter for letter in letters if letter not in _GRID]
    if len(unnamed) == 1 and unnamed[0] in _UNNAMED and "Z" not in everything:
        letters, unnamed = letters.replace(unnamed[0], "Z"), []
    return () if unnamed or len(set(letters)) < len(letters) else tuple(letters.lower())


def _chosen(name: str, letters: str, stored: tuple[int, ...], picks: Mapping[str, int]) -> dict[int, int]:
    words = {letter: word for word, letter in AXES.items()}
    chosen = {}
    for letter, number in picks.items():
        word = words.get(letter, letter.lower())
        count = stored[letters.index(letter)] if letter in letters else 1
        if not -count <= number < count or letter in "YX":
            axes = ", ".join(f"{a} ({n})" for a, n in zip(letters, stored, strict=True))
            most = f"give {word}=0 to {count - 1}" if letter not in "YX" else "choose rows and columns with region="
            raise UsageError(f"{word}={number} does not exist in {name}, whose axes are {axes}; {most}")
        if letter in letters:
            chosen[letters.index(letter)] = number % count
    return chosen
