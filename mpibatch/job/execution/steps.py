"""What a step makes of the fields that it reads; and steps that a Python program would write as an expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch import filters
from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field
from mpibatch.io.base.geometry import to_attributes
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.job.file.functions import function
from mpibatch.job.file.signatures import THRESHOLDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Value", "above", "binarize", "computed", "convert", "numbers_of_limits", "plain_number"]

Value = Field | RegionTable
Numbers = dict[str, float]


def computed(
    name: str, fields: Sequence[Field], by_name: Mapping[str, Field], parameters: Mapping[str, Any]
) -> tuple[Value, Numbers]:
    """Return what a function makes of fields, and the numbers that it took from the data or counted. Collective.

    What is no Field yet becomes one, or a table: of `label` and `relabel_sequential` the labels, of thresholds the mask
    above them, of places a table of their indices.
    """
    u = fields[0]
    if name in THRESHOLDS:
        return above(name, u, function(name)(u, **parameters))
    numbers = _measured(name, u, parameters)
    made = function(name)(u, **by_name, **{**parameters, **numbers})
    if name == "relabel_sequential":
        made = made[0]  # maps between labels are for programs, and no file has a place for them
    if isinstance(made, Field | RegionTable):
        return made, numbers
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], Field) and isinstance(made[1], int):
        return made[0], {**numbers, "objects": made[1]}
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], Field) and isinstance(made[1], float):
        return made[0], {**numbers, "residual": made[1]}
    places = made if isinstance(made, np.ndarray) else np.stack(made, axis=1) if _are_places(made) else None
    if places is None or places.ndim != 2 or places.shape[1] != u.grid.ndim:
        raise UsageError(
            f"{name}: with these parameters it returns several results, and a step keeps one; leave out return_indices "
            "or the like"
        )
    return _places(u, places), {**numbers, "objects": len(places)}


def _are_places(made: Any) -> bool:
    return isinstance(made, tuple) and bool(made) and all(isinstance(line, np.ndarray) for line in made)


def _places(u: Field, places: npt.NDArray[Any]) -> RegionTable:
    """A table of places, of which every rank has all and keeps its share."""
    comm, rows = u.grid.comm, len(places)
    part = places[rows * comm.rank // comm.size : rows * (comm.rank + 1) // comm.size]
    columns = {f"coordinate-{axis}": np.ascontiguousarray(line) for axis, line in enumerate(part.T)}
    return RegionTable(comm, columns, to_attributes(u.grid))


def numbers_of_limits(thresholds: Any) -> Numbers:
    """Return one threshold, or several, by the names that a file has for them. Local."""
    limits = np.atleast_1d(np.asarray(thresholds)).tolist()
    return {"threshold" if len(limits) == 1 else f"threshold-{n}": limit for n, limit in enumerate(limits)}


def above(name: str, u: Field, thresholds: Any) -> tuple[Field, Numbers]:
    """Return the mask of what is above a threshold; of several thresholds, how many are below each value. Local."""
    numbers = numbers_of_limits(thresholds)
    limits = [*numbers.values()]
    if name != "threshold_multiotsu":
        return u > limits[0], numbers
    classes = u.like(dtype="u1")
    classes.owned[...] = 0
    for limit in limits:
        classes.owned[...] += u.owned > limit
    return classes, numbers


def binarize(u: Field, threshold: float | str = "otsu", invert: bool = False) -> Field:
    """Return a bool field: where `u` > `threshold`. Collective.

    Parameters
    ----------
    u : field of any real dtype.
    threshold : a number in the units of `u`, or "otsu" for Otsu's threshold of the global histogram
        (doi:10.1109/TSMC.1979.4310076).
    invert : mark the cells at or below the threshold instead.
    """
    if isinstance(threshold, str):
        if threshold != "otsu":
            raise UsageError(f'binarize: threshold = {threshold!r}; give a number, or "otsu"')
        threshold = filters.threshold_otsu(u).item()  # of integers an integer: float64 does not hold large ones
    result: Field = u <= threshold if invert else u > threshold
    return result


def _measured(name: str, u: Field, parameters: Mapping[str, Any]) -> Numbers:
    """The parameters that a step takes from the data, to be told and to be kept in the file."""
    if name == "binarize" and parameters.get("threshold", "otsu") == "otsu":
        return {"threshold": plain_number(filters.threshold_otsu(u))}
    return {}


def plain_number(threshold: Any) -> float:
    """Return a threshold as a float, or as an integer that no float holds. Local."""
    number = threshold.item()
    return float(number) if float(number) == number else number


def convert(u: Field, dtype: str, scale: float = 1.0, offset: float = 0.0) -> Field:
    """Return ``u * scale + offset`` in another dtype. Local.

    Parameters
    ----------
    u : field of any real dtype.
    dtype : name of the new dtype, such as "f4". Integers are rounded to the nearest (half to even) and clipped
        to the dtype's range, so that a bright cell does not wrap round to black; NaN becomes 0.
    scale, offset : applied in double precision first; without them an integer stays exact.
    """
    target = np.dtype(dtype)
    scaled: Field = u if scale == 1.0 and offset == 0.0 else u * np.float64(scale) + np.float64(offset)
    if target.kind not in "ui" or scaled.dtype == target:
        return scaled.astype(target)
    return _to_integer(scaled, target)


def _to_integer(u: Field, target: np.dtype[Any]) -> Field:
    limits = np.iinfo(target)
    result = u.like(dtype=target)
    values = u.owned
    if values.dtype.kind == "f":
        values = np.nan_to_num(np.rint(values), nan=0.0, posinf=np.inf, neginf=-np.inf)
        low, high = values <= limits.min, values >= limits.max
        with np.errstate(invalid="ignore"):  # what lies outside is overwritten next
            result.owned[...] = values.astype(target)
        # Not np.clip: the largest 64-bit integers are not floats, and their neighbors would wrap round.
        result.owned[low], result.owned[high] = limits.min, limits.max
    elif values.dtype.kind == "b":
        result.owned[...] = values
    else:
        source = np.iinfo(values.dtype)
        result.owned[...] = np.clip(values, max(limits.min, source.min), min(limits.max, source.max))
    return result
