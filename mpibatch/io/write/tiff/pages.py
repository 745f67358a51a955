"""What stands around the tiles of an OME-TIFF: its header, a directory for each page, and OME's XML in the first one.

BigTIFF, little endian. Pages are planes, those of channels next to one another, then z, then t; coarser ones of each
hang below it (SubIFDs). (TIFF 6.0; OME Model and File Formats, doi:10.1186/gb-2005-6-5-r47.)
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["HEADER_BYTES", "TYPES", "PageLevel", "directories", "header", "xml"]

Ints = npt.NDArray[np.int64]

HEADER_BYTES = 16
# OME's names of types; bool is stored as uint8.
TYPES = {
    "b1": "uint8", "i1": "int8", "i2": "int16", "i4": "int32", "u1": "uint8", "u2": "uint16", "u4": "uint32",
    "f4": "float", "f8": "double", "c8": "complex", "c16": "double-complex",
}  # fmt: skip
_FORMATS = {"b": 1, "u": 1, "i": 2, "f": 3, "c": 6}
_ASCII, _SHORT, _LONG, _LONG8, _IFD8 = 2, 3, 4, 16, 18
_PACKED = {_SHORT: "H", _LONG: "I", _LONG8: "Q", _IFD8: "Q"}
_UNITS = {
    "um": "µm", "nm": "nm", "mm": "mm", "cm": "cm", "m": "m", "km": "km", "pm": "pm", "angstrom": "Å", "inch": "in",
}  # fmt: skip
SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


class PageLevel(NamedTuple):
    """One level of all pages: its rows and columns, those of a tile, and for each page where its tiles are."""

    shape: tuple[int, int]
    tile: tuple[int, int]
    offsets: Ints
    sizes: Ints


def header(first: int) -> bytes:
    """Return how a file begins whose first directory lies there. Local."""
    return struct.pack("<2sHHHQ", b"II", 43, 8, 0, first)


def xml(name: str, u: Field) -> bytes:
    """Return what OME says of an image: axes, sizes of cells, place, channels. Local."""
    grid = u.grid
    is_timed = "t" in grid.axes
    axes = "T" * is_timed + "ZYX"[is_timed - grid.ndim :]
    sizes = dict.fromkeys("XYCZT", 1) | dict(zip(axes, grid.shape, strict=True)) | {"C": math.prod(u.components)}
    about = {"ID": "Pixels:0", "DimensionOrder": "XYCZT", "Type": TYPES[u.dtype.str[1:]], "BigEndian": "false"}
    about |= {f"Size{axis}": str(size) for axis, size in sizes.items()}
    unit = _UNITS.get(grid.units.replace("µ", "u").replace("μ", "u"), "reference frame")
    for axis, step in zip(axes, grid.spacing, strict=True):
        if axis == "T":
            about |= {"TimeIncrement": repr(step), "TimeIncrementUnit": "s"}
        else:
            about |= {f"PhysicalSize{axis}": repr(step), f"PhysicalSize{axis}Unit": unit}
    places = dict(zip(axes, grid.origin, strict=True))
    # Of the first plane: the others follow from the steps.
    stage = "".join(f' Position{a}="{places[a]!r}" Position{a}Unit={quoteattr(unit)}' for a in "XYZ" if a in places)
    plane = f'<Plane TheZ="0" TheC="0" TheT="0"{stage}/>' if any(places.get(a) for a in "XYZ") else ""
    inside = "".join(f'<Channel ID="Channel:0:{n}" SamplesPerPixel="1"/>' for n in range(sizes["C"]))
    planes = sizes["C"] * sizes["Z"] * sizes["T"]
    pixels = " ".join(f"{key}={quoteattr(value)}" for key, value in about.items())
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{SCHEMA}" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{SCHEMA} {SCHEMA}/ome.xsd"><Image ID="Image:0" Name={quoteattr(name)}>'
        f'<Pixels {pixels}>{inside}<TiffData IFD="0" PlaneCount="{planes}"/>{plane}</Pixels></Image></OME>'
    )
    return text.encode("ascii", "xmlcharrefreplace")


def directories(
    at: int, dtype: np.dtype[Any], compression: int, description: bytes, levels: Sequence[PageLevel]
) -> bytes:
    """Return the directories of all pages, the first at byte `at`, a multiple of 8. Local."""
    result = bytearray()
    count = len(levels[0].offsets)
    for page in range(count):
        own = at + len(result)
        below = len(levels) - 1
        main = _entries(dtype, compression, levels[0], page)
        if page == 0:
            main[270] = (_ASCII, description + b"\0")
        if below:
            main[330] = (_IFD8, [0] * below)
        length = len(_directory(own, main, 0))
        # The coarser ones lie behind it.
        coarser, places = bytearray(), []
        for level in levels[1:]:
            places.append(own + length + len(coarser))
            coarser += _directory(places[-1], {254: (_LONG, [1]), **_entries(dtype, compression, level, page)}, 0)
        if below:
            main[330] = (_IFD8, places)
        following = own + length + len(coarser) if page < count - 1 else 0
        result += _directory(own, main, following) + coarser
    return bytes(result)


def _entries(dtype: np.dtype[Any], compression: int, level: PageLevel, page: int) -> dict[int, tuple[int, Any]]:
    rows, columns = level.shape
    return {
        256: (_LONG, [columns]),
        257: (_LONG, [rows]),
        258: (_SHORT, [8 * dtype.itemsize]),
        259: (_SHORT, [compression]),
        262: (_SHORT, [1]),  # 0 is black
        277: (_SHORT, [1]),
        322: (_LONG, [level.tile[1]]),
        323: (_LONG, [level.tile[0]]),
        324: (_LONG8, level.offsets[page].tolist()),
        325: (_LONG8, level.sizes[page].tolist()),
        339: (_SHORT, [_FORMATS[dtype.kind]]),
    }


def _directory(at: int, entries: dict[int, tuple[int, Any]], following: int) -> bytes:
    """A directory that lies there, with the values that have no room in it behind it; padded to whole 8 bytes."""
    head = 8 + 20 * len(entries) + 8
    head += -head % 8
    table, behind = bytearray(struct.pack("<Q", len(entries))), bytearray()
    for tag, (kind, values) in sorted(entries.items()):
        data = values if kind == _ASCII else struct.pack(f"<{len(values)}{_PACKED[kind]}", *values)
        table += struct.pack("<HHQ", tag, kind, len(values))
        if len(data) <= 8:
            table += data.ljust(8, b"\0")
        else:
            table += struct.pack("<Q", at + head + len(behind))
            behind += data + bytes(-len(data) % 8)
    table += struct.pack("<Q", following)
    return bytes(table.ljust(head, b"\0") + behind)
