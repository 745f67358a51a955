"""Spline coefficients along an axis, on any decomposition, with the bits of a filter that runs through whole lines.

Where lines are cut, each rank begins some cells early, as if nothing were before. What a recursive filter forgets
within so many cells lies below its last bit, nearly always; so states are then compared to the bit with what the
neighbors have, and lines that began wrongly are done again, until none is left. Where a line's start value is a sum
over the whole line, bounds of it are computed from the cells at hand; if they do not agree to the bit, as many cells
are fetched as have any weight. Lines of few cells, and values that are not finite, go through whole lines instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase as timed
from mpibatch.fields.parcels import fetch
from mpibatch.fields.pencils import are_whole, pencils
from mpibatch.fields.redistribution import move, redistribute
from mpibatch.halo import slabs
from mpibatch.mpi import MPI
from mpibatch.resample._loops import splines

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["PAD", "filter_axis", "padding_of"]

Array = npt.NDArray[Any]

WARM = 64  # cells that a rank begins early
SHORT = 4 * WARM  # lines of fewer cells are not cut
LARGE = 1e250  # bounds of larger values might overflow
PAD = 12  # cells that scipy adds beyond walls for which it has no start value

# Roots of the B-splines' z-transforms, as in scipy: sqrt(8) - 3, sqrt(3) - 2, …
POLES = {
    2: (-0.171572875253809902396622551580603843,),
    3: (-0.267949192431122706472553658494127633,),
    4: (-0.361341225900220177092212841325675255, -0.013725429297339121360331226939128204),
    5: (-0.430575347099973791851434783493520110, -0.043096288203264653822712376822550182),
}
_KINDS = {
    "reflect": splines.REFLECT,
    "nearest": splines.REFLECT,
    "grid-mirror": splines.REFLECT,
    "grid-wrap": splines.WRAP,
}  # all others: as mirrored


def padding_of(mode: str) -> int:
    """Return how many cells scipy adds beyond a wall before it makes coefficients. Local."""
    return PAD if mode in ("nearest", "grid-constant") else 0


@dataclass(frozen=True, slots=True)
class _Pole:
    """One pole of a filter, for lines of n cells."""

    z: float
    n: int
    kind: int

    @property
    def power(self) -> float:
        """Of the other end of a mirrored line. Local."""
        return math.pow(self.z, self.n - 1 if self.kind == splines.MIRROR else self.n)

    @property
    def cycle(self) -> float:
        """The pole's power after going around, product by product. Local."""
        value = self.z
        for _ in range(self.n - 1):
            value *= self.z
            if value == 0.0:
                break
        return value

    def started(self, total: Array, first: Array) -> Array:
        """Return the first value of the causal pass from the sum over the line, which began with the first. Local."""
        if self.kind == splines.WRAP:
            return total / (1 - self.cycle)
        if self.kind == splines.MIRROR:
            return total / (1 - self.power * self.power)
        return total * (self.z / (1 - self.power * self.power)) + first

    def turned(self, last: Array, before: Array, total: Array | None) -> Array:
        """Return the first value of the anticausal pass, that of the last cell. Local."""
        z = self.z
        if self.kind == splines.MIRROR:
            return (z * before + last) * z / (z * z - 1)
        if self.kind == splines.REFLECT:
            return last * (z / (z - 1))
        assert total is not None
        return total * (z / (self.cycle - 1))


def filter_axis(u: Field, axis: int, order: int, mode: str) -> None:
    """Make coefficients of values along an axis, in place; `u` is of f8, without halo. Collective."""
    n = u.grid.shape[axis]
    if n < 2:
        return
    kind = splines.WRAP if u.grid.periodic[axis] else _KINDS.get(mode, splines.MIRROR)
    poles = [_Pole(z, n, kind) for z in POLES[order]]
    gain = 1.0
    for pole in poles:
        gain *= (1.0 - pole.z) * (1.0 - 1.0 / pole.z)
    if are_whole(u.grid, axis):
        _filter_whole(u, axis, poles, gain)
        return
    most = math.inf
    if n >= SHORT:
        with timed("compute"):
            most = float(splines.largest(u.owned.reshape(-1)))
        with timed("halo"):
            most = u.grid.comm.allreduce(most, op=MPI.MAX) * gain
    if most <= LARGE:
        lines = _CutLines(u, axis, most)
        for pole in poles:
            lines.filter(pole, gain)
            gain = 1.0
        return
    whole = redistribute(u, pencils(u.grid, axis))
    _filter_whole(whole, axis, poles, gain)
    move(u.grid.comm, whole.grid.decomposition, whole.owned, u.grid.decomposition, u.owned)


def _lines(cells: Array, axis: int) -> Array:
    """View a contiguous array as (lines before, cells, lines behind). Local."""
    shape = cells.shape
    return cells.reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))


def _filter_whole(u: Field, axis: int, poles: list[_Pole], gain: float) -> None:
    if not u.owned.size:
        return
    zs, powers, cycles = (np.array(v) for v in zip(*((p.z, p.power, p.cycle) for p in poles), strict=True))
    with timed("compute"):
        splines.whole_lines(_lines(u.owned, axis), gain, zs, powers, cycles, poles[0].kind)


class _CutLines:
    """A field's lines along a cut axis, and a second array that passes go to and come from."""

    def __init__(self, u: Field, axis: int, most: float) -> None:
        self.u, self.axis, self.most = u, axis, most
        self.passed = u.like()
        self.n = u.grid.shape[axis]
        self.start, self.stop = u.box.start[axis], u.box.stop[axis]
        self.has_cells = u.owned.size > 0
        blocks = u.grid.decomposition.axes[axis]
        low, high = (blocks.bounds(blocks.owner(end)) for end in (0, self.n - 1))
        # Ends that are short know too little of a sum over the line.
        self.more = WARM if min(low[1] - low[0], high[1] - high[0]) < 2 * WARM else 0

    def slabs(self, u: Field, low: int, high: int, *, wraps: bool = False) -> tuple[Array, Array]:
        """Return the cells before and behind the block, as lines. Collective."""
        before, after = slabs(u, self.axis, (low, high), "wrap" if wraps else "nearest")
        return _lines(before, self.axis), _lines(after, self.axis)

    def filter(self, pole: _Pole, gain: float) -> None:
        """Make both passes of one pole. Collective."""
        self.forward(pole, gain)
        self.backward(pole)
        self.most *= 64.0  # neither pass, nor its start, grows by more than a few

    def forward(self, pole: _Pole, gain: float) -> None:
        """Make the causal pass to `passed`. Collective."""
        wraps = pole.kind == splines.WRAP
        low = 2 * WARM if wraps else WARM
        before, after = self.slabs(self.u, low, 0 if wraps else self.more, wraps=wraps)
        cells, state, is_bad = _lines(self.u.owned, self.axis), None, False
        if self.has_cells:
            if self.start > WARM:
                state = self._after_warm(before[:, low - WARM :], gain, pole, None)
            else:
                at = low - self.start  # of cell 0
                near = np.concatenate([before[:, at:], cells, after], axis=1) if self.start or self.more else cells
                known = before[:, :at][:, ::-1] if wraps else near[:, 1:]
                first = near[:, 0] * gain
                total, is_bad = self._sum(known, first, gain, pole, self.n - 1 - (pole.kind == splines.MIRROR))
                state = pole.started(total, first)
        state = self._put_right(pole, gain, state, is_bad)
        if self.has_cells and 0 < self.start <= WARM:
            state = self._after_warm(before[:, low - self.start :], gain, pole, state)
        target = _lines(self.passed.owned, self.axis)
        if self.has_cells:
            with timed("compute"):
                splines.forward(cells, target, gain, pole.z, state, self.start == 0)
        redone = True
        while redone:
            true, _ = self.slabs(self.passed, 1, 0)
            redone = False
            if self.has_cells and self.start > 0:
                with timed("compute"):
                    redone = splines.redo_forward(cells, target, gain, pole.z, state, true[:, 0])
            redone = self._any(redone)

    def backward(self, pole: _Pole) -> None:
        """Make the anticausal pass from `passed` back. Collective."""
        wraps, rest = pole.kind == splines.WRAP, self.n - self.stop
        before, after = self.slabs(self.passed, 1, 2 * WARM if wraps else WARM, wraps=wraps)
        cells, target, state = _lines(self.passed.owned, self.axis), _lines(self.u.owned, self.axis), None
        is_bad = False
        if self.has_cells:
            if rest > WARM:
                warm = after[:, :WARM]
                start = pole.turned(warm[:, -1], warm[:, -2], warm[:, -1])
                state = self._before_warm(warm, pole, start)
            else:
                near = np.concatenate([before, cells, after[:, :rest]], axis=1)
                last, total = near[:, -1], None
                if wraps:
                    total, is_bad = self._sum(after[:, rest:], last, 1.0, pole, self.n - 1)
                state = pole.turned(last, near[:, -2], total)
        if wraps:
            state = self._put_right_turned(pole, state, is_bad)
        if self.has_cells and 0 < rest <= WARM:
            state = self._before_warm(after[:, :rest], pole, state)
        if self.has_cells:
            with timed("compute"):
                splines.backward(cells, target, pole.z, state, rest == 0)
        redone = True
        while redone:
            _, true = self.slabs(self.u, 0, 1)
            redone = False
            if self.has_cells and rest > 0:
                with timed("compute"):
                    redone = splines.redo_backward(cells, target, pole.z, state, true[:, 0])
            redone = self._any(redone)

    def _any(self, flag: bool) -> bool:
        with timed("halo"):
            return bool(self.u.grid.comm.allreduce(flag, op=MPI.LOR))

    def _after_warm(self, warm: Array, gain: float, pole: _Pole, start: Array | None) -> Array:
        """Return the state at the end of the cells before the block. Local."""
        warm = np.ascontiguousarray(warm)
        passed = np.empty_like(warm)
        splines.forward(warm, passed, gain, pole.z, warm[:, 0] * gain if start is None else start, True)
        return passed[:, -1].copy()

    def _before_warm(self, warm: Array, pole: _Pole, start: Array | None) -> Array:
        """Return the state at the beginning of the cells behind the block. Local."""
        warm = np.ascontiguousarray(warm)
        passed = np.empty_like(warm)
        splines.backward(warm, passed, pole.z, start, True)
        return passed[:, 0].copy()

    def _sum(self, known: Array, first: Array, gain: float, pole: _Pole, terms: int) -> tuple[Array, bool]:
        """Return a sum over the line of which some cells are known, and whether it is uncertain. Local."""
        far = 0.0 if pole.kind == splines.WRAP else 4.0 * abs(pole.power) * self.most
        low, high = first - far, first + far
        with timed("compute"):
            splines.bounds_of_sum(np.ascontiguousarray(known), gain, pole.z, far, self.most, terms, low, high)
        return low, not np.array_equal(low, high)

    def _put_right(self, pole: _Pole, gain: float, state: Array | None, is_bad: bool) -> Array | None:
        """Return the start value, from as many cells as have any weight if it is uncertain anywhere. Collective."""
        if not self._any(is_bad):
            return state
        ends = self._ends(self.u, is_bad)
        if not is_bad:
            return state
        head, tail = (end * gain for end in ends)
        first = head[:, 0]
        if pole.kind == splines.WRAP:
            return pole.started(_added(first, tail[:, ::-1], pole.z, self.n - 1), first)
        both = head + pole.power * tail[:, ::-1]
        terms = self.n - 1 - (pole.kind == splines.MIRROR)
        return pole.started(_added(both[:, 0], both[:, 1:], pole.z, terms), first)

    def _put_right_turned(self, pole: _Pole, state: Array | None, is_bad: bool) -> Array | None:
        """Return the start value of the way back of lines that wrap, if it is uncertain anywhere. Collective."""
        if not self._any(is_bad):
            return state
        head, tail = self._ends(self.passed, is_bad)
        if not is_bad:
            return state
        return pole.turned(tail[:, -1], tail[:, -1], _added(tail[:, -1], head, pole.z, self.n - 1))

    def _ends(self, u: Field, is_needed: bool) -> tuple[Array, Array]:
        """Return the first and the last cells of this rank's lines, as many as have any weight. Collective."""
        many = min(self.n, 1024)  # 0.44**1000 is 0
        needs = [[(low, high)] for low, high in zip(u.box.start, u.box.stop, strict=True)]
        ends = []
        for run in ((0, many), (self.n - many, self.n)):
            needs[self.axis] = [run] if is_needed else []
            ends.append(_lines(np.ascontiguousarray(fetch(u, needs)), self.axis) if is_needed else fetch(u, needs))
        return ends[0], ends[1]


def _added(first: Array, cells: Array, z: float, terms: int) -> Array:
    """Return a sum of cells with the powers of a pole, one after another. Local."""
    total, power = first.copy(), z
    for i in range(min(terms, cells.shape[1])):
        if power == 0.0:
            break
        total += power * cells[:, i]
        power *= z
    return total
