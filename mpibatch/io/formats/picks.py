"""What is chosen from a file, as text in a dataset's place: ``series=1,level=0,channel=2,frame=0``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import whole_name
from mpibatch.io.formats import format_of
from mpibatch.io.formats.flat.raw import description_of
from mpibatch.io.formats.orientation import AXES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Picks", "parse_picks", "with_picks"]

_SHAPE = "write it as in FILE::series=1,channel=2,frame=0 (numbers from 0; negative ones count from the end)"
# Which words a format knows; others have names of their own, or nothing to choose from.
_WORDS = {
    "tiff": ("series", "level", "frame", "channel"),
    "zarr": ("series", "level", "frame", "channel"),
    "nifti": ("frame", "channel"),
    "edf": ("frame",),
    "hdf5": ("level", "frame", "channel"),  # of Imaris; others have no such dataset
    "dicom": ("frame",),
}


@dataclass(frozen=True)
class Picks:
    """What a text chooses.

    Attributes
    ----------
    path, dataset : what it is chosen from, and the text, for messages.
    name : the bare word before all others, such as the path of an array in a store; "" if there is none.
    series, level : numbers; None if they are not given.
    axes : the index along each axis of which only one is taken, by the axis' letter.
    """

    path: str
    dataset: str
    name: str = ""
    series: int | None = None
    level: int | None = None
    axes: Mapping[str, int] = field(default_factory=dict)

    def number(self, counts: Mapping[str, int], letter: str) -> int | None:
        """Return which of several images is meant: None if it is not said. Local. UsageError if there is no such one.

        `counts` says how many there are along each axis that can be picked.
        """
        known = {key: value for key, value in self.axes.items() if key in counts}
        if len(known) < len(self.axes) or self.level is not None or (self.name and self.series is None):
            raise UsageError(f"{self.dataset!r} cannot be picked from {self.path!r}; {_SHAPE}")
        count = counts[letter]
        number = known.get(letter, self.series)
        if number is None:
            return 0 if count == 1 else None
        if not -count <= number < count:
            raise UsageError(f"{self.path!r} has {count} images, and no image {number}; give 0 to {count - 1}")
        return number % count


def parse_picks(path: str, dataset: str | None) -> Picks:
    """Return what a text chooses. Local. UsageError if it cannot be understood."""
    text = dataset or ""
    name, numbers, axes = "", {"series": -1, "level": -1}, {}
    given: set[str] = set()
    for item in text.split(",") if text else ():
        key, equals, value = (word.strip() for word in item.partition("="))
        if not equals and not name and not given:
            name = key
            if not key.removeprefix("-").isdecimal():
                given.add("name")
                continue
            key, value = "series", key  # a bare number
        letter = AXES.get(key, key.upper() if len(key) == 1 and key.isalpha() else "")
        known = key in numbers or letter
        if not known or not value.removeprefix("-").isdecimal() or letter in axes:
            raise UsageError(f"{item.strip()!r} of {whole_name(path, text)!r} cannot be understood; {_SHAPE}")
        if key in given:
            raise UsageError(f"{whole_name(path, text)!r} names two {key}; give one")
        given.add(key)
        if key in numbers:
            numbers[key] = int(value)
        else:
            axes[letter] = int(value)
    series, level = (numbers[key] if key in given else None for key in ("series", "level"))
    return Picks(path, text, name, series, level, axes)


def with_picks(
    path: str, dataset: str | None, choices: Mapping[str, int | None], raw: Mapping[str, Any] | None = None
) -> str | None:
    """Return the text in a dataset's place that also says what keywords choose. Local. UsageError on nonsense.

    `choices` are numbers for series, level, frame and channel; `raw` describes plain bytes.
    """
    given = {key: value for key, value in choices.items() if value is not None}
    if raw is not None:
        if dataset or given:
            raise UsageError(f"{path!r} is described as plain bytes, which have no datasets, frames or channels")
        return description_of(path, raw)
    if not given:
        return dataset
    kind = format_of(path, dataset)
    if strange := [key for key in given if key not in _WORDS.get(kind, ())]:
        raise UsageError(
            f"{', '.join(f'{key}={given[key]!r}' for key in strange)} was given for {path!r}, but it is of "
            f"format {kind}: frames and channels are picked from TIFF, OME-Zarr and NIfTI; choose cells with region="
        )
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"{key}={value!r} was given for {path!r}; give one whole number")
    before = parse_picks(path, dataset)
    numbers = {"series": before.series, "level": before.level}
    if twice := [key for key in given if AXES.get(key) in before.axes or numbers.get(key) is not None]:
        raise UsageError(f"{twice[0]} of {whole_name(path, dataset or '')!r} was given twice; give it once")
    return ",".join([*([dataset] if dataset else []), *(f"{key}={value}" for key, value in given.items())])
