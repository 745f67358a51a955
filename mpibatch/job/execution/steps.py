"""Steps of a job that are not filters of scipy or scikit-image: what a Python program writes as an expression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpibatch import filters
from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field

__all__ = ["binarize", "convert", "measured"]


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


def measured(name: str, u: Field, parameters: Mapping[str, Any]) -> dict[str, float]:
    """Return the parameters that a step takes from the data, to be told and to be kept in the file. Collective."""
    if name == "binarize" and parameters.get("threshold", "otsu") == "otsu":
        threshold = filters.threshold_otsu(u).item()
        return {"threshold": float(threshold) if float(threshold) == threshold else threshold}
    return {}


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
        # Not np.clip: the largest 64-bit integers are not floats, and their neighbours would wrap round.
        result.owned[low], result.owned[high] = limits.min, limits.max
    elif values.dtype.kind == "b":
        result.owned[...] = values
    else:
        source = np.iinfo(values.dtype)
        result.owned[...] = np.clip(values, max(limits.min, source.min), min(limits.max, source.max))
    return result
