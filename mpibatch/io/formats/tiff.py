"""TIFF: one series of pages. Uncompressed ones are mapped into memory, others decoded page by page."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tifffile

from mpibatch.errors import RunError, UsageError
from mpibatch.io.formats.source import Array, Selection, Source, native

__all__ = ["inspect", "read"]


def inspect(path: str, dataset: str | None) -> Source:
    """Tell what a series holds; `dataset` is its number, needed only if there are several. Local."""
    with _opened(path) as file:
        number = _series_number(path, dataset, len(file.series))
        series = file.series[number]
        boxwise = series.dataoffset is not None or _page_axes(series) is not None
        name = str(number) if dataset is not None else ""
        return Source(
            path, "tiff", name, tuple(series.shape), native(series.dtype), int(series.axes.endswith("S")), boxwise
        )


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``. Local. Decodes only the pages that the selection meets."""
    with _opened(source.path) as file:
        series = file.series[int(source.dataset or 0)]
        axes = _page_axes(series)
        if series.dataoffset is not None:
            dtype = series.dtype.newbyteorder(file.byteorder)
            out[at] = np.memmap(source.path, dtype, "r", series.dataoffset, series.shape)[selection]
        elif axes is None:
            out[at] = series.asarray()[selection]
        else:
            _read_pages(series, axes, selection, out[at])


def _read_pages(series: Any, axes: int, selection: Selection, out: Array) -> None:
    leading = [range(*s.indices(n)) for s, n in zip(selection, series.shape[:axes], strict=False)]
    for place in itertools.product(*(range(len(r)) for r in leading)):
        index = tuple(r[i] for r, i in zip(leading, place, strict=True))
        page = series.pages[int(np.ravel_multi_index(index, series.shape[:axes]))]
        out[place] = page.asarray().reshape(series.shape[axes:])[selection[axes:]]


def _page_axes(series: Any) -> int | None:
    """Return how many leading axes of the series count pages; None if pages do not make up whole indices."""
    pages = len(series.pages)
    inner = math.prod(series.keyframe.shape)
    if pages == 1 or any(page is None for page in series.pages):
        return None
    for axes in range(1, len(series.shape)):
        if math.prod(series.shape[:axes]) == pages and math.prod(series.shape[axes:]) == inner:
            return axes
    return None


def _series_number(path: str, dataset: str | None, count: int) -> int:
    if dataset is None and count == 1:
        return 0
    if dataset is None or not dataset.isdecimal() or int(dataset) >= count:
        raise UsageError(
            f"{'the only series' if dataset is None else f'series {dataset!r}'} of {path!r} was asked for, but it has "
            f"{count}; give dataset='0'" + (f" to '{count - 1}'" if count > 1 else "")
        )
    return int(dataset)


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
    except Exception as error:  # tifffile meets a damaged file with any of a dozen types
        raise RunError(f"{path!r} cannot be read as TIFF ({error}); it is damaged or incomplete") from error
    finally:
        log.removeHandler(heard)
