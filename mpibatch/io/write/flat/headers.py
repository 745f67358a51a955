"""What stands before the values in FITS, NIfTI and npy files, with the grid's geometry where the format has a place."""

from __future__ import annotations

import io
import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io.formats.flat.fits import BLOCK, CARD
from mpibatch.io.formats.flat.fits import DTYPES as FITS_DTYPES
from mpibatch.io.formats.flat.nifti import DTYPES as NIFTI_DTYPES
from mpibatch.io.formats.flat.nifti import LAYOUTS, UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid

__all__ = [
    "LONGEST_TEXT",
    "check_cards",
    "fits",
    "fits_dtype",
    "fits_of_many",
    "is_toggled",
    "nifti",
    "nifti_dtype",
    "npy",
    "packed",
    "zero_of",
]

KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")
# Keywords that say how the values are stored, or where they lie.
OURS = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|EXTNAME|END|"
    r"(CTYPE|CRPIX|CRVAL|CDELT|CUNIT)\d+|(PC|CD)\d+_\d+"
)
LONGEST_TEXT = 68  # of a card's value
NIFTI_1_MOST = 2**15 - 1  # cells along an axis
ALIGNED = 2  # NIfTI's code for positions in a space of the user's


def fits_dtype(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the dtype that FITS stores values of `dtype` as; None if there is none. Local."""
    if dtype.kind in "ui" and dtype.itemsize > 1:
        return np.dtype(f">i{dtype.itemsize}")
    if dtype.kind in "biu":
        return np.dtype("u1")
    return np.dtype(f">f{dtype.itemsize}") if dtype in (np.float32, np.float64) else None


def fits(u: Field, name: str, attrs: Mapping[str, Any], *, is_extension: bool = False) -> bytes:
    """Return the header of an image, which the file begins with, or which is an extension. Local."""
    dtype = fits_dtype(u.dtype)
    assert dtype is not None
    code = next(code for code, text in FITS_DTYPES.items() if np.dtype(text) == dtype)
    ndim = u.grid.ndim
    cards: list[tuple[str, Any]] = [("XTENSION", "IMAGE") if is_extension else ("SIMPLE", True), ("BITPIX", code)]
    cards += [("NAXIS", ndim), *((f"NAXIS{n + 1}", cells) for n, cells in enumerate(reversed(u.shape)))]
    cards += [("PCOUNT", 0), ("GCOUNT", 1)] if is_extension else [("EXTEND", True)]
    if is_toggled(u.dtype):
        cards += [("BSCALE", 1), ("BZERO", zero_of(u.dtype))]
    cards += [("EXTNAME", name), *_positions(u.grid), *attrs.items()]
    return packed(cards)


def fits_of_many(attrs: Mapping[str, Any]) -> bytes:
    """Return the header of a FITS file that has all its images in extensions. Local."""
    return packed([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True), *attrs.items()])


def is_toggled(dtype: np.dtype[Any]) -> bool:
    """Whether FITS has this type of integers as the other one, shifted by half of its range. Local."""
    return dtype == np.int8 or (dtype.kind == "u" and dtype.itemsize > 1)


def zero_of(dtype: np.dtype[Any]) -> int:
    """Return what is to be added to toggled integers for those they stand for. Local."""
    half = 1 << (8 * dtype.itemsize - 1)
    return -half if dtype.kind == "i" else half


def check_cards(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as FITS has them. Local. UsageError."""
    cards = {}
    for given, value in attrs.items():
        key = given.upper()
        plain = value.item() if isinstance(value, np.generic) else value
        if not KEYWORD.fullmatch(key) or OURS.fullmatch(key):
            raise UsageError(
                f"attribute {given!r} cannot be a keyword of FITS; use up to 8 letters, digits, - and _, and no "
                "keyword that says how the values are stored"
            )
        is_text = isinstance(plain, str) and plain.isascii() and plain.isprintable()
        if not (isinstance(plain, bool | int | float) or is_text) or len(_value(plain)) > CARD - 10:
            raise UsageError(
                f"attribute {given!r} is {value!r}; in a FITS file give a finite number, or up to {LONGEST_TEXT} "
                "characters of ASCII"
            )
        if isinstance(plain, float) and not np.isfinite(plain):
            raise UsageError(f"attribute {given!r} is {value!r}; in a FITS file give a finite number")
        cards[key] = plain
    return cards


def _positions(grid: Grid) -> Iterator[tuple[str, Any]]:
    """Where cells lie: even steps along each axis, of which FITS counts the fastest first."""
    for n, axis in enumerate(range(grid.ndim - 1, -1, -1), 1):
        yield f"CTYPE{n}", grid.axes[axis].upper() if grid.axes[axis].isascii() else f"AXIS{n}"
        yield f"CRPIX{n}", 1.0
        yield f"CRVAL{n}", grid.origin[axis]
        yield f"CDELT{n}", grid.spacing[axis]
        if grid.units and (unit := grid.units.replace("µ", "u").replace("μ", "u")).isascii():
            yield f"CUNIT{n}", unit


def packed(cards: Sequence[tuple[str, Any]]) -> bytes:
    """Return the header of these (keyword, value). Local."""
    # The fixed format: a text begins in column 11, all else ends in column 30.
    words = ((key, f"{_value(value):{'<' if isinstance(value, str) else '>'}20}") for key, value in cards)
    text = "".join(f"{key:<8}= {word}".ljust(CARD) for key, word in words) + "END".ljust(CARD)
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, str):
        return "'" + value.replace("'", "''").ljust(8) + "'"
    return repr(value).upper()


def nifti_dtype(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the dtype that NIfTI stores values of `dtype` as; None if there is none. Local."""
    if dtype.kind == "b":
        return np.dtype("u1")
    return dtype.newbyteorder("<") if dtype.str[1:] in NIFTI_DTYPES.values() else None


def nifti(u: Field) -> bytes:
    """Return the header of a single file: NIfTI-1, or NIfTI-2 if an axis is too long for it. Local."""
    dtype = nifti_dtype(u.dtype)
    assert dtype is not None
    code = next(code for code, text in NIFTI_DTYPES.items() if text == dtype.str[1:])
    size = 348 if max(u.shape) <= NIFTI_1_MOST else 540
    at = LAYOUTS[size]
    head = bytearray(size + 4)  # and no extensions

    def put(where: tuple[int, str], *values: Any) -> None:
        struct.pack_into("<" + where[1], head, where[0], *values)

    grid, ndim = u.grid, u.grid.ndim
    steps = [*reversed(grid.spacing), *[1.0] * (7 - ndim)]
    zeros = [*reversed(grid.origin), 0.0, 0.0, 0.0][:3]
    put((0, "i"), size)
    put(at.dim, ndim, *reversed(u.shape), *[1] * (7 - ndim))
    put(at.datatype, code)
    put((at.datatype[0] + 2, "h"), 8 * dtype.itemsize)
    put(at.pixdim, 1.0, *steps)
    put(at.offset, len(head))
    put(at.scale, 1.0, 0.0)
    put(at.forms, 0, ALIGNED)
    rows = [[steps[n] if n == m else 0.0 for m in range(3)] + [zeros[n]] for n in range(3)]
    put(at.rows, *(value for row in rows for value in row))
    unit = grid.units.replace("µ", "u").replace("μ", "u")
    put(at.units, {text: number for number, text in UNITS.items()}.get(unit, 0))
    if size == 348:
        head[344:348] = b"n+1\0"
    else:
        head[4:12] = b"n+2\0\r\n\x1a\n"
    return bytes(head)


def npy(u: Field) -> bytes:
    """Return the header of an array in C order. Local."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": u.dtype.str, "fortran_order": False, "shape": u.shape})
    return file.getvalue()
