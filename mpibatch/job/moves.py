"""What steps that need whole lines, or whole images, move and need: of plans, by arithmetic, without MPI.

Of transforms and what is solved by them, of splines, and of projections. What other steps exchange are halos.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.units import bytes_text, plural
from mpibatch.domain.turns import Turned, route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.domain import Decomposition
    from mpibatch.job.file.schema import Step

__all__ = ["PIECE_BYTES", "Moves", "moves_of", "shape_after"]

PIECE_BYTES = 2 * 2**20  # of lines that are whole at a time (`fields.lines`, which starts MPI)
EARLY = 64  # cells before its block at which a rank begins with splines
_TRANSFORM = re.compile(r"i?(r|h)?fft[2n]?|i?d[cs]tn?")
_SPLINES = ("affine_transform", "map_coordinates", "rotate", "shift", "spline_filter", "spline_filter1d", "zoom")
_SOLVERS = ("helmholtz", "poisson")
_PROJECTIONS = ("iradon", "radon")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Moves:
    """About how many bytes the fullest rank sends, to how many others at a time, and needs beside its fields."""

    sent: float = 0.0
    ranks: int = 0
    memory: float = 0.0

    def __add__(self, other: Moves) -> Moves:
        return Moves(self.sent + other.sent, max(self.ranks, other.ranks), max(self.memory, other.memory))

    @property
    def words(self) -> str:
        """It, for the reader. Local."""
        to = f", to {plural(self.ranks, 'other rank')} at a time" if self.ranks else ""
        return (
            f"about {bytes_text(int(self.sent))} sent by a rank{to}; {bytes_text(int(self.memory))} beside its fields"
        )


def moves_of(step: Step, decomposition: Decomposition, dtype: str, values: int = 1) -> Moves | None:
    """Return what a step moves of a field with so many values in a cell; None of steps that move halos alone. Local."""
    name, given, ndim = step.filter, step.parameters, len(decomposition.shape)
    kind = np.dtype(dtype)
    real = 4 if kind.str[1:] in ("f4", "c8", "f2") else 8
    try:
        if _TRANSFORM.fullmatch(name):
            axes, sizes = _extents(name, given, decomposition.shape)
            wide = 2 * real if "fft" in name or kind.kind == "c" else real
            return _along(decomposition, axes, sizes, wide * values)
        if name in _SOLVERS:
            return _solving(decomposition, given, (2 if kind.kind == "c" else 1) * real * values)
        if name in _SPLINES and int(given.get("order", 3)) > 1 and given.get("prefilter", True):
            axes = [int(given.get("axis", -1)) % ndim] if name.endswith("1d") else [*range(ndim)]
            return _splines(decomposition, axes, 8 * values)
        if name in _PROJECTIONS and ndim in (2, 3):
            return _images(decomposition, real * values)
    except (IndexError, TypeError, ValueError):
        pass  # the run, and the rehearsal before it, say what is wrong
    return None


def shape_after(step: Step, shape: Shape) -> Shape | None:
    """Return the shape of a step's result, as far as it is known without running it. Local."""
    name, given = step.filter, step.parameters
    if _TRANSFORM.fullmatch(name):
        try:
            axes, sizes = _extents(name, given, shape)
        except (IndexError, TypeError, ValueError):
            return None
        after = list(shape)
        for axis, n in zip(axes, sizes, strict=True):
            after[axis] = n
        return tuple(after)
    changing = {"affine_transform", "fftconvolve", "iradon", "map_coordinates", "pyramid", "radon", "rotate", "zoom"}
    return None if name in changing or name.startswith("project") else shape


def _extents(name: str, given: Any, shape: Shape) -> tuple[list[int], list[int]]:
    """The axes of a transform, in the order in which it goes through them, and the cells along each afterwards."""
    ndim = len(shape)
    if name[-1] in "2n":
        lengths = given.get("s")
        axes = given.get("axes", [-2, -1] if name[-1] == "2" else None)
        if axes is None:
            axes = [*range(ndim if lengths is None else len(lengths))]
            axes = [axis - len(axes) for axis in axes]
    else:
        lengths = None if given.get("n") is None else [given["n"]]
        axes = [given.get("axis", -1)]
    numbers = [range(ndim)[int(axis)] for axis in axes]
    sizes = [shape[axis] if n is None or n == -1 else int(n) for axis, n in _pairs(numbers, lengths)]
    if name.startswith(("rfft", "ihfft")):
        sizes[-1] = sizes[-1] // 2 + 1
        return [numbers[-1], *numbers[:-1]], [sizes[-1], *sizes[:-1]]
    if name.startswith("irfft") and lengths is None:
        sizes[-1] = max(1, 2 * (sizes[-1] - 1))
    return numbers, sizes


def _pairs(numbers: list[int], lengths: Any) -> Sequence[tuple[int, Any]]:
    return [*zip(numbers, lengths or [None] * len(numbers), strict=True)]


def _along(decomposition: Decomposition, axes: Sequence[int], sizes: Sequence[int], cell_bytes: int) -> Moves:
    """Lines of one axis after the other, as `fourier` moves them."""
    first = Turned.of(decomposition)
    block = math.prod(first.largest()) * cell_bytes
    cut = [axis for axis in axes if first.topology[axis] > 1]
    longest = max([*sizes, *(decomposition.shape[axis] for axis in axes)]) * cell_bytes
    layouts = route(first, axes, sizes) if len(cut) > 1 else None
    if layouts is None:
        pieces = (10 if cut else 3) * max(longest, PIECE_BYTES)
        sent = sum(2 * block * (1 - 1 / first.topology[axis]) for axis in cut)
        return Moves(sent, max((first.topology[axis] - 1 for axis in cut), default=0), pieces)
    moves, old = Moves(), first
    for axis, layout in zip(axes, layouts, strict=True):
        largest = math.prod(layout.largest()) * cell_bytes
        if old.ways[axis]:
            parts = old.parts(old.ways[axis])
            moves += Moves(largest * (1 - 1 / parts), parts - 1, 3 * largest)
        old = layout
    return moves + Moves(block)  # and home


def _solving(decomposition: Decomposition, given: Any, cell_bytes: int) -> Moves:
    """There and back: waves along all axes but one, and that one in between."""
    shape, ndim = decomposition.shape, len(decomposition.shape)
    turn = int(given.get("axis", -1)) % ndim if given.get("coordinates") is not None else 0
    walls = given.get("bc") or "periodic"
    walls = [walls] * ndim if isinstance(walls, str) else list(walls)
    others = [axis for axis in range(ndim) if axis != turn]
    round_about = [axis for axis in others if walls[axis] == "periodic"]
    groups = [[axis] for axis in others if walls[axis] != "periodic"] + ([round_about] if round_about else [])
    moves = Moves(memory=math.prod(Turned.of(decomposition).largest()) * cell_bytes)  # the waves
    for group in [*groups, *groups, [turn]]:
        moves += _along(decomposition, group, [shape[axis] for axis in group], cell_bytes)
    return moves


def _splines(decomposition: Decomposition, axes: Sequence[int], cell_bytes: int) -> Moves:
    """Cells before and after each block, and the coefficients."""
    largest, topology = Turned.of(decomposition).largest(), decomposition.topology
    block = math.prod(largest) * cell_bytes
    cut = [axis for axis in axes if topology[axis] > 1]
    sent = sum(2 * block * min(1.0, EARLY / largest[axis]) for axis in cut)
    return Moves(sent, 2 if cut else 0, 2 * block)


def _images(decomposition: Decomposition, cell_bytes: int) -> Moves:
    """A stack redistributed so that images are whole, and back; of one image, all of it on every rank."""
    shape, ranks = decomposition.shape, decomposition.size
    whole = math.prod(shape[-2:])
    if len(shape) == 2:
        return Moves(whole * cell_bytes if ranks > 1 else 0, ranks - 1 and 1, 6 * 8 * whole)
    block = math.prod(Turned.of(decomposition).largest()) * cell_bytes
    across = math.prod(decomposition.topology[1:])
    return Moves(2 * block if ranks > 1 and across > 1 else 0, ranks - 1 if across > 1 else 0, 6 * 8 * whole)
