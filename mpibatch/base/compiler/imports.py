"""What numba imports: of arrays without scipy, whose absence to it is pretended in one thread."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.util
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ARRAYS", "absent", "import_arrays"]

ARRAYS = "numba.np.arraymath"

_one = threading.Lock()  # two that pretend at once would leave one's pretense behind


class _Refusal(importlib.abc.MetaPathFinder):
    """What finds that some modules are absent, in the thread that made it."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names, self._thread = names, threading.get_ident()

    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> None:
        if fullname in self._names and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


@contextlib.contextmanager
def absent(*names: str) -> Iterator[None]:
    """Let this thread's imports of these modules fail, of those that nobody has imported."""
    refusal = _Refusal(names)
    sys.meta_path.insert(0, refusal)
    try:
        yield
    finally:
        sys.meta_path.remove(refusal)


def import_arrays() -> None:
    """Import what numba knows of arrays, without scipy.linalg, by whose import it finds out whether there is a BLAS.

    That takes as long as all else that a process does before its first step. What calls BLAS looks for it then.
    """
    with _one:
        if ARRAYS not in sys.modules:
            _import_arrays()


def _import_arrays() -> None:
    linalg: Any = importlib.import_module("numba.np.linalg")

    look, has_scipy = getattr(linalg, "ensure_blas", None), importlib.util.find_spec("scipy") is not None

    def suppose() -> None:
        if not has_scipy:
            raise ImportError("no scipy")

    # No part of numba's interface: a version without it imports what it likes.
    if look is not None:
        linalg.ensure_blas = suppose
    try:
        arrays: Any = importlib.import_module(ARRAYS)
    finally:
        if look is not None:
            linalg.ensure_blas = look
    if getattr(arrays, "ensure_blas", None) is suppose:
        arrays.ensure_blas = look
