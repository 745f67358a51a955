"""What a Zarr store of fields consists of: arrays, each cut into chunks and these into shards, and the groups above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.io.base.geometry import to_attributes
from mpibatch.io.chunks.grid import ChunkGrid, chosen_chunks, shard_of
from mpibatch.io.write.zarr import metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mpibatch.fields.field import Field
    from mpibatch.io.write.zarr.codecs import Codec

__all__ = ["Axes", "StorePlan", "StoredArray", "images", "named_arrays"]

Attributes = dict[str, Any]
# The names of an array's axes, and the axis of the field that each is.
Axes = tuple[list[str], tuple[int, ...]]


@dataclass(frozen=True)
class StoredArray:
    """An array of a store: its path there, whose values it holds, and how it is cut and packed.

    `chunk` and `shard` are shapes along the field's axes, of which `axes` tells the order.
    """

    path: str
    field: Field
    axes: Axes
    chunk: tuple[int, ...]
    shard: tuple[int, ...]
    codec: Codec
    attrs: Attributes

    @property
    def signature(self) -> tuple[Any, ...]:
        """What all ranks must agree on. Local."""
        return self.path, self.field.shape, self.field.dtype.str, self.axes, self.chunk, self.codec.described

    @property
    def cut(self) -> ChunkGrid:
        """The field, cut into shards. Local."""
        return ChunkGrid(self.field.shape, self.shard)

    def turned(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """Return numbers along the field's axes as those along the array's. Local."""
        return tuple(numbers[axis] for axis in self.axes[1])

    def file(self, number: int) -> str:
        """Return the name in the store of the file of a shard. Local."""
        places = [low // n for low, n in zip(self.cut.start(number), self.shard, strict=True)]
        return "/".join([self.path, "c", *map(str, self.turned(places))])

    def document(self) -> Attributes:
        """Return what the store says of it. Local."""
        shape, chunk, shard = map(self.turned, (self.field.shape, self.chunk, self.shard))
        return metadata.array(shape, self.field.dtype, chunk, shard, self.codec, self.axes[0], self.attrs)


@dataclass(frozen=True)
class StorePlan:
    """Arrays in the order of their paths, and what is said of the groups by theirs; the root's is ""."""

    arrays: tuple[StoredArray, ...]
    groups: Mapping[str, Attributes]

    @property
    def is_packed(self) -> bool:
        """Whether the bytes of an array are not known before it is written. Local."""
        return any(array.codec.described for array in self.arrays)

    def nodes(self) -> dict[str, bytes]:
        """Return the JSON files by name, in their order. Local."""
        documents = {**self.groups, **{array.path: array.document() for array in self.arrays}}
        return {f"{path}/zarr.json".lstrip("/"): metadata.packed(documents[path]) for path in sorted(documents)}


def named_arrays(
    fields: Mapping[str, Field],
    codecs: Mapping[str, Codec],
    chunks: Mapping[str, Any],
    root: Attributes,
    about: Mapping[str, Mapping[str, Any]],
) -> StorePlan:
    """Return a store with each field under its name; `root` and `about` are attributes. Local. UsageError."""
    arrays = []
    for name, u in fields.items():
        chunk = chosen_chunks(name, chunks.get(name) or "auto", u.shape, u.dtype.itemsize, len(u.components))
        axes = metadata.axis_names(u), tuple(range(len(u.shape)))
        extra = {**to_attributes(u.grid), **about.get(name, {})}
        arrays.append(_array(name, u, axes, chunk, codecs[name], extra))
    return _store(arrays, {**_above(fields), "": metadata.group(root)})


def images(
    levels: Mapping[str, Sequence[Field]],
    axes: Mapping[str, Axes],
    codecs: Mapping[str, Codec],
    chunks: Mapping[str, Any],
    root: Attributes,
    about: Mapping[str, Mapping[str, Any]],
) -> StorePlan:
    """Return a store of OME-Zarr: a single image is its root, several are groups. Local. UsageError.

    The arrays of an image are its levels, "0", "1", …, of the field and its channels. Labels ("labels/nuclei") of the
    single image lie below it.
    """
    arrays = []
    groups = {**_above(levels), "": metadata.group(root)}
    labels = [name for name in levels if name.startswith(f"{metadata.LABELS}/")]
    alone = [name for name in levels if name not in labels] if len(levels) > 1 else [*levels]
    if labels and len(levels) > 1:
        groups[metadata.LABELS] = metadata.group(metadata.label_list(labels))
    for name, fields in levels.items():
        place = "" if alone == [name] else name
        image = metadata.image(name, axes[name], [u.grid for u in fields])
        groups[place] = metadata.group({**({} if place else root), **about.get(name, {}), "ome": image})
        for number, u in enumerate(fields):
            cells = chosen_chunks(name, chunks.get(name) or "auto", u.grid.shape, u.dtype.itemsize, 0)
            chunk = (*cells, *(1 for _ in u.components))
            path = f"{place}/{number}".lstrip("/")
            arrays.append(_array(path, u, axes[name], chunk, codecs[name], to_attributes(u.grid)))
    return _store(arrays, groups if len(levels) > 1 else {"": groups[""]})


def _array(path: str, u: Field, axes: Axes, chunk: tuple[int, ...], codec: Codec, attrs: Attributes) -> StoredArray:
    shard = shard_of(u.shape, chunk, u.dtype.itemsize)
    return StoredArray(path=path, field=u, axes=axes, chunk=chunk, shard=shard, codec=codec, attrs=attrs)


def _store(arrays: list[StoredArray], groups: Mapping[str, Attributes]) -> StorePlan:
    return StorePlan(tuple(sorted(arrays, key=lambda array: array.path)), groups)


def _above(names: Iterable[str]) -> dict[str, Attributes]:
    """The groups that names with / lie in."""
    ends = ((name, at) for name in names for at, letter in enumerate(name) if letter == "/")
    return {name[:at]: metadata.group({}) for name, at in ends}
