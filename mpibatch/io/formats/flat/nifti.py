"""NIfTI-1 and NIfTI-2, in one file or two, in either byte order; packed as .nii.gz, they can only be read as a whole.

The axes are t, z, y, x, since x runs fastest in the file: what nibabel has at ``[x, y, z, t]``.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import RunError, UsageError
from mpibatch.io.formats import raw_values
from mpibatch.io.formats.flat.arrays import Flat, Header, head_of, linear, sibling
from mpibatch.io.formats.picks import parse_picks
from mpibatch.io.formats.source import Array, Scaling, Selection, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DTYPES", "LAYOUTS", "UNITS", "inspect", "is_header", "read"]

HEADER = 540  # bytes of the longer of the two
WHOLE = "its values are packed as a whole (gzip): rank 0 unpacks all of them; gunzip it once to read parts"
DTYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
    1792: "c16",
}  # fmt: skip
_COLORS = {128: 3, 2304: 4}  # types of values that are bytes of red, green, blue, and alpha
UNITS = {1: "m", 2: "mm", 3: "um"}
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
# Letters of the file's axes, the fastest first; behind time come the values of a cell.
_LETTERS = "XYZTCQS"


@dataclass(frozen=True)
class _HeaderLayout:
    """Where the fields of a version's header lie, and what they are, for `struct`."""

    dim: tuple[int, str]
    datatype: tuple[int, str]
    pixdim: tuple[int, str]
    offset: tuple[int, str]
    scale: tuple[int, str]
    forms: tuple[int, str]
    quaternion: tuple[int, str]
    rows: tuple[int, str]
    units: tuple[int, str]


LAYOUTS = {  # by the length of the header, with which it begins
    348: _HeaderLayout(
        dim=(40, "8h"), datatype=(70, "h"), pixdim=(76, "8f"), offset=(108, "f"), scale=(112, "2f"), forms=(252, "2h"),
        quaternion=(256, "6f"), rows=(280, "12f"), units=(123, "B"),
    ),
    540: _HeaderLayout(
        dim=(16, "8q"), datatype=(12, "h"), pixdim=(104, "8d"), offset=(168, "q"), scale=(176, "2d"), forms=(344, "2i"),
        quaternion=(352, "6d"), rows=(400, "12d"), units=(500, "i"),
    ),
}  # fmt: skip


def is_header(head: bytes) -> bool:
    """Whether bytes begin a NIfTI file. Local."""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:12] in (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what an image holds; `dataset` picks from its axes, as in ``frame=3``. Local."""
    picks = parse_picks(path, dataset)
    if picks.name or picks.level is not None:
        raise UsageError(f"cannot read dataset {dataset!r} of {path!r}: NIfTI files have one image; pick with frame=")
    with Header(path, "NIfTI"):
        head, packed = _head(path)
        order = "<" if int.from_bytes(head[:4], "little") in LAYOUTS else ">"
        size = struct.unpack_from(f"{order}i", head)[0]
        if size not in LAYOUTS or not is_header(head):
            raise ValueError(f"its header says that it is {size} bytes long")
        at = LAYOUTS[size]

        def values(where: tuple[int, str]) -> tuple[Any, ...]:
            return struct.unpack_from(order + where[1], head, where[0])

        dim, pixdim = values(at.dim), values(at.pixdim)
        count, cells = dim[0], dim[1 : 1 + max(0, dim[0])]
        if not 1 <= count <= 7 or min(cells) < 1:
            raise ValueError(f"its header says that its axes are {dim}")
        (code,), (offset,) = values(at.datatype), values(at.offset)
        letters, shape = _axes(cells)
        if code in _COLORS:
            letters, shape, dtype = (*letters, "S"), (*shape, _COLORS[code]), np.dtype("u1")
        elif code in DTYPES:
            dtype = np.dtype(order + DTYPES[code])
        else:
            raise UsageError(f"cannot read {path!r}: its values are of NIfTI's type {code}, which is not read")
        scaling = _scaling(dtype, *values(at.scale)) if code in DTYPES else None
        is_single = head[344:346] == b"n+" or head[4:6] == b"n+"
        if is_single and offset < size:
            raise ValueError(f"its values are said to begin at byte {offset}, in its header")
        grid, notes = _geometry(pixdim, values(at.units)[0], values(at.forms), values(at.quaternion), values(at.rows))
        notes = (*((WHOLE,) if packed else ()), *notes)
        return Flat(
            path, "nifti", shape, dtype, int(offset), dataset=dataset or "", letters="".join(letters),
            picks=picks.axes, scaling=scaling, grid=grid, notes=notes, packed=packed, allow=allow,
            values="" if is_single else sibling(path, _partner(path), allow),
        ).source()  # fmt: skip


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``. Local. Unpacks all before the last value, if the file is packed."""
    if source.boxwise or source.storage is None:
        raw_values.read(source, selection, out, at)
        return
    storage = source.storage
    stored = source.shape if storage.view is None else storage.view.stored
    values = np.empty(stored, storage.dtype)
    target = memoryview(values.reshape(-1).view(np.uint8).data)
    try:
        with gzip.open(source.path, "rb") as file:
            file.seek(storage.offset)
            done = 0
            while done < len(target) and (count := file.readinto(target[done : done + raw_values.BLOCK])):
                done += count
            file.read(1)  # at its end, the sum of what was packed is checked
    except (OSError, EOFError, zlib.error) as error:
        raise RunError(f"{source.path!r} cannot be unpacked ({error}); it is damaged: copy it again") from error
    if done < len(target):
        raise RunError(f"{source.path!r} is shorter than its values; it is incomplete: copy it again")
    raw_values.take(source, values, selection, out[at])


def _head(path: str) -> tuple[bytes, bool]:
    """The header, and whether it was packed."""
    head = head_of(path, 64 << 10)
    if not head.startswith(b"\x1f\x8b"):
        return head[:HEADER].ljust(HEADER, b"\0"), False
    return zlib.decompressobj(31).decompress(head, HEADER).ljust(HEADER, b"\0"), True


def _partner(path: str) -> str:
    """The name of the file of values beside that of a header."""
    return Path(path).with_suffix(".img").name


def _axes(cells: Sequence[int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Letters and lengths of stored axes, the slowest first, without those behind the first three that have 1 cell."""
    kept = [n for n, length in enumerate(cells) if n < 3 or length > 1]
    return tuple(_LETTERS[n] for n in reversed(kept)), tuple(cells[n] for n in reversed(kept))


def _scaling(dtype: np.dtype[Any], scale: float, offset: float) -> Scaling | None:
    """What the numbers stand for; None where the header leaves that out, or says that it is they themselves."""
    if not math.isfinite(scale) or scale == 0 or not math.isfinite(offset) or (scale, offset) == (1, 0):
        return None
    return Scaling("=c16" if dtype.kind == "c" else np.dtype("f8").str, float(scale), float(offset))


def _geometry(
    pixdim: Sequence[float], units: int, forms: Sequence[int], quaternion: Sequence[float], rows: Sequence[float]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Keywords of Grid for t, z, y, x, and what of the orientation they do not tell."""
    steps = [float(step) if step > 0 else 1.0 for step in map(abs, pixdim[1:5])]
    steps[3] *= _SECONDS.get(units & 0x38, 1.0)
    origin = [0.0, 0.0, 0.0]
    notes: tuple[str, ...] = ()
    qform, sform = forms
    turned = False
    if sform > 0:
        matrix = np.array(rows).reshape(3, 4)
        turned = not np.allclose(matrix[:, :3], np.diag(steps[:3]), rtol=1e-4, atol=1e-6 * max(steps[:3]))
        origin = list(map(float, matrix[:, 3]))
    elif qform > 0:
        turned = any(abs(part) > 1e-6 for part in quaternion[:3]) or pixdim[0] < 0
        origin = list(map(float, quaternion[3:]))
    if turned:
        origin = [0.0, 0.0, 0.0]
        notes = ("its axes are turned or mirrored in space, which is not applied: cells are in the order of the file",)
    return linear("tzyx", steps[::-1], [0.0, *origin[::-1]], UNITS.get(units & 7, "")), notes
