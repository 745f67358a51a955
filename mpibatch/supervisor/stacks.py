"""Where a rank is, from the stack that faulthandler has written of it: the user's line, and whether it waits there."""

from __future__ import annotations

import ast
import linecache
import re
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Spot", "StackFrame", "frames_of", "spot_of"]

_PACKAGE = str(Path(__file__).resolve().parents[1])
_LIBRARIES = (
    "/site-packages/", "/dist-packages/", "<frozen ", "/mpibatch/__main__.py", "/bin/mpibatch",
    *{sysconfig.get_path(name) + "/" for name in ("stdlib", "platstdlib")},
)  # fmt: skip
_THREAD = re.compile(r"^(?:Current thread|Thread) 0x([0-9a-f]+)")
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$')
# Methods by which ranks wait for others. In small letters they are names of other things, too.
_WAITS = re.compile(
    r"barrier|bcast|(all)?(gather|reduce)v?|scatterv?|alltoall[vw]?|reduce_scatter(_block)?|(ex)?scan"
    r"|s?send|m?recv|sendrecv(_replace)?|m?probe|wait(all|any|some)?|startall"
    r"|split(_type)?|dup|create(_cart)?|free|fence|(un)?lock|flush|disconnect|finalize",
    re.IGNORECASE,
)
_OF_MPI = re.compile(r"comm|world|MPI|request|req\b|message|win\b", re.IGNORECASE)
# Compiling, reading modules, and files of HDF5, also where it is the user who does it.
_SLOW = ("/numba/core/", "/llvmlite/", "<frozen importlib", "/h5py/")


@dataclass(frozen=True)
class StackFrame:
    """A line of a stack."""

    file: str
    line: int
    function: str

    @property
    def text(self) -> str:
        """The source line, "" if there is none to read. Local."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, in {self.function}"


@dataclass(frozen=True)
class Spot:
    """Where a rank is.

    Attributes
    ----------
    at : the user's innermost line, or the innermost of all if there is none of the user's.
    call : what it has called there, "" if unknown.
    waits : whether it waits for other ranks there.
    is_slow : whether it compiles, or is in files.
    """

    at: StackFrame
    call: str
    waits: bool
    is_slow: bool


def frames_of(dump: str, thread: int) -> list[StackFrame]:
    """Return the stack of one thread, the innermost frame first, of all that faulthandler wrote. Local."""
    frames: list[StackFrame] = []
    is_it = False
    for line in dump.splitlines():
        if head := _THREAD.match(line):
            is_it = int(head[1], 16) == thread
        elif is_it and (frame := _FRAME.match(line)):
            frames.append(StackFrame(frame[1], int(frame[2]), frame[3]))
    return frames


def spot_of(frames: list[StackFrame]) -> Spot:
    """Return where a stack is, which is not empty. Local."""
    inner = frames[0]
    place = next((n for n, frame in enumerate(frames) if _is_of_user(frame)), None)
    name = wait_in(inner)
    call = f"MPI's {name}" if name else ""
    if place and (entry := _entry(frames[:place])):
        call = f"mpibatch's {entry}" + (f" ({call})" if call else "")
    is_meeting = inner.file.startswith(_PACKAGE + "/mpi/")
    at = inner if place is None else frames[place]
    return Spot(at, call, bool(name) or is_meeting, any(part in frame.file for frame in frames for part in _SLOW))


def wait_in(frame: StackFrame) -> str:
    """Return the name of MPI's waiting method that a frame's line calls, "" if none. Local."""
    calls = [
        node
        for node in _calls(frame.file)
        if node.lineno <= frame.line <= (node.end_lineno or node.lineno) and isinstance(node.func, ast.Attribute)
    ]
    # The innermost of the calls that stand on several lines.
    for node in sorted(calls, key=lambda node: (node.end_lineno or 0) - node.lineno):
        assert isinstance(node.func, ast.Attribute)
        name = node.func.attr
        is_sure = name[0].isupper() or _OF_MPI.search(ast.unparse(node.func.value))
        if _WAITS.fullmatch(name) and is_sure:
            return name
    return ""


@cache
def _calls(file: str) -> list[ast.Call]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return []
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _is_of_package(frame: StackFrame) -> bool:
    # Programs, and drills, use the package as users do.
    programs = (_PACKAGE + "/apps/", _PACKAGE + "/tools/drill/")
    return frame.file.startswith(_PACKAGE + "/") and not frame.file.startswith(programs)


def _is_of_user(frame: StackFrame) -> bool:
    return not _is_of_package(frame) and not any(part in frame.file for part in _LIBRARIES)


def _entry(inner: list[StackFrame]) -> str:
    """The function of ours that a user's line calls."""
    return inner[-1].function if _is_of_package(inner[-1]) else ""
