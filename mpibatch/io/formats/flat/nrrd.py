"""NRRD whose values are plain bytes, in its own file or in one beside it.

The axes are reversed against the header's, whose first runs fastest in the file.
"""

from __future__ import annotations

import math
import re
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
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2", "int16": "i2",
    "int16_t": "i2", "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2",
    "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4",
    "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "longlong": "i8", "long long": "i8",
    "long long int": "i8", "signed long long": "i8", "signed long long int": "i8", "int64": "i8", "int64_t": "i8",
    "ulonglong": "u8", "unsigned long long": "u8", "unsigned long long int": "u8", "uint64": "u8", "uint64_t": "u8",
    "float": "f4", "double": "f8",
}  # fmt: skip
_ORDERS = {"little": "<", "big": ">"}
_SPACE = ("domain", "space", "time")  # kinds of axes along which there are cells; others are values of a cell
_NUMBER = r"[-+0-9.eE]+|nan"


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what an array holds. Local."""
    no_dataset(path, dataset, "NRRD")
    with Header(path, "NRRD"):
        head = head_of(path, MOST_HEADER)
        end = re.search(rb"\r?\n\r?\n", head)
        lines = head[: end.start() if end else len(head)].decode("latin1").splitlines()
        fields = fields_of((line for line in lines[1:] if not line.startswith("#") and ":=" not in line), ":")
        encoding = fields.get("encoding", "").lower()
        if encoding != "raw":
            raise UsageError(
                f"cannot read {path!r}: its values are packed or text (encoding {encoding!r}); write it with encoding "
                "raw"
            )
        code = _DTYPES.get(fields.get("type", "").lower())
        if code is None:
            raise UsageError(f"cannot read {path!r}: its values are of type {fields.get('type')!r}, which is not read")
        order = _ORDERS.get(fields.get("endian", "").lower(), "" if code.endswith("1") else "?")
        dtype = np.dtype(order + code) if order != "?" else None
        sizes = [int(size) for size in fields["sizes"].split()]
        if dtype is None or len(sizes) != int(fields["dimension"]) or min(sizes) < 1:
            raise ValueError("its header does not tell the order of bytes, or not the length of each axis")
        values, begin = "", end.end() if end else len(head)
        if name := fields.get("data file", fields.get("datafile", "")):
            values, begin = sibling(path, _plain(path, name), allow), 0
        offset = _skipped(fields, values or path, begin, math.prod(sizes) * dtype.itemsize)
        letters, grid, notes = _geometry(fields, len(sizes))
        return Flat(
            path, "nrrd", sizes[::-1], dtype, offset, letters=letters, grid=grid, notes=notes, values=values,
            allow=allow,
        ).source()  # fmt: skip


def _plain(path: str, name: str) -> str:
    if name.startswith("LIST") or "%" in name:
        raise UsageError(f"cannot read {path!r}: its values lie in several files; write them into one")
    return name


def _skipped(fields: Mapping[str, str], values: str, begin: int, nbytes: int) -> int:
    """The byte at which the values begin, behind lines and bytes that the header says to skip."""
    lines = int(fields.get("line skip", fields.get("lineskip", 0)))
    count = int(fields.get("byte skip", fields.get("byteskip", 0)))
    if count == -1:
        return Path(values).stat().st_size - nbytes
    if lines < 0 or count < -1:
        raise ValueError(f"it says to skip {lines} lines and {count} bytes")
    if lines:
        with open(values, "rb") as file:
            file.seek(begin)
            for _ in range(min(lines, MOST_HEADER)):
                file.readline(MOST_HEADER)
            begin = file.tell()
    return begin + count


def _geometry(fields: Mapping[str, str], ndim: int) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Letters of the stored axes ("" where they are not all known), keywords of Grid, and notes."""
    kinds = fields.get("kinds", "").lower().split()
    kinds = kinds if len(kinds) == ndim else ["domain"] * ndim
    directions = _vectors(fields.get("space directions", ""), ndim)
    spacings = fields.get("spacings", "").split()
    origin = _vectors(fields.get("space origin", ""), 1)[0] if "space origin" in fields else None
    steps, is_turned, space = [], False, 0
    letters = ""
    for axis, kind in enumerate(kinds):
        vector = directions[axis] if axis < len(directions) else None
        if not (kind in _SPACE or kind == "???" or vector):
            letters += "C"
            continue
        if vector:
            steps.append(math.hypot(*vector))
            is_turned |= any(abs(part) > 1e-6 * steps[-1] for n, part in enumerate(vector) if n != space)
            is_turned |= vector[space] < 0 if space < len(vector) else True
        else:
            steps.append(float(spacings[axis]) if len(spacings) == ndim else 1.0)
        letters += "XYZT"[space] if space < 4 else "Q"
        space += 1
    if letters.count("C") > 1 or "Q" in letters:
        return "", {}, ()
    names = "".join(letter.lower() for letter in letters if letter != "C")
    starts = list(origin or ())[: len(names)] if not is_turned else []
    starts += [0.0] * (len(names) - len(starts))
    units = {unit for unit in re.findall(r'"([^"]*)"', fields.get("space units", fields.get("units", ""))) if unit}
    steps = [step if math.isfinite(step) and step > 0 else 1.0 for step in steps]
    grid = linear(names[::-1], steps[::-1], starts[::-1], units.pop() if len(units) == 1 else "")
    turned = "its axes are turned or mirrored in space, which is not applied: cells are in the order of the file"
    return letters[::-1], grid, (turned,) if is_turned else ()


def _vectors(text: str, most: int) -> list[tuple[float, ...] | None]:
    """What ``(1,0,0) none (0,0,2)`` says."""
    parts = re.findall(r"none|\([^()]*\)", text)[:most]
    vectors: list[tuple[float, ...] | None] = []
    for part in parts:
        numbers = tuple(float(number) for number in re.findall(_NUMBER, part)) if part != "none" else ()
        vectors.append(numbers if numbers and all(map(math.isfinite, numbers)) else None)
    return vectors or [None]
