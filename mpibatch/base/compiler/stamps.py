"""By what numba's cache knows that compiled code is out of date: the source, and all that was compiled into it.

numba looks at the date and size of a function's own file. The functions that it calls, and the constants that it reads,
are part of its code, and may be those of another file, which has changed since.
"""

from __future__ import annotations

import hashlib
import types
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["stamp"]

PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, type(None), np.generic, np.ndarray)


def stamp(dispatcher: Any) -> Any:
    """Let a function's place in the cache tell what its code is made of; return it, None if there is none. Local."""
    file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    own = getattr(file, "_source_stamp", None)
    # No part of numba's interface: a version without it looks at the function's own file.
    if own is not None and not getattr(file, "knows_parts", False):
        file.knows_parts = True  # before its parts: it may call itself
        parts = [part for part in _parts(dispatcher.py_func) if part]
        file._source_stamp = own = (*own, hashlib.sha256("\n".join(parts).encode()).hexdigest())
    return own


def _parts(function: Any) -> Iterator[str]:
    """What is compiled into a function from elsewhere, in the order of its text."""
    names = function.__code__.co_names
    for name in names:
        value = function.__globals__.get(name)
        yield _part(name, value)
        if isinstance(value, types.ModuleType) and value.__name__.startswith("mpibatch"):
            for attribute in names:
                yield _part(f"{name}.{attribute}", getattr(value, attribute, None))


def _part(name: str, value: Any) -> str:
    if hasattr(value, "py_func"):
        return f"{name} {stamp(value)}"
    if isinstance(value, np.ndarray):
        return f"{name} {value.dtype} {value.shape} {value.tobytes().hex()}"
    return f"{name} {value!r}" if value is not None and isinstance(value, PLAIN) else ""
