"""EDF, the format of the ESRF's detectors: images, each behind a header of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import whole_name
from mpibatch.io.formats.flat.arrays import MOST_HEADER, Flat, Header, fields_of
from mpibatch.io.formats.picks import parse_picks
from mpibatch.io.formats.raw_values import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.io.formats.source import Source

__all__ = ["inspect", "names", "read"]

_DTYPES = {
    "unsignedbyte": "u1", "unsigned8": "u1", "signedbyte": "i1", "signed8": "i1", "unsignedshort": "u2",
    "unsigned16": "u2", "unsignedshortinteger": "u2", "signedshort": "i2", "signed16": "i2", "unsignedinteger": "u4",
    "unsigned32": "u4", "unsignedlong": "u4", "signedinteger": "i4", "signed32": "i4", "signedlong": "i4",
    "unsigned64": "u8", "signed64": "i8", "floatvalue": "f4", "float": "f4", "floatieee32": "f4", "float32": "f4",
    "doublevalue": "f8", "double": "f8", "floatieee64": "f8", "doubleieee64": "f8",
}  # fmt: skip
_ORDERS = {"lowbytefirst": "<", "highbytefirst": ">"}
MOST_FRAMES, USUAL_HEADER = 100_000, 8192

# Offset of the values, their shape and dtype.
Frame = tuple[int, tuple[int, ...], str]


def names(path: str) -> list[str]:
    """Return the names of the images. Local."""
    count = len(_frames(path))
    return [f"frame={number}" for number in range(count)] if count > 1 else [""]


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what an image holds; of several, `dataset` says which: ``frame=2``. Local."""
    frames = _frames(path)
    picks = parse_picks(path, dataset)
    number = picks.number({"T": len(frames)}, "T")
    if number is None:
        raise UsageError(
            f"{path!r} has {len(frames)} images; say which: frame=0 to {len(frames) - 1}, as in {path}::frame=0"
        )
    offset, shape, dtype = frames[number]
    if not dtype:
        raise UsageError(f"cannot read {whole_name(path, dataset or '')}: it is packed, or of a type not known here")
    return Flat(path, "edf", shape, np.dtype(dtype), offset, dataset=dataset or "").source()


def _frames(path: str) -> list[Frame]:
    frames: list[Frame] = []
    with Header(path, "EDF"), open(path, "rb") as file:
        size, place = os.fstat(file.fileno()).st_size, 0
        while place < size and len(frames) < MOST_FRAMES:
            file.seek(place)
            text = file.read(USUAL_HEADER)
            if b"}\n" not in text:
                text += file.read(MOST_HEADER - USUAL_HEADER)
            if not text.strip(b"\0\r\n "):
                break  # filled up behind the last image
            end = text.find(b"}\n")
            if end < 0 or not text.lstrip().startswith(b"{"):
                raise ValueError(f"what begins at byte {place} is not a header")
            offset = place + end + 2
            fields = fields_of(text[:end].decode("latin1").strip("{ \r\n").split(";"), "=")
            dims = [int(fields[f"dim_{n}"]) for n in range(1, 5) if f"dim_{n}" in fields]
            code = _DTYPES.get(fields.get("datatype", "").lower(), "")
            if not dims or min(dims) < 1:
                raise ValueError(f"the header at byte {place} tells no shape")
            if "edf_headersize" in fields:
                offset = place + int(fields["edf_headersize"])
            order = _ORDERS.get(fields.get("byteorder", "lowbytefirst").lower(), "")
            nbytes = int(np.prod(dims, dtype=object)) * (np.dtype(code).itemsize if code else 0)
            stated = int(fields.get("edf_binarysize", fields.get("size", nbytes)))
            plain = fields.get("compression", "none").lower() in ("none", "")
            frames.append((offset, tuple(reversed(dims)), order + code if plain and code and order else ""))
            if max(stated, nbytes) < 1 or offset <= place:
                raise ValueError(f"the header at byte {place} tells of no values")
            place = offset + (max(stated, nbytes) if plain else stated)
        if not frames:
            raise ValueError("it holds no image")
    return frames
