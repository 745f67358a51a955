"""By what numba's cache knows that compiled code is out of date: the source, and all that was compiled into it.

numba looks at the date and size of a function's own file. The functions that it calls, and the constants that it reads,
are part of its code, and may be those of another file, which has changed since.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.compiler.files import name_by_content

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
        try:
            parts = [_how(), *filter(None, _parts(dispatcher.py_func))]
        except BaseException:
            file.knows_parts = False
            raise
        # The file may have changed since this function was read from it.
        parts.append(_code(dispatcher.py_func.__code__))
        file._source_stamp = own = (*own, hashlib.sha256("\n".join(parts).encode()).hexdigest())
        name_by_content(file, own)
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
        return f"{name} {_stamp(value)}"
    source = getattr(value, "_defn", value)  # of an intrinsic
    if isinstance(source, types.FunctionType):  # for which numba has an overload, beside it
        return f"{name} {_digest(source.__code__.co_filename)} {_code(source.__code__)}"
    if isinstance(value, np.ndarray):
        return f"{name} {value.dtype} {value.shape} {value.tobytes().hex()}"
    return f"{name} {value!r}" if value is not None and isinstance(value, PLAIN) else ""


def _code(code: types.CodeType) -> str:
    """What a function does, as it is in memory."""
    constants = [
        _code(value) if isinstance(value, types.CodeType)
        else repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)
        for value in code.co_consts
    ]  # fmt: skip
    text = f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _how() -> str:
    return " ".join(_digest(str(Path(__file__).parent / name)) for name in HOW)


@functools.cache
def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:  # no file: of a prompt, or within an archive
        return ""
