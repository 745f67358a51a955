"""TIFF: one level of one series of pages. What lies in one piece is read as plain bytes, else by strips or tiles.

The library decodes them; with imagecodecs beside it, whatever they are packed by.
"""

from __future__ import annotations

import itertools
import logging
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from mpibatch.base.errors import RunError, UsageError
from mpibatch.io.base.names import whole_name
from mpibatch.io.formats import raw_values
from mpibatch.io.formats.calibration import grid_of, origin_of, spacing_of
from mpibatch.io.formats.companions import check_companions, check_planes
from mpibatch.io.formats.orientation import View, view_of
from mpibatch.io.formats.picks import parse_picks
from mpibatch.io.formats.pieces.segments import Segments, is_cut_alike
from mpibatch.io.formats.source import Array, Selection, Source, Storage, native

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["inspect", "names", "read"]


def names(path: str) -> list[str]:
    """Return the names of the series, and of the levels of pyramids. Local."""
    with _opened(path) as file:
        counts = [len(series.levels) for series in file.series]
    if counts == [1]:
        return [""]
    levels = [(number, level) for number, count in enumerate(counts) for level in range(count)]
    return [f"series={number}" + (f",level={level}" if level else "") for number, level in levels]


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what a series holds; `dataset` is its number, perhaps with picks (``series=1,channel=2``). Local.

    The axes are those of the field: samples and channels last, turned as the file's orientation says.
    """
    with _opened(path) as file:
        number, series, view = _chosen(path, file, dataset, allow)
        boxwise = series.dataoffset is not None or len(series.pages) > 1 or len(series.keyframe.dataoffsets) > 1
        boxwise = boxwise and _page_axes(series) is not None
        dtype = "|u1" if view.palette is not None else native(series.dtype)
        sizes, unit = spacing_of(file, number, file.series[number].keyframe)
        coarse = _coarsened(sizes, file.series[number], series)
        # The first cell of a level is the middle of those that it stands for.
        places = {a: x + (coarse.get(a, 0.0) - sizes.get(a, 0.0)) / 2 for a, x in origin_of(file, number, unit).items()}
        grid = grid_of(view.names, view.letters, coarse, unit, places)
        return Source(
            path=path,
            format="tiff",
            dataset=dataset or "",
            shape=view.shape,
            dtype=dtype,
            components=view.components,
            boxwise=boxwise,
            grid=grid,
            allow=tuple(allow),
            storage=_flat(file, series, view),
            question="" if view.names else _question(whole_name(path, dataset or ""), series),
        )


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``. Local. Decodes only the pages that the selection meets."""
    if source.storage is not None:
        raw_values.read(source, selection, out, at)
        return
    with _opened(source.path) as file:
        _, series, view = _chosen(source.path, file, source.dataset, source.allow)
        axes, stored, target = _page_axes(series), view.selection(selection), view.stored_view(out[at])
        if axes is None:
            target[...] = view.decoded(series.asarray()[stored])
        else:
            _read_pages(series, axes, stored, view, target)


def _coarsened(sizes: dict[str, float], finest: Any, level: Any) -> dict[str, float]:
    """The sizes of cells of a level, from those of the finest."""
    if level is finest or level.axes != finest.axes:
        return sizes
    factors = {letter: a / b for letter, a, b in zip(level.axes, finest.shape, level.shape, strict=True)}
    return {letter: size * factors.get(letter, 1.0) for letter, size in sizes.items()}


def _flat(file: Any, series: Any, view: View) -> Storage | None:
    """Where the values lie, if that is one piece of plain bytes in this very file."""
    if series.dataoffset is None or any(page.parent is not file for page in series.pages if page is not None):
        return None
    dtype = series.dtype.newbyteorder(file.byteorder)
    end = series.dataoffset + math.prod(series.shape) * dtype.itemsize
    if end > file.filehandle.size:
        raise ValueError(f"its values end at byte {end}, but it has {file.filehandle.size}")
    return Storage(dtype.str, series.dataoffset, view=view)


def _read_pages(series: Any, axes: int, selection: Selection, view: View, target: Array) -> None:
    leading = [range(*s.indices(n)) for s, n in zip(selection, series.shape[:axes], strict=False)]
    for place in itertools.product(*(range(len(r)) for r in leading)):
        index = tuple(r[i] for r, i in zip(leading, place, strict=True))
        page = series.pages[int(np.ravel_multi_index(index, series.shape[:axes]))]
        if page is None:  # missing, and allowed to be
            target[place] = series.keyframe.nodata
        else:
            _fill(target[place], page, series.shape[axes:], selection[axes:], view)


def _fill(target: Array, page: Any, shape: tuple[int, ...], selection: Selection, view: View) -> None:
    """Fill `target` with a part of a page of this shape. It may lie in a companion that tifffile has closed."""
    handle = page.parent.filehandle
    was_closed = handle.closed
    if was_closed:
        handle.open()
    try:
        if not is_cut_alike(page.keyframe, shape):
            target[...] = view.decoded(np.asarray(page.asarray()).reshape(shape)[selection])
            return
        segments = Segments(page)
        # Straight to its place, unless what is stored stands for something else.
        part = segments.selection(shape, selection)
        lengths = [len(range(*s.indices(n))) for s, n in zip(selection, shape, strict=True)]
        values = np.empty(lengths, page.keyframe.dtype) if view.is_coded else target
        raw_values.fill_from(segments, part, segments.stored_view(values, shape))
        if view.is_coded:
            target[...] = view.decoded(values)
    finally:
        if was_closed:
            handle.close()


def _page_axes(series: Any) -> int | None:
    """Return how many leading axes of the series count pages; None if pages do not make up whole indices."""
    pages = len(series.pages)
    inner = math.prod(series.keyframe.shape)
    for axes in range(len(series.shape)):
        if math.prod(series.shape[:axes]) == pages and math.prod(series.shape[axes:]) == inner:
            return axes
    return None


def _chosen(path: str, file: Any, dataset: str | None, allow: Sequence[str]) -> tuple[int, Any, View]:
    """Return the number of a series, the series, and how a field sees it."""
    picks = parse_picks(path, dataset)
    if picks.name and not picks.name.removeprefix("-").isdecimal():
        raise UsageError(f"{dataset!r} names no series of {path!r}; write it as in FILE::series=1,channel=2,frame=0")
    check_companions(path, file, allow)
    number = _series_number(path, picks.series, len(file.series))
    series = file.series[number]
    if not 0 <= (level := picks.level or 0) < len(series.levels):
        most = f"give level=0 to {len(series.levels) - 1}" if len(series.levels) > 1 else "it has no pyramid"
        raise UsageError(f"{path!r} has no level {level} of series {number}; {most}")
    series = series.levels[level]
    check_planes(path, series, allow)
    page = series.keyframe
    orientation = page.tags.get("Orientation")
    turned = int(orientation.value) if orientation is not None else 1
    palette = white = None
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None and series.dtype.kind in "bu":
        palette = (np.asarray(page.colormap) >> 8).astype("u1").T  # as other readers make bytes of them
    elif page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and series.dtype.kind in "bu":
        white = (1 << int(page.bitspersample)) - 1
    name = whole_name(path, dataset or "")
    return number, series, view_of(name, series.axes, tuple(series.shape), picks.axes, turned, palette, white)


def _question(name: str, series: Any) -> str:
    axes = ", ".join(f"{letter} ({cells})" for letter, cells in zip(series.axes, series.shape, strict=True))
    first = next(letter for letter in series.axes if letter not in "TZYXCS").lower()
    return (
        f"cannot load {name}: its axes {axes} are not all time, space or channels; say what they are: axes= "
        f'names those of the grid, such as ("{first}", "z", "y", "x") ([grid] axes in a job), and '
        f"{name.partition('::')[0]}::{first}=0 takes one index only"
    )


def _series_number(path: str, number: int | None, count: int) -> int:
    if number is None and count == 1:
        return 0
    if number is None or not 0 <= number < count:
        raise UsageError(
            f"{path!r} has {count} series{'' if number is None else f' and no series {number}'}; "
            "give dataset='0'" + (f" to '{count - 1}'" if count > 1 else "")
        )
    return number


class _Heard(logging.Handler):
    """Keeps the messages that tifffile logs as errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    # tifffile drops pages that it cannot find and only logs it; half a stack must not pass as a whole one.
    heard, log = _Heard(), logging.getLogger("tifffile")
    log.addHandler(heard)
    try:
        with tifffile.TiffFile(path) as file:
            yield file
        if heard.messages:
            raise ValueError(heard.messages[0])
    except (UsageError, RunError):
        raise
    except Exception as error:
        if "imagecodecs" in str(error):
            raise UsageError(
                f"cannot read {path!r}: it is packed in a way that needs imagecodecs ({error}); pip install "
                "'mpibatch[formats]'"
            ) from error
        # tifffile meets a damaged file with any of a dozen types
        raise RunError(f"{path!r} cannot be read as TIFF ({error}); it is damaged or incomplete") from error
    finally:
        log.removeHandler(heard)
