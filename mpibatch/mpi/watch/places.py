"""Where the main thread is: whether it waits in MPI, and which line of the user's program brought it there.

Read from another thread, from the frames and the bytecode of the call under way; nothing is wrapped or traced.
"""

from __future__ import annotations

import dis
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpi4py import MPI

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["place", "waits_for_others"]

_PACKAGE = str(Path(__file__).resolve().parents[2])
# Frames that are nobody's program: a test's file is named, not the machinery that calls it.
_OTHERS = ("/mpi4py/", "/_pytest/", "/pluggy/", "<frozen ")
# Not files: on a slow disk a write may take minutes, and waits for nobody.
_KINDS = (MPI.Comm, MPI.Request, MPI.Message, MPI.Win)
_MISSING = object()


def waits_for_others() -> bool:
    """Return whether the innermost call of the main thread is one of a communicator, or of a request. Local."""
    frame = _innermost()
    return frame is not None and _is_of_mpi(frame)


def place() -> str:
    """Return the user's line that the main thread is at, and the call that was made there. Local."""
    inner: FrameType | None = None
    frame = _innermost()
    if frame is None:
        return "nowhere"
    name = _chain(frame)[-1:]
    call = f"MPI's {name[0]}" if name else frame.f_code.co_qualname
    while frame.f_back is not None and not _is_of_user(frame):
        inner, frame = frame, frame.f_back
    if inner is not None and _is_of_package(inner):
        call = f"mpibatch's {inner.f_code.co_qualname}"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}: {call}"


def _innermost() -> FrameType | None:
    return sys._current_frames().get(threading.main_thread().ident or 0)


def _is_of_package(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith(_PACKAGE + "/") and not file.startswith(_PACKAGE + "/apps/")


def _is_of_user(frame: FrameType) -> bool:
    return not _is_of_package(frame) and not any(part in frame.f_code.co_filename for part in _OTHERS)


def _chain(frame: FrameType) -> list[str]:
    """Return the names of the call under way, as ["u", "grid", "comm", "Barrier"]; [] if it is not that simple."""
    steps = list(dis.get_instructions(frame.f_code))
    now = next((step for step in steps if step.offset == frame.f_lasti), None)
    if now is None or now.positions is None:
        return []
    start = (now.positions.lineno, now.positions.col_offset)
    names: list[str] = []
    for step in steps:
        # What begins where the call begins is what is called; its arguments begin later.
        if step.offset >= frame.f_lasti or step.positions is None or step.opname == "PUSH_NULL":
            continue
        if (step.positions.lineno, step.positions.col_offset) == start and step.opname.startswith("LOAD_"):
            is_root = step.opname.startswith(("LOAD_NAME", "LOAD_FAST", "LOAD_GLOBAL", "LOAD_DEREF", "LOAD_CLOSURE"))
            names = [*([] if is_root else names), str(step.argval)]
    return names


def _is_of_mpi(frame: FrameType) -> bool:
    names = _chain(frame)
    if not names:
        return False
    value: Any = frame.f_locals.get(names[0], frame.f_globals.get(names[0], _MISSING))
    try:
        for name in names[1:]:
            value = getattr(value, name)
    except Exception:
        return False
    owner = getattr(value, "__self__", None)  # of a method, whatever name it has been given
    return issubclass(owner if isinstance(owner, type) else type(owner), _KINDS)
