"""Images in OME-Zarr's metadata (NGFF 0.1 to 0.5): axes, levels of a pyramid, sizes and places of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.io.formats.flat.arrays import linear

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["UNITS", "Image", "PyramidLevel", "images_of"]

UNITS = {
    "micrometer": "um", "nanometer": "nm", "millimeter": "mm", "centimeter": "cm", "meter": "m", "angstrom": "angstrom",
    "picometer": "pm", "kilometer": "km", "inch": "inch",
}  # fmt: skip
_SECONDS = {"second": 1.0, "millisecond": 1e-3, "microsecond": 1e-6, "minute": 60.0, "hour": 3600.0}
_USUAL = "tczyx"  # before version 0.3


@dataclass(frozen=True)
class PyramidLevel:
    """One array of a pyramid: its path from the image's group, and the size and place of a cell along each axis."""

    path: str
    scale: tuple[float, ...]
    origin: tuple[float, ...]


@dataclass(frozen=True)
class Image:
    """Axes by letter, their units, and levels, the finest first; its name, "" if it has none."""

    letters: str
    units: tuple[str, ...]
    levels: tuple[PyramidLevel, ...]
    name: str = ""

    def grid(self, level: int) -> dict[str, Any]:
        """Return the keywords of Grid for the axes of time and space of a level. Local."""
        at = [n for n, letter in enumerate(self.letters) if letter in "TZYX"]
        units = {self.units[n] for n in at if self.letters[n] != "T"}
        unit = units.pop() if len(units) == 1 else ""
        seconds = [_SECONDS.get(self.units[n], 1.0) if self.letters[n] == "T" else 1.0 for n in at]
        chosen = self.levels[level]
        spacing = [chosen.scale[n] * second for n, second in zip(at, seconds, strict=True)]
        origin = [chosen.origin[n] * second for n, second in zip(at, seconds, strict=True)]
        return linear([self.letters[n].lower() for n in at], spacing, origin, UNITS.get(unit, unit))


def images_of(attributes: Mapping[str, Any]) -> list[Image]:
    """Return the images of a group. Local. Raises what a damaged text leads to: ValueError, TypeError, KeyError."""
    about = attributes.get("ome", attributes)
    listed = about.get("multiscales", ()) if isinstance(about, dict) else ()
    return [_image(entry) for entry in listed]


def _image(entry: Mapping[str, Any]) -> Image:
    axes = [axis if isinstance(axis, dict) else {"name": str(axis)} for axis in entry.get("axes") or _USUAL]
    letters = "".join(_letter(axis) for axis in axes)
    units = tuple(str(axis.get("unit", "")) for axis in axes)
    whole = _transformed(entry.get("coordinateTransformations") or (), len(axes))
    levels = []
    for described in entry["datasets"]:
        path = str(described["path"]).strip("/")
        if ".." in path.split("/") or not path:
            raise ValueError(f"a level of its image lies at {path!r}")
        scale, origin = _transformed(described.get("coordinateTransformations") or (), len(axes))
        levels.append(
            PyramidLevel(
                path,
                tuple(a * b for a, b in zip(scale, whole[0], strict=True)),
                tuple(o * b + p for o, b, p in zip(origin, whole[0], whole[1], strict=True)),
            )
        )
    if not levels:
        raise ValueError("its image has no levels")
    return Image(letters, units, tuple(levels), str(entry.get("name") or ""))


def _letter(axis: Mapping[str, Any]) -> str:
    kind, name = axis.get("type", ""), str(axis["name"])
    usual = {"time": "T", "channel": "C"}.get(kind, name[:1].upper())
    return usual if len(usual) == 1 and usual.isalpha() else "Q"


def _transformed(steps: Sequence[Mapping[str, Any]], ndim: int) -> tuple[list[float], list[float]]:
    """The scale and the translation of steps that are carried out one after the other."""
    scale, origin = [1.0] * ndim, [0.0] * ndim
    for step in steps:
        numbers = [float(number) for number in step.get(step["type"], ())]
        if step["type"] in ("scale", "translation") and len(numbers) != ndim:
            raise ValueError(f"a {step['type']} of its image has {len(numbers)} numbers for {ndim} axes")
        if step["type"] == "scale":
            scale = [a * b for a, b in zip(scale, numbers, strict=True)]
            origin = [a * b for a, b in zip(origin, numbers, strict=True)]
        elif step["type"] == "translation":
            origin = [a + b for a, b in zip(origin, numbers, strict=True)]
    return scale, origin
