"""Generated modules on disk, so that numba's compiled code is found again by every later run.

The file of a module is named by what it holds and by what compiles it, written whole and renamed into
place, and always dated alike: whichever of many ranks comes last changes nothing for the others. The text that
is executed is the one in memory; the file is there for numba, which keeps compiled code beside a file's date.
"""

from __future__ import annotations

import functools
import hashlib
import linecache
import os
import sys
import tempfile
import threading
import types
from pathlib import Path
from typing import Any

from mpibatch.base.compiled import cache_folder, cache_room, loaded_numba

__all__ = ["HEADER", "imported", "load"]

HEADER = """\
import math
from numba import boolean as B1, float32 as F4, float64 as F8, int8 as I1, int16 as I2, int32 as I4, int64 as I8
from numba.types import CPointer as memory_of
from numba import uint8 as U1, uint16 as U2, uint32 as U4, uint64 as U8
import numpy as np
from mpibatch.base.compiled import compiled_in_c, compiled_lean, compiled_lean_many, compiled_within, told_apart
from mpibatch.stencil.compiled.intrinsics import choose, fetch_ahead, fill, memory, use_short_vectors
from mpibatch.stencil.compiled.straight_lines import straight
"""

# Any fixed date does: numba compiles anew when a file's date changes.
DATED = 1_000_000_000

_loaded: dict[str, types.ModuleType] = {}
_one = threading.Lock()


def load(text: str) -> types.ModuleType:
    """Return the module with this text; its functions compile, or load from the cache, at their first call. Local."""
    numba, _ = loaded_numba()
    key = hashlib.sha256(f"{numba.__version__}\n{_makers()}\n{text}".encode()).hexdigest()[:24]
    with _one:
        if key not in _loaded:
            _loaded[key] = _execute(f"mpibatch_kernel_{key}", text)
        return _loaded[key]


@functools.cache
def _makers() -> str:
    """What makes code of the text, beside numba: other versions of it make other code. Local."""
    folder = Path(__file__).parent
    return "".join((folder / name).read_text("utf-8") for name in ("intrinsics.py", "straight_lines.py"))


def imported(text: str, *names: str) -> str:
    """Return the line that imports functions of a module with this text, compiled once for all that call them. Local.

    The module's name goes with its text: what was compiled with other helpers is not taken for this.
    """
    return f"from {load(text).__name__} import {', '.join(names)}\n"


def _execute(name: str, text: str) -> types.ModuleType:
    path = _written(name, text)
    module = types.ModuleType(name)
    module.__file__ = str(path)
    # numba finds a function's globals through the module of that name, when it loads compiled code.
    sys.modules[name] = module
    linecache.cache[str(path)] = (len(text), None, text.splitlines(keepends=True), str(path))
    namespace: dict[str, Any] = vars(module)
    exec(compile(text, str(path), "exec"), namespace)
    return module


def _written(name: str, text: str) -> Path:
    folder = cache_folder() / "stencils"
    path = folder / f"{name}.py"
    if path.exists() and path.stat().st_mtime == DATED and path.stat().st_size == len(text.encode()):
        return path
    handle, draft = tempfile.mkstemp(dir=cache_room("stencils"), suffix=".draft")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.utime(draft, (DATED, DATED))
    Path(draft).replace(path)
    return path
