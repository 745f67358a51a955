"""What HDF5 files of others say of their datasets, beside the values: NeXus, and netCDF with the CF conventions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from mpibatch.io.base.marks import views

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["default_signal", "from_coordinates", "notes_of", "plain"]

ATTRIBUTE_VALUES = 64  # of longer attributes only the shape is told

DEPTH = 8  # groups on the way to the default signal
EVEN = 1e-4  # how far steps of a coordinate may differ, as a part of them, and still be even
LARGEST = 1 << 20  # a longer axis is not read for its spacing
# Attributes that say what the values mean and are not applied.
UNAPPLIED = ("scale_factor", "add_offset", "_FillValue", "missing_value", "valid_range", "valid_min", "valid_max")


def default_signal(file: Any) -> str | None:
    """Return the name of the dataset that NeXus shows by default, None if the file does not tell. Local.

    Not of our own files, where the largest dataset is shown, and which one is meant must be said.
    """
    if views(file.attrs):
        return None
    group = file
    for _ in range(DEPTH):
        signal, name = _text(group.attrs.get("signal")), _text(group.attrs.get("default"))
        if signal and isinstance(group.get(signal), h5py.Dataset):
            return f"{group.name}/{signal}".strip("/")
        if not name or not isinstance(group.get(name), h5py.Group):
            return None
        group = group[name]
    return None


def plain(value: Any, *, is_whole: bool = False) -> Any:
    """Return a value of HDF5 or NumPy as JSON knows it: texts, numbers, and lists of them. Local.

    Of long ones the shape alone, and what is not finite as text, unless `is_whole`: to be used, and not only shown.
    """
    if isinstance(value, np.ndarray) and value.size > ATTRIBUTE_VALUES and not is_whole:
        return f"(array of shape {value.shape})"
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()  # bytes, str and complex are NumPy's scalars, too
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list | tuple):
        return [plain(item, is_whole=is_whole) for item in value]
    if isinstance(value, float) and not (is_whole or math.isfinite(value)):
        return str(value)  # JSON has no such number
    return value if isinstance(value, str | int | float | bool) else str(value)


def notes_of(dataset: Any) -> tuple[str, ...]:
    """Return what the file says of a dataset's values that reading does not apply. Local."""
    if "grid_axes" in dataset.attrs:
        return ()
    values = {name: np.asarray(dataset.attrs[name]) for name in UNAPPLIED if name in dataset.attrs}
    settings = [f"{name} = {v.item() if v.size == 1 else v.tolist()}" for name, v in values.items()]
    if not settings:
        return ()
    return (f"its attributes {', '.join(settings)} are not applied: these are the values as stored",)


def from_coordinates(dataset: Any) -> dict[str, Any]:
    """Return keywords of Grid from coordinates of evenly spaced cells, as netCDF and NeXus have them. Local.

    {} unless every axis has such coordinates, with names that differ and one unit.
    """
    if not 1 <= dataset.ndim <= 4 or dataset.shape is None:
        return {}
    try:
        lines = list(_lines(dataset))
    except (KeyError, OSError, RuntimeError, TypeError, ValueError):
        return {}
    if len(lines) != dataset.ndim or len({name for name, *_ in lines}) != dataset.ndim:
        return {}
    units = {unit for *_, unit in lines}
    return {
        "axes": tuple(name for name, *_ in lines),
        "origin": tuple(first for _, first, *_ in lines),
        "spacing": tuple(step for *_, step, _ in lines),
        "periodic": (False,) * dataset.ndim,
        "units": units.pop() if len(units) == 1 else "",
    }


def _lines(dataset: Any) -> Iterator[tuple[str, float, float, str]]:
    """Yield (name, first, step, unit) of each axis, as far as it has even coordinates."""
    parent = dataset.parent
    listed = parent.attrs.get("axes")
    nexus = [_text(name) for name in np.atleast_1d(listed)] if listed is not None else []
    for axis, length in enumerate(dataset.shape):
        scales = list(dataset.dims[axis].values()) if "DIMENSION_LIST" in dataset.attrs else []
        line = scales[0] if scales else parent.get(nexus[axis]) if len(nexus) == dataset.ndim else None
        if not isinstance(line, h5py.Dataset) or line.ndim != 1 or not 2 <= length <= LARGEST:
            return
        values = np.asarray(line[: length + 2], "f8")
        if len(values) == length + 1:  # the edges of bins, as NeXus has them for histograms
            values = (values[1:] + values[:-1]) / 2
        if len(values) != length:
            return
        steps = np.diff(values)
        step = (values[-1] - values[0]) / (length - 1)
        if not (np.isfinite(step) and step > 0 and np.all(np.abs(steps - step) <= EVEN * step)):
            return
        yield line.name.rpartition("/")[2], float(values[0]), float(step), _text(line.attrs.get("units"))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""
