"""Zarr of versions 2 and 3, and OME-Zarr: folders of chunks, perhaps in shards.

What a store holds is read from its own JSON; the library `zarr` unpacks the chunks that a box meets.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import MpibatchError, RunError, UsageError, nearest
from mpibatch.io.base.geometry import from_attributes
from mpibatch.io.base.names import whole_name
from mpibatch.io.formats.flat.arrays import Header, kept, linear
from mpibatch.io.formats.hazards import IDLE_CHUNK, IDLE_TIMES
from mpibatch.io.formats.orientation import View, view_of
from mpibatch.io.formats.picks import Picks, parse_picks
from mpibatch.io.formats.pieces import ome
from mpibatch.io.formats.source import Array, Selection, Source, Storage, native

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["inspect", "names", "read", "root_attributes"]

MOST_JSON, MOST_NODES, DEPTH = 16 << 20, 10_000, 8


def names(path: str) -> list[str]:
    """Return the names of the images, levels of pyramids apart, and of arrays that are in none. Local."""
    known: list[str] = []
    with Header(path, "Zarr"):
        for place, images in _images(path):
            if not images:
                known.append(place)
                continue
            for series, image in enumerate(images):
                words = [*([place] if place else []), *([f"series={series}"] if len(images) > 1 else [])]
                known += [
                    ",".join(words + ([f"level={level}"] if len(image.levels) > 1 else []))
                    for level in range(len(image.levels))
                ]
    return known or [""]


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what an array or an image holds; `dataset` is its path in the store, and picks (``level=1``). Local."""
    picks = parse_picks(path, dataset)
    with Header(path, "Zarr"):
        place, series = _place(path, picks)
        node = _node(path, place)
        image = None
        if not _is_array(node):
            image = _series(path, ome.images_of(_attributes(path, place, node)), picks, series)
            level = _level(path, image, picks)
            place = "/".join(filter(None, (place, level.path)))
            node = _node(path, place)
        shape, dtype, chunks = _array(node)
        _check_chunks(whole_name(path, dataset or ""), shape, dtype, chunks, allow)
        if image is not None and len(image.letters) != len(shape):
            raise ValueError(f"its image has axes {image.letters}, but {place} has the shape {shape}")
        letters = image.letters if image is not None else ""
        if not letters and picks.axes:
            raise UsageError(f"{dataset!r} picks from axes of {path!r}, but they have no names; use region=")
        ours = from_attributes(_attributes(path, place, node), len(shape)) if image is None else {}
        if ours:
            view = _plain_view(shape, len(ours["axes"]))
        else:
            view = view_of(whole_name(path, dataset or ""), letters or "Q" * len(shape), shape, picks.axes)
        grid = kept(image.grid(image.levels.index(level)), view) if image is not None else ours
        if image is None and not ours:
            grid = _named(path, place, node)
        return Source(
            path=path,
            format="zarr",
            dataset=dataset or "",
            shape=view.shape,
            dtype=native(dtype),
            components=view.components,
            grid=grid,
            storage=Storage(np.dtype(dtype).str, chunks=chunks, view=view, path=place),
            allow=tuple(allow),
        )


def root_attributes(path: str) -> dict[str, Any]:
    """Return the attributes of a store's root. Local. RunError if it is damaged."""
    with Header(path, "Zarr"):
        node = _node(path, "")
        return _attributes(path, "", node) if isinstance(node, dict) else {}


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``. Local. Unpacks the chunks that the selection meets."""
    import zarr

    storage = source.storage
    assert storage is not None
    assert storage.view is not None
    place = Path(source.path, storage.path)
    try:
        array = zarr.open_array(str(place), mode="r")
        if array.shape != storage.view.stored:
            raise RunError(f"{str(place)!r} has changed while it was read; read it again")
        storage.view.stored_view(out[at])[...] = array[storage.view.selection(selection)]
    except MpibatchError:
        raise
    except Exception as error:  # a damaged store meets the library, and those that unpack, with any type
        raise RunError(f"{str(place)!r} cannot be read as Zarr ({error}); it is damaged: copy it again") from error


def _place(path: str, picks: Picks) -> tuple[str, int | None]:
    """The path in the store of the array or group that is meant, and the number of an image in it."""
    if picks.name:
        name = picks.name.strip("/")
        if ".." not in name.split("/") and _node(path, name) is None and _is_root(path, name):
            return "", picks.series
        if ".." in name.split("/") or _node(path, name) is None:
            known = names(path)
            raise UsageError(f"{path!r} has no array or image {picks.name!r}{nearest(name, known)}")
        return name, None
    known_places = [place for place, _ in _images(path)]
    if len(known_places) == 1 or "" in known_places:
        return ("" if "" in known_places else known_places[0]), picks.series
    if picks.series is not None and str(picks.series) in known_places:
        return str(picks.series), None
    words = f"{len(known_places)} arrays: {', '.join(known_places)}; name one" if known_places else "no array to read"
    raise UsageError(f"{path!r} has {words}")


def _is_root(path: str, name: str) -> bool:
    """Whether the store is a single image of this name."""
    node = _node(path, "")
    images = [] if node is None or _is_array(node) else ome.images_of(_attributes(path, "", node))
    return [image.name for image in images] == [name]


def _images(path: str) -> Iterator[tuple[str, list[ome.Image]]]:
    """Yield each array that is no level of an image, with [], and each group with the images that it has."""
    todo, count = [("", 0)], 0
    while todo:
        place, depth = todo.pop(0)
        node, count = _node(path, place), count + 1
        if node is None or count > MOST_NODES:
            continue
        if _is_array(node):
            yield place, []
            continue
        images = ome.images_of(_attributes(path, place, node))
        levels = {level.path for image in images for level in image.levels}
        if images:
            yield place, images
        if depth < DEPTH:
            folders = sorted(entry.name for entry in Path(path, place).iterdir() if entry.is_dir())
            todo += [("/".join(filter(None, (place, name))), depth + 1) for name in folders if name not in levels]


def _series(path: str, images: list[ome.Image], picks: Picks, series: int | None) -> ome.Image:
    number = series if series is not None else 0 if len(images) == 1 else None
    if number is None or not 0 <= number < len(images):
        most = f"give series=0 to {len(images) - 1}" if images else f"the arrays are {', '.join(names(path))}"
        raise UsageError(f"{whole_name(path, picks.dataset)} has {len(images)} images; {most}")
    return images[number]


def _level(path: str, image: ome.Image, picks: Picks) -> ome.PyramidLevel:
    number = picks.level or 0
    if not 0 <= number < len(image.levels):
        raise UsageError(f"{path!r} has no level {number}; give level=0 to {len(image.levels) - 1}")
    return image.levels[number]


def _json(place: Path) -> Any:
    if not place.is_file():
        return None
    with open(place, "rb") as file:
        text = file.read(MOST_JSON + 1)
    if len(text) > MOST_JSON:
        raise ValueError(f"{place.name} is longer than {MOST_JSON} bytes")
    return json.loads(text)


def _node(path: str, place: str) -> Any:
    """What the store says of an array or a group; None if there is none."""
    folder = Path(path, place)
    node = _json(folder / "zarr.json") or _json(folder / ".zarray")
    return node if node is not None else _json(folder / ".zgroup")


def _attributes(path: str, place: str, node: Any) -> dict[str, Any]:
    about = node.get("attributes") if node.get("zarr_format") == 3 else _json(Path(path, place, ".zattrs"))
    return about if isinstance(about, dict) else {}


def _is_array(node: Any) -> bool:
    return node is not None and "shape" in node


def _array(node: Any) -> tuple[tuple[int, ...], str, tuple[int, ...]]:
    """Shape, dtype and chunks of an array, whose shards count as chunks."""
    shape = tuple(int(length) for length in node["shape"])
    if node.get("zarr_format") == 3:
        code, cut = node["data_type"], node["chunk_grid"]["configuration"]["chunk_shape"]
    else:
        code, cut = node["dtype"], node["chunks"]
    dtype = np.dtype(code if isinstance(code, str) else "V1")
    cut = tuple(int(length) for length in cut)
    if min(shape, default=1) < 0 or len(cut) != len(shape) or min(cut, default=1) < 1 or math.prod(shape) >= 1 << 62:
        raise ValueError(f"its header says shape {shape} in chunks of {cut}")
    return shape, dtype.str, cut


def _check_chunks(name: str, shape: Sequence[int], dtype: str, chunks: Sequence[int], allow: Sequence[str]) -> None:
    """Refuse chunks that are memory for nothing, unless they are allowed."""
    chunk, whole = (math.prod(lengths) * np.dtype(dtype).itemsize for lengths in (chunks, shape))
    if chunk > IDLE_CHUNK and chunk > IDLE_TIMES * whole and "large chunks" not in allow:
        raise UsageError(
            f"cannot read {name}: its chunks {tuple(chunks)} are {chunk} bytes each, for {whole} bytes of values; "
            'write it anew, or give allow=("large chunks",) if you trust it'
        )


def _plain_view(shape: tuple[int, ...], axes: int) -> View:
    """The view of an array of ours, of which the axes behind these are components."""
    order = tuple(range(len(shape)))
    return View(shape, {}, order, frozenset(), components=len(shape) - axes, names=(), letters="")


def _named(path: str, place: str, node: Any) -> dict[str, Any]:
    """Keywords of Grid for axes that have names and nothing else, as xarray gives them."""
    given = node.get("dimension_names") or _attributes(path, place, node).get("_ARRAY_DIMENSIONS") or ()
    named = [str(name) for name in given if name]
    if not 1 <= len(named) <= 4 or len(set(named)) != len(node["shape"]):
        return {}
    return linear(named, [1.0] * len(named), [0.0] * len(named), "")
