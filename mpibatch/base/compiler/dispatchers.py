"""What a compiled function does not need: the compiler, where its code is there, and a way in from Python."""

from __future__ import annotations

import importlib
from typing import Any

from mpibatch.base.compiler.imports import ARRAYS, absent, import_arrays

__all__ = ["keep_from_python", "load_alone"]


def load_alone(dispatcher: Any, *, with_memory: bool) -> None:
    """Let code that is there be loaded without all that numba knows of compiling, whose import takes as long again.

    `with_memory`: the code makes arrays.
    """
    cache = dispatcher._cache
    load = getattr(cache, "_load_overload", None)
    if load is None:  # no part of numba's interface
        return

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

    cache.load_overload = load_overload


def keep_from_python(dispatcher: Any) -> None:
    """Let calls from Python fail: there is no code for them."""

    def note(result: Any) -> None:
        # numba's own also enters it in the table of what Python may call.
        dispatcher.overloads[tuple(result.signature.args)] = result

    def refuse(*_args: Any, **_options: Any) -> None:
        raise TypeError(f"{dispatcher.__name__} has no way in from Python: only compiled functions call it")

    dispatcher.add_overload, dispatcher._compile_for_args = note, refuse
