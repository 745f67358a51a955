"""What an operation makes of each pair of types, which numba works out anew wherever it stands."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TypedOnce", "typed_once"]


class TypedOnce:
    """While functions compile, what numba makes of numbers and arrays is worked out once for each of their types.

    For every `a * b` it goes through all that it knows of products, those of dates too.
    """

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}
        self._lock, self._users, self._theirs = threading.Lock(), 0, None

    def __enter__(self) -> None:
        types: Any = importlib.import_module("numba.core.types")
        functions = types.functions.BaseFunction
        with self._lock:
            self._users += 1
            # No part of numba's interface: a version without it compiles longer.
            if self._users == 1 and (theirs := getattr(functions, "get_call_type", None)) is not None:
                self._theirs, functions.get_call_type = theirs, self._remembering(types, theirs)

    def __exit__(self, *_: object) -> None:
        types: Any = importlib.import_module("numba.core.types")
        with self._lock:
            self._users -= 1
            if not self._users and self._theirs is not None:
                types.functions.BaseFunction.get_call_type, self._theirs = self._theirs, None

    def _remembering(self, types: Any, theirs: Callable[..., Any]) -> Callable[..., Any]:
        kinds = (types.Number, types.Boolean, types.Array, types.CPointer, types.UniTuple)
        known = self._known

        def get_call_type(function: Any, context: Any, args: tuple[Any, ...], kws: Any) -> Any:
            if kws or not all(isinstance(given, kinds) for given in args):
                return theirs(function, context, args, kws)
            key = (function, context, args)
            if key not in known:
                known[key] = theirs(function, context, args, kws)
            return known[key]

        return get_call_type


typed_once = TypedOnce()
