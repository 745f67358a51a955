"""Numbered files as one volume: ``slice_*.tif``, in natural order; each rank reads the files of its own planes."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import RunError, UsageError
from mpibatch.io import formats
from mpibatch.io.formats.flat.arrays import linear
from mpibatch.io.formats.source import Array, Selection, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["files_of", "inspect", "natural", "read"]

MOST_FILES = 1_000_000
EVEN = 1e-3  # how far steps between planes may differ, as a part of them


def natural(names: Iterable[str]) -> list[str]:
    """Return names in the order of the numbers in them: ``a2`` before ``a10``. Local."""
    return sorted(names, key=lambda name: [_key(w) for w in re.split(r"(\d+)", name)])


def _key(word: str) -> tuple[int, str, str]:
    """What a word is ordered by: of a number, first its length without zeros in front."""
    digits = word.lstrip("0") if word.isdecimal() else word
    return (len(digits) if word.isdecimal() else 0, digits, word)


def files_of(path: str) -> list[str]:
    """Return the files that a pattern stands for, in natural order. Local."""
    return natural(file for file in glob.iglob(path) if Path(file).is_file())  # noqa: PTH207


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what a stack holds: planes along z, from the first file's header and the number of files. Local."""
    files = files_of(path)
    if not files:
        raise RunError(f"cannot read {path!r}: no file has such a name; check the path (the folder is {Path.cwd()})")
    if len(files) > MOST_FILES:
        raise UsageError(f"cannot read {path!r}: {len(files)} files have such names, and {MOST_FILES} are the most")
    first = formats.inspect(files[0], dataset, allow)
    notes, places = first.notes, None
    if first.format == "dicom":
        from mpibatch.io.formats.pieces import dicom

        files, places = dicom.ordered(files)
        first = formats.inspect(files[0], dataset, allow)
    if len(first.shape) - first.components > 3:
        raise UsageError(f"cannot read {path!r}: its files have {len(first.shape)} axes each, and 3 are the most")
    return Source(
        path=path,
        format="stack",
        dataset=dataset or "",
        shape=(len(files), *first.shape),
        dtype=first.dtype,
        components=first.components,
        grid=_grid(first, places),
        allow=tuple(allow),
        notes=notes,
        question=first.question,
        attrs={"files": files},
    )


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``. Local. Opens the files of the selected planes."""
    planes = range(*selection[0].indices(source.shape[0]))
    target = out[at]
    whole = tuple(slice(0, n) for n in target.shape[1:])
    for number, plane in enumerate(planes):
        file = source.attrs["files"][plane]
        # Where nobody has looked into it before (see `read.stacks`), it is done here.
        known = source.attrs.get("parts", {})
        part = known[plane] if plane in known else formats.inspect(file, source.dataset or None, source.allow)
        if (part.shape, part.dtype) != (source.shape[1:], source.dtype):
            raise RunError(
                f"{file!r} has shape {part.shape} and dtype {part.dtype}, but the first file of {source.path!r} has "
                f"{source.shape[1:]} and {source.dtype}; leave it out, or write it anew"
            )
        formats.read(part, selection[1:], target[number], whole)


def _grid(first: Source, places: Sequence[float] | None) -> dict[str, Any]:
    """Keywords of Grid: those of a plane, and the steps between planes where the files tell them."""
    grid = dict(first.grid)
    if not grid or grid["axes"] != ("y", "x"):
        return {}
    step, start = 0.0, 0.0
    if places is not None and len(places) > 1:
        step, start = (places[-1] - places[0]) / (len(places) - 1), places[0]
        if not np.allclose(np.diff(places), step, rtol=0, atol=EVEN * abs(step)):
            step = 0.0
    if step <= 0:  # a grid has the sizes of all axes of space, or of none
        return linear("zyx", (1.0,) * 3, (0.0,) * 3, "")
    front = {"axes": "z", "spacing": step, "origin": start, "periodic": False}
    return {key: value if key == "units" else (front[key], *value) for key, value in grid.items()}
