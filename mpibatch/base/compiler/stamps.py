"""By what numba's cache knows that compiled code is out of date: the source, and all that was compiled into it.

numba looks at the date and size of a function's own file. The functions that it calls, and the constants that it reads,
are part of its code, and may be those of another file, which has changed since.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["stamp"]

# What compiles: its options are part of the code, too.
HOW = ("../compiled.py", "bitcode.py")
PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, type(None), np.generic, np.ndarray)

_one = threading.RLock()  # who comes while a stamp is made would take it for whole


def stamp(dispatcher: Any) -> Any:
    """Let a function's place in the cache tell what its code is made of; return it, None if there is none. Local."""
    with _one:
        return _stamp(dispatcher)


def _stamp(dispatcher: Any) -> Any:
    getattr(dispatcher, "attach", lambda: None)()
    file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    own = getattr(file, "_source_stamp", None)
    # No part of numba's interface: a version without it looks at the function's own file.
    if own is not None and not getattr(file, "knows_parts", False):
        file.knows_parts = True  # before its parts: it may call itself
        parts = [_how(), *filter(None, _parts(dispatcher.py_func))]
        file._source_stamp = own = (*own, hashlib.sha256("\n".join(parts).encode()).hexdigest())
        _name_by(file, own)
    return own


def _name_by(file: Any, own: Any) -> None:
    """Let code of another stamp have other files: who reads while they are replaced finds none, and never those."""
    pattern, save_index = getattr(file, "_data_name_pattern", ""), getattr(file, "_save_index", None)
    if not pattern or save_index is None:
        return
    mark = hashlib.sha256(repr(own).encode()).hexdigest()[:12]
    file._data_name_pattern = pattern.replace("{number", f"{mark}.{{number")

    def save(overloads: Any) -> None:
        save_index(overloads)
        if len(overloads) == 1:  # the first of this stamp: nobody will ask for those of the one before
            for path in Path(file._cache_path).glob(glob.escape(pattern.partition("{")[0]) + "*"):
                if path.suffix == ".nbc" and f".{mark}." not in path.name:
                    path.unlink(missing_ok=True)

    file._save_index = save


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
        return f"{name} {_stamp(value)}"
    source = getattr(value, "_defn", value)  # of an intrinsic
    if isinstance(source, types.FunctionType):  # for which numba has an overload, beside it
        return f"{name} {_digest(source.__code__.co_filename)}"
    if isinstance(value, np.ndarray):
        return f"{name} {value.dtype} {value.shape} {value.tobytes().hex()}"
    return f"{name} {value!r}" if value is not None and isinstance(value, PLAIN) else ""


@functools.cache
def _how() -> str:
    return " ".join(_digest(str(Path(__file__).parent / name)) for name in HOW)


@functools.cache
def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:  # no file: of a prompt, or within an archive
        return ""
