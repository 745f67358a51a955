"""TIFF: one series of pages. Uncompressed ones are mapped into memory, others decoded page by page.

What an axis is, the file tells: samples and channels become components, behind the axes of the grid; time and z are
axes of the grid, unless one frame is picked. Palettes become colours, MINISWHITE is turned round and the orientation
tag carried out, as Pillow does.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import tifffile

from mpibatch.errors import RunError, UsageError
from mpibatch.io.formats.source import Array, Selection, Source, native
from mpibatch.io.naming import whole_name

__all__ = ["inspect", "read"]

PICKS = {"frame": "T", "channel": "C"}  # what can be picked, and the letter of its axis
COMPONENTS = "CS"  # axes whose entries are values of one cell, in this order
NAMES = {"T": "t", "Z": "z", "Y": "y", "X": "x"}
# ImageJ's and OME's names of units, where they are not their symbols.
UNITS = {"micron": "µm", "microns": "µm", "um": "µm", "\\u00B5m": "µm", "pixel": "", "pixels": "", "inch": "in"}
LARGEST_GRID = 4  # axes


@dataclass(frozen=True)
class _View:
    """How a series is shown: which of its axes are picked, and in what order the others follow.

    Attributes
    ----------
    axes : letters of the series' axes, in the file's order.
    picks : the index of each picked axis, by its place in `axes`.
    order : places of the other axes as they are shown: those of the grid, then components.
    components : how many of these are components.
    """

    axes: str
    picks: dict[int, int]
    order: tuple[int, ...]
    components: int

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(shape[place] for place in self.order)

    def select(self, selection: Selection) -> tuple[int | slice, ...]:
        """Return the selection in the file's order."""
        parts: dict[int, int | slice] = {**self.picks, **dict(zip(self.order, selection, strict=True))}
        return tuple(parts[place] for place in range(len(self.axes)))

    def show(self, values: Array) -> Array:
        """Return values that were selected in the file's order as they are shown."""
        kept = sorted(self.order)
        return values.transpose([kept.index(place) for place in self.order])


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what a series holds. Local.

    `dataset` is its number, needed only if there are several, or picks: ``"series=0,frame=3,channel=1"``.
    """
    with _opened(path, allow) as file:
        if "external links" not in allow:
            _refuse_files_elsewhere(path, file)
        picks = _picks(path, dataset)
        number = _series_number(path, picks.pop("series", None), len(file.series))
        series = file.series[number]
        if "missing" not in allow:
            _refuse_gaps(path, file, series)
        view = _view(path, series, picks)
        text = ",".join([*([f"series={number}"] if picks else [str(number)]), *(f"{k}={v}" for k, v in picks.items())])
        is_shown = _is_converted(series)
        shape, dtype, components = view.shape(series.shape), native(series.dtype), view.components
        if is_shown:
            shape, dtype, components = _converted_like(series, view)
        boxwise = not is_shown and (series.dataoffset is not None or _page_axes(series) is not None)
        grid = _geometry(file, series, view, len(shape) - components)
        name = text if dataset is not None else ""
        return Source(path, "tiff", name, shape, dtype, components, boxwise, grid=grid, allow=tuple(allow))


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``. Local. Decodes only the pages that the selection meets."""
    with _opened(source.path, source.allow) as file:
        picks = _picks(source.path, source.dataset or None)
        series = file.series[int(picks.pop("series", 0))]
        view = _view(source.path, series, picks)
        if _is_converted(series):
            out[at] = _converted(series, view)[selection]
            return
        chosen, axes = view.select(selection), _page_axes(series)
        if series.dataoffset is not None:
            dtype = series.dtype.newbyteorder(file.byteorder)
            values = np.memmap(source.path, dtype, "r", series.dataoffset, series.shape)[chosen]
        elif axes is None:
            values = series.asarray()[chosen]
        else:
            values = _read_pages(series, axes, chosen)
        out[at] = view.show(values)


def _read_pages(series: Any, axes: int, selection: tuple[int | slice, ...]) -> Array:
    whole = tuple(slice(s, s + 1) if isinstance(s, int) else s for s in selection)
    ranges = [range(*s.indices(n)) for s, n in zip(whole, series.shape, strict=True)]
    values: Array = np.zeros(tuple(map(len, ranges)), series.dtype)
    for place in itertools.product(*(range(len(r)) for r in ranges[:axes])):
        index = tuple(r[i] for r, i in zip(ranges, place, strict=False))
        page = series.pages[int(np.ravel_multi_index(index, series.shape[:axes]))]
        if page is not None:  # a gap that was allowed
            with _file_of(page):
                values[place] = page.asarray().reshape(series.shape[axes:])[whole[axes:]]
    return values[tuple(0 if isinstance(s, int) else slice(None) for s in selection)]


@contextmanager
def _file_of(page: Any) -> Iterator[None]:
    """Have the file of a page open, which may be another than that of the series."""
    handle = page.parent.filehandle
    was_closed = handle.closed
    if was_closed:
        handle.open()
    try:
        yield
    finally:
        if was_closed:
            handle.close()


def _page_axes(series: Any) -> int | None:
    """Return how many leading axes of the series count pages; None if pages do not make up whole indices."""
    pages = len(series.pages)
    inner = math.prod(series.keyframe.shape)
    if pages == 1:
        return None
    for axes in range(1, len(series.shape)):
        if math.prod(series.shape[:axes]) == pages and math.prod(series.shape[axes:]) == inner:
            return axes
    return None


# --- which axes -------------------------------------------------------------------------------------------------


def _picks(path: str, dataset: str | None) -> dict[str, int]:
    """What a dataset's text picks: "1", or "series=1,frame=0,channel=2" in any order."""
    if dataset is None or dataset == "":
        return {}
    picks: dict[str, int] = {}
    for part in [f"series={dataset}"] if "=" not in dataset else dataset.split(","):
        key, _, value = part.strip().partition("=")
        if key not in ("series", *PICKS) or not value.isdecimal() or key in picks:
            raise UsageError(
                f"{dataset!r} of {path!r} was asked for; a TIFF file has series=N, frame=N and channel=N, with whole "
                "numbers from 0 on: give them as FILE::series=0,channel=1, or the number of a series alone"
            )
        picks[key] = int(value)
    return picks


def _series_number(path: str, asked: int | None, count: int) -> int:
    if asked is None and count == 1:
        return 0
    if asked is None or asked >= count:
        raise UsageError(
            f"{'the only series' if asked is None else f'series {asked}'} of {path!r} was asked for, but it has "
            f"{count}; give dataset='0'" + (f" to '{count - 1}'" if count > 1 else "")
        )
    return asked


def _view(path: str, series: Any, picks: dict[str, int]) -> _View:
    axes, places = str(series.axes), {}
    for key, index in picks.items():
        place = axes.find(PICKS[key])
        length = series.shape[place] if place >= 0 else 1
        if index >= length:
            raise UsageError(f"{key} {index} of {path!r} was asked for, but it has {length}; they count from 0")
        if place >= 0:
            places[place] = index
    kept = [place for place in range(len(axes)) if place not in places]
    behind = [axes.index(letter) for letter in COMPONENTS if letter in axes and axes.index(letter) in kept]
    cells = [place for place in kept if place not in behind]
    if len(cells) > LARGEST_GRID:
        have = ", ".join(f"{axes[place]} {series.shape[place]}" for place in cells)
        raise UsageError(f"{path!r} was to be read, but it has {len(cells)} axes ({have}); pick one with frame=0")
    return _View(axes, places, (*cells, *behind), len(behind))


# --- what is not stored as it is shown ----------------------------------------------------------------------------


def _is_converted(series: Any) -> bool:
    page = series.keyframe
    is_inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and np.dtype(series.dtype).kind in "bu"
    return is_inverted or page.photometric == tifffile.PHOTOMETRIC.PALETTE or _orientation(page) > 1


def _orientation(page: Any) -> int:
    tag = page.tags.get("Orientation")
    return int(tag.value) if tag is not None and int(tag.value) in range(1, 9) else 1


def _converted_like(series: Any, view: _View) -> tuple[tuple[int, ...], str, int]:
    """Shape, dtype and components of what `_converted` returns."""
    axes, shape = view.axes, list(view.shape(series.shape))
    if _orientation(series.keyframe) > 4:
        y, x = (view.order.index(axes.index(letter)) for letter in "YX")
        shape[y], shape[x] = shape[x], shape[y]
    if series.keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE:
        return (*shape, 3), "|u1", view.components + 1
    return tuple(shape), native(series.dtype), view.components


def _converted(series: Any, view: _View) -> Array:
    page, whole = series.keyframe, tuple(slice(None) for _ in view.order)
    values = view.show(series.asarray()[view.select(whole)])
    y, x = (view.order.index(view.axes.index(letter)) for letter in "YX")
    number = _orientation(page)
    if number > 4:
        values = values.swapaxes(y, x)
    flips = {2: (x,), 3: (y, x), 4: (y,), 6: (x,), 7: (y, x), 8: (y,)}.get(number, ())
    values = np.flip(values, flips) if flips else values
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        colours: Array = (np.asarray(page.colormap) >> 8).astype("u1").T[values]
        return colours
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and values.dtype.kind in "bu":
        return ~values
    return values


# --- other files, and gaps ----------------------------------------------------------------------------------------


def _files_of(file: Any) -> list[str]:
    """The files that OME metadata say hold planes."""
    if not file.is_ome:
        return []
    try:
        tree = ET.fromstring(file.ome_metadata)
    except ET.ParseError:
        return []
    return sorted({name for node in tree.iter() if (name := node.get("FileName"))})


def _refuse_files_elsewhere(path: str, file: Any) -> None:
    for name in _files_of(file):
        inside = Path(path).parent / name
        if Path(name).is_absolute() or ".." in Path(name).parts or inside.is_symlink():
            raise UsageError(
                f"{path!r} was to be read, but planes of it lie in {name!r}, outside of its folder; copy them "
                'beside it, or give allow=("external links",) if you trust it'
            )


def _refuse_gaps(path: str, file: Any, series: Any) -> None:
    gaps = sum(page is None for page in series.pages)
    if gaps:
        gone = [name for name in _files_of(file) if not (Path(path).parent / name).exists()]
        where = f"the file {gone[0]!r} is missing" if gone else "no file has them"
        more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        raise RunError(
            f"{whole_name(path, '')} was to be read, but {gaps} of its {len(series.pages)} planes are not there: "
            f'{where}{more}; bring it back, or give allow=("missing",) to have zeros in its place'
        )


# --- geometry -----------------------------------------------------------------------------------------------------


def _geometry(file: Any, series: Any, view: _View, ndim: int) -> dict[str, Any]:
    """Keywords of Grid, where ImageJ or OME tell the size of a voxel; {} elsewhere."""
    sizes, units = _ome_sizes(file) if file.is_ome else _imagej_sizes(file)
    letters = [view.axes[place] for place in view.order[:ndim]]
    names = [NAMES.get(letter, "z") for letter in letters]
    if not sizes or len(set(names)) < ndim or _orientation(series.keyframe) > 4:
        return {}
    spacing = tuple(float(sizes.get(letter, 1.0)) for letter in letters)
    return {
        "axes": tuple(names), "spacing": spacing, "origin": (0.0,) * ndim, "periodic": (False,) * ndim, "units": units,
    }  # fmt: skip


def _ome_sizes(file: Any) -> tuple[dict[str, float], str]:
    try:
        tree = ET.fromstring(file.ome_metadata)
    except ET.ParseError:
        return {}, ""
    pixels = next((node for node in tree.iter() if node.tag.endswith("}Pixels")), None)
    if pixels is None:
        return {}, ""
    sizes, units = {}, set()
    for letter in "XYZ":
        size = pixels.get(f"PhysicalSize{letter}")
        if size and float(size) > 0:
            sizes[letter] = float(size)
            units.add(pixels.get(f"PhysicalSize{letter}Unit", "µm"))
    return (sizes, units.pop()) if len(units) == 1 else ({}, "")


def _imagej_sizes(file: Any) -> tuple[dict[str, float], str]:
    about = file.imagej_metadata if file.is_imagej else None
    if not about or not about.get("unit"):
        return {}, ""
    sizes = {}
    for letter, tag in (("X", "XResolution"), ("Y", "YResolution")):
        found = file.pages[0].tags.get(tag)
        if found is not None and found.value[0] > 0:
            sizes[letter] = found.value[1] / found.value[0]
    if float(about.get("spacing", 0) or 0) > 0:
        sizes["Z"] = float(about["spacing"])
    unit = str(about["unit"])
    return sizes, UNITS.get(unit, unit)


class _Heard(logging.Handler):
    """Keeps the messages that tifffile logs as errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _opened(path: str, allow: Sequence[str] = ()) -> Iterator[Any]:
    # tifffile drops pages that it cannot find and only logs it; half a stack must not pass as a whole one.
    heard, log = _Heard(), logging.getLogger("tifffile")
    log.addHandler(heard)
    try:
        with tifffile.TiffFile(path) as file:
            yield file
        errors = [text for text in heard.messages if not ("missing" in allow and "failed to read" in text)]
        if errors:
            raise ValueError(errors[0])
    except (UsageError, RunError):
        raise
    except Exception as error:  # tifffile meets a damaged file with any of a dozen types
        raise RunError(f"{path!r} cannot be read as TIFF ({error}); it is damaged or incomplete") from error
    finally:
        log.removeHandler(heard)
