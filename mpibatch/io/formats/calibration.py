"""The size of a TIFF's cells, as ImageJ, OME and the resolution tags tell it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["grid_of", "origin_of", "spacing_of"]

_MICRON = "um"
_NAMES = {
    "µm": _MICRON, "μm": _MICRON, "\\u00b5m": _MICRON, "micron": _MICRON, "microns": _MICRON, "in": "inch",
    "å": "angstrom", "reference frame": "",
}  # fmt: skip
_METERS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, _MICRON: 1e-6, "nm": 1e-9, "pm": 1e-12, "km": 1e3, "inch": 0.0254}
_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "min": 60.0, "h": 3600.0, "hr": 3600.0}
_TAG_UNITS = {2: "inch", 3: "cm"}

Sizes = dict[str, float]


def grid_of(
    names: tuple[str, ...], letters: str, sizes: Mapping[str, float], unit: str, places: Mapping[str, float]
) -> dict[str, Any]:
    """Return the keywords of Grid for axes with these names, stored under `letters`. Local.

    `sizes` are those of cells, and `places` where the first one is, by axis.

    A grid has one unit of length, so sizes count only if all axes of space have one. Time is in seconds, if told.
    """
    letters = "".join(letter if letter in "TYX" else "Z" for letter in letters)
    is_told = all(letter in sizes for letter in letters if letter != "T")
    is_usual = "tzyx".endswith("".join(names))
    if not names or (is_usual and not is_told and not ("T" in letters and "T" in sizes)):
        return {}
    spacing = tuple(sizes.get(letter, 1.0) if is_told or letter == "T" else 1.0 for letter in letters)
    return {
        "axes": names,
        "origin": tuple(places.get(letter, 0.0) if is_told else 0.0 for letter in letters),
        "periodic": (False,) * len(names),
        "spacing": spacing,
        "units": unit if is_told and spacing else "",
    }


def spacing_of(file: Any, number: int, page: Any) -> tuple[Sizes, str]:
    """Return the size of a cell along axes (Z, Y, X in one unit; T in seconds), as far as told, and the unit. Local."""
    if file.is_ome:
        return _of_ome(file, number)
    sizes = {axis: size for axis, tag in (("Y", "YResolution"), ("X", "XResolution")) if (size := _tag(page, tag))}
    if not file.is_imagej:
        tag = page.tags.get("ResolutionUnit")
        unit = _TAG_UNITS.get(int(tag.value) if tag is not None else 0, "")
        return (sizes, unit) if unit else ({}, "")
    about = file.imagej_metadata or {}
    spacings = {"Z": about.get("spacing"), "T": about.get("finterval")}
    sizes |= {axis: value for axis, given in spacings.items() if (value := _positive(given))}
    unit = _unit(str(about.get("unit", "")))
    return sizes, "" if unit.startswith("pixel") else unit


def origin_of(file: Any, number: int, unit: str) -> Sizes:
    """Return where the first cell is along axes of space, as far as OME tells it in this very unit. Local."""
    pixels = _pixels(file, number) if file.is_ome else None
    for plane in pixels if pixels is not None else ():
        about = plane.attrib
        if plane.tag.rpartition("}")[2] != "Plane" or any(about.get(key) != "0" for key in ("TheZ", "TheC", "TheT")):
            continue
        places = {axis: about.get(f"Position{axis}") for axis in "XYZ"}
        known = {axis: _finite(text) for axis, text in places.items() if text is not None}
        units = {_unit(about.get(f"Position{axis}Unit", "reference frame")) for axis in known}
        return known if units == {unit} else {}
    return {}


def _pixels(file: Any, number: int) -> Any:
    """OME's element of a series, None if there is none."""
    try:
        root = ET.fromstring(file.ome_metadata)
    except (ET.ParseError, TypeError):
        return None
    pixels = [element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"]
    # Images without planes are left out, and which is which is not known.
    return pixels[number] if len(pixels) == len(file.series) else None


def _of_ome(file: Any, number: int) -> tuple[Sizes, str]:
    pixels = _pixels(file, number)
    if pixels is None:
        return {}, ""
    about, sizes, unit = pixels.attrib, Sizes(), ""
    for axis in "XYZ":
        size, own = _positive(about.get(f"PhysicalSize{axis}")), _unit(about.get(f"PhysicalSize{axis}Unit", _MICRON))
        unit = unit or (own if size else "")
        if size and own == unit:
            sizes[axis] = size
        elif size and own in _METERS and unit in _METERS:
            sizes[axis] = size * (_METERS[own] / _METERS[unit])
    interval, scale = _positive(about.get("TimeIncrement")), _SECONDS.get(about.get("TimeIncrementUnit", "s"))
    if interval and scale:
        sizes["T"] = interval * scale
    return sizes, unit


def _unit(text: str) -> str:
    return _NAMES.get(text.strip().lower(), text.strip())


def _positive(value: Any) -> float:
    """The value as a size; 0 if it is none."""
    try:
        size = float(value)
    except (TypeError, ValueError):
        return 0.0
    return size if math.isfinite(size) and size > 0 else 0.0


def _finite(value: Any) -> float:
    """The value as a place; 0 if it is none."""
    try:
        place = float(value)
    except (TypeError, ValueError):
        return 0.0
    return place if math.isfinite(place) else 0.0


def _tag(page: Any, name: str) -> float:
    tag = page.tags.get(name)
    if tag is None:
        return 0.0
    try:
        count, whole = tag.value
        return _positive(whole / count)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
