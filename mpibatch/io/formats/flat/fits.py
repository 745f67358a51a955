"""FITS images, in the file's own order of axes (the last runs fastest), as astropy has them.

Each image is named by its extension (``SCI``, ``SCI,2``), or by its number from 0. Images in tiles are read by
`fits_tiles`.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError, nearest
from mpibatch.io.base.names import whole_name
from mpibatch.io.formats import raw_values
from mpibatch.io.formats.flat.arrays import Flat, Header, linear
from mpibatch.io.formats.source import Array, Scaling, Selection, Source, native

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["BLOCK", "CARD", "DTYPES", "inspect", "names", "read"]

BLOCK, CARD = 2880, 80
MOST_CARDS, MOST_UNITS = 100_000, 10_000
DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_VALUE = re.compile(r"\s*('(?:[^']|'')*'|[^/]*)")


@dataclass(frozen=True)
class _Unit:
    """One header, and the byte at which its data begin."""

    number: int
    offset: int
    cards: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return str(self.cards.get("EXTNAME", "")).strip()

    @property
    def version(self) -> int:
        version = self.cards.get("EXTVER", 1)
        return version if isinstance(version, int) else 1

    @property
    def is_tiled(self) -> bool:
        return self.cards.get("ZIMAGE") is True

    @property
    def axes(self) -> tuple[int, ...]:
        """Lengths in the order of NumPy."""
        return tuple(self.whole(f"NAXIS{n}") for n in range(self.whole("NAXIS"), 0, -1))

    @property
    def is_image(self) -> bool:
        kind = self.cards.get("XTENSION", "IMAGE")
        plain = str(kind).strip() in ("IMAGE", "IUEIMAGE") and self.cards.get("GROUPS") is not True
        return self.is_tiled or (plain and math.prod(self.axes or (0,)) > 0)

    def whole(self, key: str, usual: int | None = None) -> int:
        value = self.cards.get(key, usual)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"header {self.number} says {key} = {value!r}")
        return value

    def real(self, key: str, usual: float) -> float:
        value = self.cards.get(key, usual)
        return float(value) if isinstance(value, int | float) else usual

    def nbytes(self) -> int:
        """Bytes of the data, without what fills up the last block."""
        axes = self.axes
        if self.cards.get("GROUPS") is True and axes and axes[-1] == 0:
            axes = axes[:-1]
        cells = math.prod(axes) if axes else 0
        if (bits := self.cards.get("BITPIX")) not in DTYPES:
            raise ValueError(f"header {self.number} says BITPIX = {bits!r}")
        return abs(int(bits)) // 8 * self.whole("GCOUNT", 1) * (self.whole("PCOUNT", 0) + cells)


def names(path: str) -> list[str]:
    """Return the names of the images. Local."""
    return [_name(unit, units) for units in [_units(path)] for unit in units if unit.is_image] or [""]


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what an image holds; without a name, the only one. Local."""
    units = _units(path)
    unit = _chosen(path, units, dataset)
    with Header(path, "FITS"):
        if unit.is_tiled:
            ndim = unit.whole("ZNAXIS")
            shape = tuple(unit.whole(f"ZNAXIS{n}") for n in range(ndim, 0, -1))
            dtype = np.dtype(DTYPES[unit.cards["ZBITPIX"]])
            scaling, about = _scaling(unit, dtype), {"unit": unit.number}
            values = native(dtype) if scaling is None else scaling.dtype
            return Source(path, "fits", dataset or "", shape, values, grid=_grid(unit, ndim), attrs=about)
        dtype = np.dtype(DTYPES[unit.cards["BITPIX"]])
        return Flat(
            path, "fits", unit.axes, dtype, unit.offset, dataset=dataset or "", scaling=_scaling(unit, dtype),
            grid=_grid(unit, len(unit.axes)), allow=allow,
        ).source()  # fmt: skip


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``. Local."""
    if source.storage is not None:
        raw_values.read(source, selection, out, at)
        return
    from mpibatch.io.formats.pieces import fits_tiles

    fits_tiles.read(source, selection, out, at)


def _chosen(path: str, units: Sequence[_Unit], dataset: str | None) -> _Unit:
    images = [unit for unit in units if unit.is_image]
    known = [_name(unit, units) for unit in images]
    if not dataset:
        if len(images) == 1:
            return images[0]
        words = f"{len(images)} images: {', '.join(known)}; name one" if images else "no image to read"
        raise UsageError(f"{path!r} has {words}")
    text = dataset.strip().upper()
    name, _, version = text.rpartition(",") if "," in text else (text, "", "1")
    for unit in images:
        if text == str(unit.number) or (unit.name.upper() == name.strip() and str(unit.version) == version.strip()):
            return unit
    if text.isdecimal() and int(text) < len(units):
        raise UsageError(f"cannot read {whole_name(path, dataset)}: it is not an image; these are: {', '.join(known)}")
    raise UsageError(f"{path!r} has no image {dataset!r}{nearest(dataset, known)}")


def _name(unit: _Unit, units: Sequence[_Unit]) -> str:
    """Its name, with a version where one alone would mean another; its number if it has no name."""
    same = [other for other in units if other.name.upper() == unit.name.upper()]
    if not unit.name or [other.version for other in same].count(unit.version) > 1:
        return str(unit.number)
    return unit.name if unit.version == 1 else f"{unit.name},{unit.version}"


def _units(path: str) -> list[_Unit]:
    """All headers of a file, without reading data."""
    units: list[_Unit] = []
    with Header(path, "FITS"), open(path, "rb") as file:
        size, place = os.fstat(file.fileno()).st_size, 0
        while place < size and len(units) < MOST_UNITS:
            file.seek(place)
            if units and file.read(8) != b"XTENSION":
                break  # what stands behind the last one is nobody's
            file.seek(place)
            cards = dict(_cards(file))
            offset = file.tell()
            unit = _Unit(len(units), offset, cards)
            units.append(unit)
            place = offset + -(-unit.nbytes() // BLOCK) * BLOCK
    return units


def _cards(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a header, and leave the file behind it."""
    for number in range(MOST_CARDS):
        if number % (BLOCK // CARD) == 0:
            block = file.read(BLOCK)
            if len(block) < BLOCK:
                raise ValueError("it ends within a header")
        begin = number % (BLOCK // CARD) * CARD
        card = block[begin : begin + CARD].decode("latin1")
        key = card[:8].rstrip()
        if key == "END":
            return
        if card[8:10] == "= ":
            yield key, _value(card[10:])
    raise ValueError("a header of it does not end")


def _value(text: str) -> Any:
    match = _VALUE.match(text)
    word = match[1].strip() if match else ""
    if word.startswith("'"):
        return word[1:-1].replace("''", "'").rstrip()
    if word in ("T", "F"):
        return word == "T"
    for kind in (int, float):
        try:
            return kind(word.replace("D", "E"))
        except ValueError:
            continue
    return word


def _scaling(unit: _Unit, dtype: np.dtype[Any]) -> Scaling | None:
    """What the numbers stand for, in astropy's dtypes."""
    scale, zero, blank = unit.real("BSCALE", 1.0), unit.real("BZERO", 0.0), unit.cards.get("BLANK")
    bits = 8 * dtype.itemsize
    if not isinstance(blank, int) or isinstance(blank, bool) or dtype.kind == "f":
        blank = None
    if not (math.isfinite(scale) and math.isfinite(zero)):
        raise ValueError(f"it says BSCALE = {scale} and BZERO = {zero}")
    if (scale, zero) == (1.0, 0.0) and blank is None:
        return None
    half = 128.0 if bits == 8 else float(1 << (bits - 1))
    if dtype.kind != "f" and scale == 1.0 and zero == (-half if bits == 8 else half):
        return Scaling(np.dtype(f"i{dtype.itemsize}" if bits == 8 else f"u{dtype.itemsize}").str, is_toggled=True)
    wide = dtype.itemsize if dtype.kind == "f" else 4 if bits <= 16 else 8
    return Scaling(np.dtype(f"f{wide}").str, scale, zero, blank)


def _grid(unit: _Unit, ndim: int) -> dict[str, Any]:
    """Keywords of Grid where the file says that positions are even steps along its axes; not on the sky."""
    if not 1 <= ndim <= 4 or any(re.match(r"(PC|CD)\d+_\d+", key) for key in unit.cards):
        return {}
    places = range(ndim, 0, -1)
    if not any(f"CDELT{n}" in unit.cards for n in places) or any(
        "-" in str(unit.cards.get(f"CTYPE{n}", "")) for n in places
    ):
        return {}
    steps = [unit.real(f"CDELT{n}", 1.0) for n in places]
    first = [
        unit.real(f"CRVAL{n}", 0.0) + (1 - unit.real(f"CRPIX{n}", 0.0)) * unit.real(f"CDELT{n}", 1.0) for n in places
    ]
    units = {str(unit.cards.get(f"CUNIT{n}", "")) for n in places}
    return linear("tzyx"[-ndim:], steps, first, units.pop() if len(units) == 1 else "")
