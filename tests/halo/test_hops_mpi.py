"""How many functions of ours stand between a public call and MPI, once what a call needs has been planned."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mpibatch as mb
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

pytestmark = pytest.mark.mpi
PACKAGE = str(Path(mb.__file__).parent)
WORLD = MPI.COMM_WORLD
# Of a kernel the first calls try whether to overlap.
TRIALS = 14
MOVED = 7  # from `mb.save` to the message by which a part of a chunk goes to the rank that writes it


@mb.stencil
def heat(u, k):
    return u[0, 0] + k * (u[-1, 0] + u[1, 0] - 2.0 * u[0, 0])


def stack() -> list[str]:
    """The functions of the package that are being carried out, the innermost last."""
    names: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return names[::-1]


def spy(kind: type, method: str, ways: list[list[str]]) -> type:
    """A class like one of mpi4py's, one method of which notes who calls it."""
    original = getattr(kind, method)

    def noting(*args: Any, **kwargs: Any) -> Any:
        ways.append(stack())
        return original(*args, **kwargs)

    return type(kind.__name__, (kind,), {method: staticmethod(noting) if method == "Startall" else noting})


def write(tmp_path: Path, **options: Any) -> Callable[[mb.Field], None]:
    path = WORLD.bcast(str(tmp_path / "u.h5"))
    return lambda u: mb.save(path, u=u, driver="direct", **options)


@pytest.mark.parametrize(
    ("call", "most"),
    [
        (mb.exchange, 3),
        (lambda u: mb.filters.gaussian_filter(u, 2), 5),
        (lambda u: mb.filters.uniform_filter(u, 3), 5),
        (mb.filters.sobel, 5),
        (lambda u: mb.filters.minimum_filter(u, 3), 6),
        (lambda u: mb.filters.median_filter(u, 3), 7),
        (lambda u: mb.filters.correlate(u, [[1, 2], [3, 4]]), 6),
        (lambda u: heat(u, k=0.1), 6),
        ({}, 4),
        ({"chunks": (16, 16)}, 4),
        ({"chunks": (16, 16), "compression": "gzip"}, 4),
    ],
    ids=[
        "exchange",
        "gaussian",
        "uniform",
        "sobel",
        "minimum",
        "median",
        "correlate",
        "kernel",
        "save",
        "chunks",
        "packed",
    ],
)
def test_the_way_to_mpi_is_short(call: Any, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    u = mb.Grid((64, 48)).from_function(lambda y, x: y + x * x, halo=1)
    run = write(tmp_path, **call) if isinstance(call, dict) else call
    for _ in range(TRIALS):
        run(u)
    ways: list[list[str]] = []
    moves = [] if isinstance(call, dict) else ways  # a chunk of several ranks first moves to one of them
    monkeypatch.setattr(MPI, "Prequest", spy(MPI.Prequest, "Startall", ways))
    monkeypatch.setattr(MPI, "File", spy(spy(MPI.File, "Write_at_all", ways), "Write_at", ways))
    monkeypatch.setattr(u.grid, "comm", spy(type(u.grid.comm), "Isend", moves)(u.grid.comm))
    run(u)
    monkeypatch.undo()
    assert ways or WORLD.size == 1
    longest = max(ways, key=len, default=[])
    print(len(longest), longest)
    assert len(longest) <= most, longest
    assert max(map(len, moves), default=0) <= max(most, MOVED)
