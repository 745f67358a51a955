"""Values as keys of dictionaries: equal where everything that is computed from them has the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["key_of"]


def key_of(value: Any) -> Any:
    """Return something hashable that stands for a value: a number, an array, a function, or lists and dicts of them.

    0.0 and -0.0 differ, and NaN is equal to itself. A function stands for itself. Local.
    """
    if isinstance(value, Mapping):
        return tuple(sorted((name, key_of(entry)) for name, entry in value.items()))
    if hasattr(value, "tolist"):  # of NumPy, which need not be loaded for it
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(map(key_of, value))
    # By its text: 0.0 and -0.0 are equal, and NaN is equal to nothing, so that every call would plan anew.
    return (type(value).__name__, repr(value)) if isinstance(value, float | complex) else value
