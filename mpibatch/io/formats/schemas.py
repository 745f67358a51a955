"""HDF5 files whose makers agreed on places: scans of NXtomo and DXchange, images of Imaris.

Of a scan, ``projections``, ``flats``, ``darks`` and ``angles`` name what the agreement says they are, wherever it lies;
of an image, ``level=1,frame=0,channel=2`` names one of its arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io.formats.hazards import hazards
from mpibatch.io.formats.metadata import plain
from mpibatch.io.formats.picks import parse_picks

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SchemaPart", "default_part", "part_of"]

_KEYS = {"projections": 0, "flats": 1, "darks": 2, "angles": 0}  # of NXtomo: the image_key of each
_EXCHANGE = {"projections": "data", "flats": "data_white", "darks": "data_dark", "angles": "theta"}
MOST_ANGLES = 1 << 20
EVEN = 1e-3


@dataclass(frozen=True)
class SchemaPart:
    """What a name of an agreement stands for: a dataset, runs of its rows, what of its shape counts, and its grid."""

    name: str
    runs: tuple[tuple[int, int], ...] = ()
    shape: tuple[int, ...] | None = None
    grid: Mapping[str, Any] = field(default_factory=dict)


def default_part(file: Any, path: str) -> SchemaPart | None:
    """Return what is meant where no dataset is named; None: no agreement tells. Local."""
    if _tomo(file) is not None or _dataset(file, "exchange/data") is not None:
        return part_of(file, path, "projections")
    return part_of(file, path, "") if "ImarisDataSet" in file.attrs else None


def part_of(file: Any, path: str, name: str) -> SchemaPart | None:
    """Return what a name stands for; None if it is none of an agreement's. Local. UsageError if it is not there."""
    if "ImarisDataSet" in file.attrs and (not name or "=" in name):
        return _imaris(file, path, name)
    if name not in _KEYS or name in file:
        return None
    if (entry := _tomo(file)) is not None:
        return _nxtomo(entry, path, name)
    if _dataset(file, "exchange/data") is None:
        return None
    place = f"exchange/{_EXCHANGE[name]}"
    if (data := _dataset(file, place)) is None:
        raise UsageError(f"{path!r} is a scan of DXchange without {place!r}: it has no {name}")
    return SchemaPart(place, grid=_scan_grid(_dataset(file, "exchange/theta"), data, None) if name != "angles" else {})


def _tomo(file: Any) -> Any:
    """The entry that says that it is NXtomo, None if there is none."""
    for name in file:
        entry = _inside(file, name)
        definition = _dataset(entry, "definition") if isinstance(entry, h5py.Group) else None
        is_text = definition is not None and definition.size == 1 and _plain_text(definition[()]) == "NXtomo"
        if is_text and isinstance(_inside(entry, "instrument/detector"), h5py.Group):
            return entry
    return None


def _nxtomo(entry: Any, path: str, name: str) -> SchemaPart:
    detector = entry["instrument/detector"]
    data, keys = _dataset(detector, "data"), _dataset(detector, "image_key")
    if data is None or keys is None or keys.shape != data.shape[:1]:
        raise UsageError(f"{path!r} says that it is NXtomo, but has no image_key for each of its images")
    if keys.shape[0] > MOST_ANGLES:
        raise UsageError(f"{path!r} has {keys.shape[0]} images, and {MOST_ANGLES} are the most")
    chosen = np.flatnonzero(np.asarray(keys[...]) == _KEYS[name])
    if not len(chosen):
        raise UsageError(f"{path!r} is a scan of NXtomo without images of key {_KEYS[name]}: it has no {name}")
    breaks = np.flatnonzero(np.diff(chosen) > 1) + 1
    runs = tuple((int(part[0]), int(part[-1]) + 1) for part in np.split(chosen, breaks))
    angles, source = _dataset(entry, "sample/rotation_angle"), data
    if name == "angles":
        if angles is None or angles.shape != data.shape[:1]:
            raise UsageError(f"{path!r} is a scan of NXtomo without a rotation angle for each image")
        source = angles
    grid = {} if name == "angles" else _scan_grid(angles if name == "projections" else None, data, chosen)
    is_whole = runs == ((0, data.shape[0]),)
    shape = (len(chosen), *source.shape[1:])
    return SchemaPart(source.name.strip("/"), () if is_whole else runs, None if is_whole else shape, grid)


def _scan_grid(angles: Any, data: Any, chosen: Any) -> dict[str, Any]:
    """Keywords of Grid for images of a scan: the step of angles, if they are even, and the size of a pixel."""
    if data.ndim != 3:
        return {}
    step, start = 1.0, 0.0
    if angles is not None and angles.ndim == 1 and 1 < angles.shape[0] <= MOST_ANGLES:
        values = np.asarray(angles[...], "f8")
        values = values if chosen is None else values[chosen]
        mean = float(values[-1] - values[0]) / max(1, len(values) - 1)
        if mean > 0 and np.all(np.abs(np.diff(values) - mean) <= EVEN * mean):
            step, start = mean, float(values[0])
    sizes = [_dataset(data.parent, f"{axis}_pixel_size") for axis in "yx"]
    known = all(size is not None and size.size == 1 and np.all(np.asarray(size[()]) > 0) for size in sizes)
    pixel = [float(np.asarray(size[()]).ravel()[0]) for size in sizes] if known else [1.0, 1.0]
    units = {_plain_text(size.attrs.get("units", "")) for size in sizes} if known else set()
    return {
        "axes": ("angle", "y", "x"),
        "origin": (start, 0.0, 0.0),
        "periodic": (False,) * 3,
        "spacing": (step, *pixel),
        "units": units.pop() if len(units) == 1 else "",
    }


def _imaris(file: Any, path: str, name: str) -> SchemaPart:
    picks = parse_picks(path, name)
    if picks.name or not {*picks.axes} <= {"T", "C"}:
        raise UsageError(f"{name!r} names nothing in {path!r}, an image of Imaris; write level=0,frame=0,channel=0")
    place = f"DataSet/ResolutionLevel {picks.level or 0}"
    for word, letter, group in (("frame", "T", "TimePoint"), ("channel", "C", "Channel")):
        parent = _inside(file, place)
        count = sum(key.startswith(f"{group} ") for key in parent) if isinstance(parent, h5py.Group) else 0
        number = picks.axes.get(letter, 0 if count == 1 else None)
        if number is None or not -count <= number < count:
            words = f"{word}=0 to {count - 1}" if count else "another level"
            raise UsageError(f"{path!r} has {count} of {group} in {place!r}; give {words}")
        place = f"{place}/{group} {number % count}"
    group, image, data = _inside(file, place), _inside(file, "DataSetInfo/Image"), _dataset(file, f"{place}/Data")
    if group is None or image is None or data is None:
        raise UsageError(
            f"{path!r} says that it is an image of Imaris, but {place!r} or what is known of it is missing"
        )
    about, image = group.attrs, image.attrs
    # Stored in whole chunks: what is beyond the image is nobody's.
    shape = tuple(int(_plain_text(about[f"ImageSize{axis}"])) for axis in "ZYX")
    if len(shape) != data.ndim or any(not 1 <= n <= most for n, most in zip(shape, data.shape, strict=True)):
        raise UsageError(f"{path!r} says that {place!r} is an image of {shape}, but it is stored as {data.shape}")
    low = [float(_plain_text(image[f"ExtMin{n}"])) for n in (2, 1, 0)]
    high = [float(_plain_text(image[f"ExtMax{n}"])) for n in (2, 1, 0)]
    spacing = tuple((b - a) / n if b > a else 1.0 for a, b, n in zip(low, high, shape, strict=True))
    grid = {
        "axes": ("z", "y", "x"), "origin": tuple(low), "periodic": (False,) * 3, "spacing": spacing,
        "units": _plain_text(image.get("Unit", "um")),
    }  # fmt: skip
    return SchemaPart(f"{place}/Data", (), shape, grid)


def _inside(node: Any, name: str) -> Any:
    """What lies under a name, by plain links alone: nothing outside the file is opened. None if there is none."""
    for part in name.split("/"):
        links = node.id.links if isinstance(node, h5py.Group) else None
        if links is None or not links.exists(part.encode()):
            return None
        if links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
            return None
        node = node[part]
    return node


def _dataset(node: Any, name: str) -> Any:
    """The dataset under a name, None if there is none that may be read."""
    thing = _inside(node, name)
    return thing if isinstance(thing, h5py.Dataset) and next(hazards(thing), None) is None else None


def _plain_text(value: Any) -> str:
    """Text that may be stored letter by letter."""
    value = plain(value, is_whole=True)
    return "".join(map(str, value)) if isinstance(value, list) else str(value)
