"""What a compiled function does not need: the compiler, where its code is there, and a way in from Python."""

from __future__ import annotations

import contextlib
import importlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.base.compiler.imports import ARRAYS, absent, import_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Absent", "keep_from_python", "load_alone", "reading_only", "unwritten"]

_here = threading.local()


class Absent(Exception):
    """There is no code for a signature, and it was only to be looked for."""


@contextlib.contextmanager
def reading_only() -> Iterator[None]:
    """Let this thread load code, and not compile what is not there, but raise `Absent`."""
    _here.is_reading = True
    try:
        yield
    finally:
        _here.is_reading = False


@contextlib.contextmanager
def unwritten() -> Iterator[None]:
    """Let numba take a folder for its cache without writing there, by which it sees whether it may."""
    place = getattr(importlib.import_module("numba.core.caching"), "UserProvidedCacheLocator", None)
    if place is None or "ensure_cache_path" in vars(place):  # no part of numba's interface
        yield
        return

    def make(self: Any) -> None:
        path = Path(self.get_cache_path())
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)

    place.ensure_cache_path = make
    try:
        yield
    finally:
        del place.ensure_cache_path


def load_alone(dispatcher: Any, *, with_memory: bool) -> bool:
    """Let code that is there be loaded without all that numba knows of compiling, whose import takes as long again.

    `with_memory`: the code makes arrays. Return whether it can be looked for by `reading_only`.
    """
    cache = dispatcher._cache
    load = getattr(cache, "_load_overload", None)
    if load is None:  # no part of numba's interface
        return False

    def look_up(signature: Any, context: Any) -> Any:
        if getattr(_here, "is_reading", False):
            _here.is_reading = False  # not for what this needs
            code = load_overload(signature, context)
            if code is None:
                raise Absent
            return code
        return load_overload(signature, context)

    def load_overload(signature: Any, context: Any) -> Any:
        if with_memory:
            importlib.import_module("numba.core.runtime").rtsys.initialize(context)
        try:
            with absent(ARRAYS):
                return load(signature, context)
        except ModuleNotFoundError as error:
            if error.name != ARRAYS:
                raise
        import_arrays()  # its code is in this function's
        return load(signature, context)

    save = cache.save_overload

    def keep(signature: Any, code: Any) -> None:
        with contextlib.suppress(OSError):  # a full disk: it is compiled again next time
            save(signature, code)

    cache.load_overload, cache.save_overload = look_up, keep
    return True


def keep_from_python(dispatcher: Any) -> None:
    """Let calls from Python fail: there is no code for them."""

    def note(result: Any) -> None:
        # numba's own also enters it in the table of what Python may call.
        dispatcher.overloads[tuple(result.signature.args)] = result

    def refuse(*_args: Any, **_options: Any) -> None:
        raise TypeError(f"{dispatcher.__name__} has no way in from Python: only compiled functions call it")

    dispatcher.add_overload, dispatcher._compile_for_args = note, refuse
