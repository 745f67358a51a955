"""MetaImage (.mha, .mhd) whose values are plain bytes: z, y, x, since x runs fastest in the file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import no_dataset
from mpibatch.io.formats.flat.arrays import MOST_HEADER, Flat, Header, fields_of, head_of, linear, sibling
from mpibatch.io.formats.raw_values import read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.io.formats.source import Source

__all__ = ["inspect", "read"]

_DTYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
_TRUE = ("true", "t", "1", "yes")


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what an image holds; the channels of a cell are the last axis. Local."""
    no_dataset(path, dataset, "MetaImage")
    with Header(path, "MetaImage"):
        head = head_of(path, MOST_HEADER)
        at = head.find(b"ElementDataFile")
        end = head.find(b"\n", at)
        begin = end + 1 if end >= 0 else len(head)
        fields = fields_of(head[:begin].decode("latin1").splitlines(), "=")
        if at < 0:
            raise ValueError("its header does not say where its values are (ElementDataFile)")
        if _is_true(fields, "compresseddata") or not _is_true(fields, "binarydata", "True"):
            raise UsageError(f"cannot read {path!r}: its values are packed, or text; write it without compression")
        kind = fields.get("elementtype", "").removesuffix("_ARRAY")
        if kind not in _DTYPES:
            raise UsageError(f"cannot read {path!r}: its values are of type {kind!r}, which is not read")
        sizes = [int(size) for size in fields["dimsize"].split()]
        ndim, channels = int(fields["ndims"]), int(fields.get("elementnumberofchannels", 1))
        if len(sizes) != ndim or min(sizes) < 1 or channels < 1:
            raise ValueError(f"its header says {ndim} axes of {sizes} cells with {channels} channels")
        is_big = _is_true(fields, "binarydatabyteordermsb") or _is_true(fields, "elementbyteordermsb")
        dtype = np.dtype((">" if is_big else "<") + _DTYPES[kind])
        values, offset = "", begin
        if (name := fields["elementdatafile"]).upper() not in ("LOCAL", "LOCALE"):
            if name.upper().startswith("LIST") or "%" in name:
                raise UsageError(f"cannot read {path!r}: its values lie in several files; write them into one")
            values, offset = sibling(path, name, allow), 0
        skip = int(fields.get("headersize", 0))
        if skip == -1:
            offset = Path(values or path).stat().st_size - math.prod(sizes) * channels * dtype.itemsize
        elif values:
            offset = skip
        shape = sizes[::-1] + ([channels] if channels > 1 else [])
        letters = "XYZT"[:ndim][::-1] + ("S" if channels > 1 else "") if ndim <= 4 else ""
        grid, notes = _geometry(fields, ndim) if letters else ({}, ())
        return Flat(
            path, "metaimage", shape, dtype, offset, letters=letters, grid=grid, notes=notes, values=values,
            allow=allow,
        ).source()  # fmt: skip


def _is_true(fields: Mapping[str, str], key: str, usual: str = "False") -> bool:
    return fields.get(key, usual).lower() in _TRUE


def _geometry(fields: Mapping[str, str], ndim: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    def numbers(*keys: str, usual: list[float]) -> list[float]:
        text = next((fields[key] for key in keys if key in fields), "")
        values = [float(word) for word in text.split()]
        return values if len(values) == len(usual) else usual

    notes = []
    unit = np.eye(ndim).ravel().tolist()
    spacing = numbers("elementspacing", "elementsize", usual=[1.0] * ndim)
    origin = numbers("offset", "position", "origin", usual=[0.0] * ndim)
    if not np.allclose(numbers("transformmatrix", "rotation", "orientation", usual=unit), unit, atol=1e-6):
        origin = [0.0] * ndim
        notes.append("its axes are turned in space, which is not applied: cells are in the order of the file")
    factors = ("elementtointensityfunctionslope", 1.0), ("elementtointensityfunctionoffset", 0.0)
    if any(float(fields.get(key, usual)) != usual for key, usual in factors):
        notes.append("its function from elements to intensity is not applied: these are the values as stored")
    units = fields.get("distanceunits", "mm" if "elementspacing" in fields else "")
    return linear("xyzt"[:ndim][::-1], spacing[::-1], origin[::-1], units.lower()), tuple(notes)
