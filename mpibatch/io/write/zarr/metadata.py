"""What a Zarr store says of its arrays and groups: Zarr 3, with the images of OME-Zarr 0.5.

An image of OME-Zarr has axes t, c, z, y and x, in this order, of which two or three are of space.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import is_labels
from mpibatch.io.formats.pieces.ome import UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid
    from mpibatch.io.write.zarr.codecs import Codec

__all__ = ["LABELS", "SPACE", "array", "axis_names", "group", "image", "label_list", "ome_axes", "packed"]

VERSION = "0.5"
USUAL, SPACE = "tzyx", "zyx"
LABELS = "labels"  # the group of those of an image
_WORDS = {short: word for word, short in UNITS.items()}


def packed(document: Mapping[str, Any]) -> bytes:
    """Return a node's JSON. Local."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def array(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    chunk: Sequence[int],
    shard: Sequence[int],
    codec: Codec,
    names: Sequence[str],
    attrs: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a store says of an array. Local."""
    plain: dict[str, Any] = {"name": "bytes"}
    little = plain | {"configuration": {"endian": "little"}}
    codecs = [little if dtype.itemsize > 1 else plain, *codec.described]
    if tuple(chunk) != tuple(shard):
        index = [little, {"name": "crc32c"}]
        settings = {"chunk_shape": chunk, "codecs": codecs, "index_codecs": index, "index_location": "end"}
        codecs = [{"name": "sharding_indexed", "configuration": settings}]
    zero = {"b": False, "f": 0.0, "c": [0.0, 0.0]}.get(dtype.kind, 0)
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": zero,
        "codecs": codecs,
        "dimension_names": names,
        "attributes": _json(attrs),
    }


def group(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a store says of a group. Local."""
    return {"zarr_format": 3, "node_type": "group", "attributes": _json(attrs)}


def axis_names(u: Field) -> list[str]:
    """Return a name for each axis of an array with a field's axes. Local."""
    free = (name for name in ("c", *(f"c{n}" for n in range(1, 10))) if name not in u.grid.axes)
    return [*u.grid.axes, *(name for name, _ in zip(free, u.components, strict=False))]


def ome_axes(name: str, u: Field) -> tuple[list[str], tuple[int, ...]]:
    """Return the names of an image's axes, and the axis of the field that each is. Local. UsageError if it has none."""
    grid = u.grid
    names = list(grid.axes) if set(grid.axes) <= set(USUAL) else list(USUAL[-grid.ndim :])
    space = len(names) - ("t" in names)
    if space not in (2, 3) or "t" in names[1:] or len(u.components) > 1:
        raise UsageError(
            f"cannot save {name!r} as OME-Zarr: it has the axes {grid.axes} and components {u.components}, and an "
            "image has a time first if any, two or three axes of space, and channels; save it as .zarr"
        )
    order = list(range(grid.ndim))
    if u.components:
        at = int("t" in names)
        names.insert(at, "c")
        order.insert(at, grid.ndim)
    return names, tuple(order)


def image(name: str, axes: tuple[Sequence[str], Sequence[int]], levels: Sequence[Grid]) -> dict[str, Any]:
    """Return what OME-Zarr says of an image with these grids, the finest first, as arrays "0", "1", … Local."""
    names, order = axes
    datasets = [
        {
            "path": str(number),
            "coordinateTransformations": [
                {"type": "scale", "scale": [(*grid.spacing, 1.0)[axis] for axis in order]},
                {"type": "translation", "translation": [(*grid.origin, 0.0)[axis] for axis in order]},
            ],
        }
        for number, grid in enumerate(levels)
    ]
    described = [_axis(letter, levels[0].units) for letter in names]
    kind = {"type": "nearest" if is_labels(name) else "mean"} if len(levels) > 1 else {}
    images = {"version": VERSION, "multiscales": [{"name": name, "axes": described, "datasets": datasets, **kind}]}
    return images | ({"image-label": {"source": {"image": "../../"}} if "/" in name else {}} if is_labels(name) else {})


def label_list(names: Iterable[str]) -> dict[str, Any]:
    """Return what OME-Zarr says of the group of an image's labels. Local."""
    return {"ome": {"version": VERSION, "labels": [name.removeprefix(f"{LABELS}/") for name in names]}}


def _axis(letter: str, units: str) -> dict[str, str]:
    if letter == "c":
        return {"name": "c", "type": "channel"}
    if letter == "t":
        return {"name": "t", "type": "time", "unit": "second"}
    unit = units.replace("µ", "u").replace("μ", "u")
    return {"name": letter, "type": "space", **({"unit": _WORDS.get(unit, unit)} if unit else {})}


def _json(value: Any) -> Any:
    """A value as JSON knows it: what is not finite as Zarr writes it, complex numbers as two."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, complex):
        return [_json(value.real), _json(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
