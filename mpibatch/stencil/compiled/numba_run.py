"""The compiled back end at work: arrays as the generated functions take them, strips, threads."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.processes.threads import pool
from mpibatch.stencil.compiled.arguments import addresses, numbers
from mpibatch.stencil.compiled.modules import load
from mpibatch.stencil.compiled.numba_source import Signature, kernel_text, number_parameters, signature_of
from mpibatch.stencil.compiled.strips import Strips, SweepChoice, strips_of
from mpibatch.stencil.compiled.wall_source import code_of_edges
from mpibatch.stencil.compiled.ways import WAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mpibatch.stencil.compiled.edges import Edges
    from mpibatch.stencil.compiled.types import Stored, Sweep, Typed

__all__ = ["LoopedKernel", "flat_arguments", "loop_ranges"]


Given = tuple[list[int], npt.NDArray[np.float64]]  # numbers of a call: whole ones, and floats


class LoopedKernel:
    """A typed kernel on certain memory, with all of a sweep that can be known without the call's numbers.

    Parameters
    ----------
    edges : by input, what a sweep fills outside the domain on its way; None where that is done already.
    """

    def __init__(
        self,
        typed: Typed,
        outputs: Sequence[Stored],
        inputs: Sequence[Stored],
        geometry: Mapping[tuple[str, int], Any],
        threads: int = 1,
        edges: Sequence[Edges | None] = (),
    ) -> None:
        others = [stored.array for n, stored in enumerate(inputs) if n not in typed.in_place]
        are_apart = not any(out.array is array for out in outputs for array in others)
        signature = signature_of(typed)
        self._loops = functools.partial(_compiled, typed, are_apart)
        self._typed, self._threads = typed, threads
        arrays = [x for stored in (*outputs, *inputs) for x in flat_arguments(stored, typed.ndim)]
        self._arrays, self._memory = arrays, addresses(arrays)
        known = [geometry[key] for key in signature.geometry]
        scalars = len(typed.scalars)
        self._places = numbers(number_parameters(typed, signature)[scalars:], known)
        self._whole = [name for name, kind in typed.scalars if kind != "float"]
        self._floats = [name for name, kind in typed.scalars if kind == "float"]
        self._packed: dict[tuple[int, ...], npt.NDArray[np.int64]] = {}  # by the range, where no scalar is whole
        # Inputs may share memory, whose edges are filled once.
        filled = {id(e): n for n, e in reversed(list(enumerate(edges))) if e and n in signature.read_off}
        self._edges = [edges[n] if n in filled.values() else None for n in signature.read_off]
        kept = zip(self._edges, signature.read_off, strict=True)
        self._code = [code_of_edges(typed.inputs[n].dtype) if own else 0 for own, n in kept]
        self._strips = _strips_of(typed, signature, outputs, inputs, threads)
        lengths = zip(outputs[0].array.shape, outputs[0].first, strict=False)
        self._cells = math.prod(n - 2 * low for n, low in lengths)

    def sweep(self, scalars: Mapping[str, Any]) -> Sweep:
        """Return what computes the owned cells [start, stop) of the outputs, as `numpy_run.shifted` does. Local."""
        ints, floats = self._places
        whole = [int(scalars[name]) for name in self._whole]
        given = np.array([scalars[name] for name in self._floats] + floats, "f8")
        return functools.partial(self._sweep, (whole + ints, given))

    def _sweep(self, given: Given, start: Sequence[int], stop: Sequence[int]) -> None:
        strips, cells = self._strips, 1
        for begin, end in zip(start, stop, strict=True):
            if end <= begin:
                return
            cells *= end - begin
        # Ranges that are not nearly the whole block are over too soon to be timed against it.
        if strips is None:
            self._sweep_rows(given, start, stop, SweepChoice(1))
        elif strips.is_settled or 2 * cells <= self._cells:
            self._sweep_rows(given, start, stop, strips.current())
        else:
            with strips.turn() as strip:
                self._sweep_rows(given, start, stop, strip)

    def _sweep_rows(self, given: Given, start: Sequence[int], stop: Sequence[int], strip: SweepChoice) -> None:
        loop = self._loops(strip.way)
        parts = _shared_out(loop_ranges(start, stop), self._threads, self._typed.ndim)
        if len(parts) == 1:
            self._run(loop, given, strip.rows, parts[0])
            return
        if not getattr(loop, "signatures", True):
            # Over no cells, since compiling in the threads would be counted as computing.
            loop(np.zeros(1, "i8"), np.zeros(1, "f8"), 0, 0, 0, 0, 0, 0)
        for job in [pool(self._threads).submit(self._run, loop, given, strip.rows, part) for part in parts]:
            job.result()

    def _run(self, loop: Callable[..., None], given: Given, rows: int, part: tuple[int, ...]) -> None:
        whole, floats = given
        for ranges in _strips(part, rows):
            packed = self._packed.get(ranges)
            if packed is None:
                fills: list[int] = []
                for own, code in zip(self._edges, self._code, strict=True):
                    fills += own.packed(ranges, code) if own else (0, 0, 0, 0)
                packed = np.array(self._memory + whole + fills, "i8")
                if not self._whole:
                    self._packed[ranges] = packed
            loop(packed, floats, *ranges)


@functools.lru_cache(maxsize=256)
def _compiled(typed: Typed, are_apart: bool, way: int) -> Callable[..., None]:
    function: Callable[..., None] = load(kernel_text(typed, are_apart, WAYS[way])).sweep
    return function


def flat_arguments(stored: Stored, ndim: int) -> list[Any]:
    """Return what the generated functions take of an array: it, flat; the place of owned cell 0; two strides. Local."""
    shape = stored.array.shape
    words = 1
    for n in shape[ndim:]:
        words *= n
    strides = [words] * ndim
    for axis in range(ndim - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    first = sum(low * stride for low, stride in zip(stored.first, strides, strict=True))
    slow, middle = {1: (0, 0), 2: (strides[0], 0), 3: tuple(strides[:2])}[ndim]
    return [stored.array.reshape(-1), first, slow, middle]


def loop_ranges(start: Sequence[int], stop: Sequence[int]) -> tuple[int, ...]:
    """Return (k0, k1, j0, j1, i0, i1) of a range of cells; axes that are not there have one cell. Local."""
    pairs = list(zip(start, stop, strict=True))
    single_cell = (0, 1)
    k, j, i = {1: [single_cell, single_cell, *pairs], 2: [pairs[0], single_cell, pairs[-1]], 3: pairs}[len(pairs)]
    return (*k, *j, *i)


def _strips_of(
    typed: Typed, signature: Signature, outputs: Sequence[Stored], inputs: Sequence[Stored], threads: int
) -> Strips | None:
    """Return how rows of each plane are swept together; None on grids without rows."""
    if typed.ndim < 2:
        return None
    row: int = sum(
        len(planes) * array.dtype.itemsize * array.words * stored.array.shape[typed.ndim - 1]
        for planes, array, stored in zip(signature.planes, typed.inputs, inputs, strict=True)
    )
    nbytes = sum(stored.array.nbytes for stored in (*outputs, *inputs))
    return strips_of(typed, row, nbytes, outputs[0].array.shape[: typed.ndim], threads)


def _strips(ranges: tuple[int, ...], strip: int) -> Iterator[tuple[int, ...]]:
    k0, k1, j0, j1, i0, i1 = ranges
    for j in range(j0, j1, strip):
        yield k0, k1, j, min(j + strip, j1), i0, i1


def _shared_out(ranges: tuple[int, ...], threads: int, ndim: int) -> list[tuple[int, ...]]:
    """Cut the slowest axis that there is into a part per thread."""
    at = 0 if ndim > 1 else 4
    begin, end = ranges[at : at + 2]
    number = max(1, min(threads, end - begin))
    cuts = [begin + (end - begin) * t // number for t in range(number + 1)]
    return [(*ranges[:at], a, b, *ranges[at + 2 :]) for a, b in itertools.pairwise(cuts)]
