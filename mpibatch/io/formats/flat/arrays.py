"""What headers of flat arrays come to: a Source whose values lie at known bytes, checked against its file."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import MpibatchError, RunError, UsageError, reason_of
from mpibatch.io.base.names import whole_name
from mpibatch.io.formats.orientation import View, view_of
from mpibatch.io.formats.source import Scaling, Source, Storage, native

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["MOST_HEADER", "Flat", "Header", "fields_of", "head_of", "kept", "linear", "reversed_view", "sibling"]

MOST_HEADER = 1 << 20  # bytes of a text header
MOST_AXES, MOST_BYTES = 32, 1 << 62


def head_of(path: str, nbytes: int) -> bytes:
    """Return the first bytes of a file, fewer if it is shorter. Local."""
    try:
        with open(path, "rb") as file:
            return file.read(nbytes)
    except OSError as error:
        raise RunError(f"cannot read {path!r}: {reason_of(error)}") from error


class Header:
    """Turns whatever a damaged header leads to into one message: ``with Header(path, "MRC"): ...``."""

    def __init__(self, path: str, kind: str) -> None:
        self._path, self._kind = path, kind

    def __enter__(self) -> Header:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, MpibatchError):
            raise RunError(
                f"{self._path!r} cannot be read as {self._kind} ({error}); it is damaged or incomplete: copy or write "
                "it anew"
            ) from error


def fields_of(lines: Iterator[str] | Sequence[str], separator: str) -> dict[str, str]:
    """Return the values of lines ``key = value`` by their keys, in lower case. Local."""
    pairs = (line.partition(separator) for line in lines)
    return {key.strip().lower(): value.strip() for key, found_separator, value in pairs if found_separator}


def sibling(path: str, name: str, allow: Sequence[str]) -> str:
    """Return the file beside a header in which the values lie. Local. Refuses one elsewhere, unless it is allowed."""
    place = Path(name.replace("\\", "/"))
    if (place.is_absolute() or ".." in place.parts) and "external storage" not in allow:
        raise UsageError(
            f"cannot read {path!r}: its values lie in {name!r}, outside its folder; put both into one folder, or give "
            'allow=("external storage",) if you trust it'
        )
    beside = Path(path).parent / place
    if not beside.is_file():
        raise RunError(f"cannot read {path!r}: the file {str(beside)!r} with its values is missing; bring it back")
    return str(beside)


def linear(names: Sequence[str], spacing: Sequence[float], origin: Sequence[float], units: str) -> dict[str, Any]:
    """Return the keywords of Grid for axes with these cells; {} if a grid cannot have them. Local."""
    numbers = [*spacing, *origin]
    if not all(math.isfinite(number) for number in numbers) or not all(step > 0 for step in spacing):
        return {}
    return {
        "axes": tuple(names),
        "origin": tuple(map(float, origin)),
        "periodic": (False,) * len(names),
        "spacing": tuple(map(float, spacing)),
        "units": units,
    }


def reversed_view(stored: tuple[int, ...]) -> View:
    """Return the view of an array whose first axis runs fastest in the file. Local."""
    order = tuple(reversed(range(len(stored))))
    return View(stored, {}, order, frozenset(), components=0, names=(), letters="")


@dataclass(frozen=True)
class Flat:
    """Values that lie in C order of the `stored` shape, from a byte on.

    Attributes
    ----------
    kind : the format's name.
    dtype : as stored, in the file's byte order.
    letters, picks : of the stored axes, as tifffile has them, and what is chosen along them; "": they are the source's.
    view : in their place.
    grid : of axes by name, as `linear` makes it; those that are picked are left out.
    values : the file of the values, if it is another.
    packed : whether the whole file is packed, so that its length tells nothing.
    """

    path: str
    kind: str
    stored: Sequence[int]
    dtype: Any
    offset: int
    dataset: str = ""
    letters: str = ""
    picks: Mapping[str, int] = field(default_factory=dict)
    view: View | None = None
    scaling: Scaling | None = None
    grid: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    values: str = ""
    allow: Sequence[str] = ()
    packed: bool = False

    def source(self) -> Source:
        """Return the source. Local. RunError if the file is too short for it."""
        dtype, shape = np.dtype(self.dtype), tuple(map(int, self.stored))
        name = whole_name(self.path, self.dataset)
        cells = math.prod(shape)
        if len(shape) > MOST_AXES or min(shape, default=1) < 0 or cells * dtype.itemsize > MOST_BYTES:
            raise RunError(f"cannot read {name}: its header says shape {shape}, which no file holds; it is damaged")
        end = self.offset + cells * dtype.itemsize
        have = os.stat(self.values or self.path).st_size  # noqa: PTH116
        if self.offset < 0 or (have < end and not self.packed):
            raise RunError(
                f"cannot read {name}: its header says shape {shape} of {dtype.name} from byte {self.offset} to byte "
                f"{end}, but {self.values or 'it'} ends at byte {have}; it is damaged or incomplete: copy it again"
            )
        view = view_of(name, self.letters, shape, self.picks) if self.letters else self.view
        is_plain = view is None or (not view.picks and view.order == tuple(range(len(shape))))
        return Source(
            path=self.path,
            format=self.kind,
            dataset=self.dataset,
            shape=shape if view is None else view.shape,
            dtype=native(dtype) if self.scaling is None else self.scaling.dtype,
            components=0 if view is None else view.components,
            boxwise=not self.packed,
            grid=kept(self.grid, view),
            storage=Storage(
                dtype.str, self.offset, view=None if is_plain else view, scaling=self.scaling, path=self.values
            ),
            allow=tuple(self.allow),
            notes=tuple(self.notes),
        )


def kept(grid: Mapping[str, Any], view: View | None) -> dict[str, Any]:
    """Return the keywords for a view's axes, of those for axes by name; {} if one is not known. Local."""
    if view is None or not view.letters:
        return dict(grid)
    names = view.letters.lower()
    if not grid or not names or not set(names) <= set(grid["axes"]) or len(set(names)) < len(names):
        return {}
    at = [grid["axes"].index(name) for name in names]
    return {key: value if key == "units" else tuple(value[n] for n in at) for key, value in grid.items()}
