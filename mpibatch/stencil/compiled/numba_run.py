"""The compiled back end at work: arrays as the generated functions take them, strips, threads."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.threads import pool
from mpibatch.stencil.compiled.modules import load
from mpibatch.stencil.compiled.numba_source import Signature, kernel_text, signature_of
from mpibatch.stencil.compiled.strips import Strips, strips_of
from mpibatch.stencil.compiled.tables import EdgeJob, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mpibatch.stencil.compiled.edges import Edges
    from mpibatch.stencil.compiled.types import Stored, Sweep, Typed

__all__ = ["flat_arguments", "loop_ranges", "looped"]


def looped(
    typed: Typed,
    outputs: Sequence[Stored],
    inputs: Sequence[Stored],
    scalars: Mapping[str, Any],
    geometry: Mapping[tuple[str, int], Any],
    threads: int = 1,
    edges: Sequence[Edges | None] = (),
) -> Sweep:
    """Return a function that computes the owned cells [start, stop) of the outputs; as `shifted.shifted`. Local.

    `edges` are, by input, what it fills outside the domain on its way; None where that is done already.
    """
    others = [stored.array for n, stored in enumerate(inputs) if n not in typed.in_place]
    loop, signature = _compiled(typed, not any(out.array is array for out in outputs for array in others))
    memory: list[Any] = []
    for stored in (*outputs, *inputs):
        memory += flat_arguments(stored, typed.ndim)
    numbers = [float(scalars[name]) if kind == "float" else scalars[name] for name, kind in typed.scalars]
    numbers += [geometry[key] for key in signature.geometry]
    # Inputs may share memory, whose edges are filled once.
    filled = {id(e): n for n, e in reversed(list(enumerate(edges))) if e and n in signature.read_off}
    strips = _strips_of(typed, outputs, inputs, threads)
    nothing = table_of([], EdgeJob)

    def arguments(ranges: tuple[int, ...]) -> list[Any]:
        tables: list[Any] = []
        for n in signature.read_off:
            own = edges[n] if n in filled.values() else None
            tables += own.tables(ranges) if own else (nothing, np.zeros(0, typed.inputs[n].dtype))
        return [*memory, *tables, *numbers, *ranges]

    def run(part: tuple[int, ...], rows: int) -> None:
        for ranges in _strips(part, rows):
            loop(*arguments(ranges))

    def sweep(start: Sequence[int], stop: Sequence[int]) -> None:
        if any(b <= a for a, b in zip(start, stop, strict=True)):
            return
        if strips is None:
            sweep_rows(start, stop, 1)
        elif strips.is_settled or not is_most(start, stop):
            sweep_rows(start, stop, strips.rows())
        else:
            with strips.turn() as rows:
                sweep_rows(start, stop, rows)

    def is_most(start: Sequence[int], stop: Sequence[int]) -> bool:
        """Whether a range is nearly the whole block: others are over too soon to be timed against it."""
        cells = [b - a for a, b in zip(start, stop, strict=True)]
        block = [n - 2 * low for n, low in zip(outputs[0].array.shape, outputs[0].first, strict=False)]
        return bool(2 * math.prod(cells) > math.prod(block))

    def sweep_rows(start: Sequence[int], stop: Sequence[int], rows: int) -> None:
        parts = _shared_out(loop_ranges(start, stop), threads, typed.ndim)
        if len(parts) == 1:
            run(parts[0], rows)
            return
        if not getattr(loop, "signatures", True):
            # Over no cells, since compiling in the threads would be counted as computing.
            nowhere = [table for n in signature.read_off for table in (nothing, np.zeros(0, typed.inputs[n].dtype))]
            loop(*memory, *nowhere, *numbers, 0, 0, 0, 0, 0, 0)
        for job in [pool(threads).submit(run, part, rows) for part in parts]:
            job.result()

    return sweep


@functools.lru_cache(maxsize=256)
def _compiled(typed: Typed, are_apart: bool) -> tuple[Callable[..., None], Signature]:
    return load(kernel_text(typed, are_apart)).sweep, signature_of(typed)


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


def _strips_of(typed: Typed, outputs: Sequence[Stored], inputs: Sequence[Stored], threads: int) -> Strips | None:
    """Return how rows of each plane are swept together; None on grids without planes."""
    if typed.ndim < 3:
        return None
    row: int = sum(
        len(planes) * array.dtype.itemsize * array.words * stored.array.shape[2]
        for planes, array, stored in zip(signature_of(typed).planes, typed.inputs, inputs, strict=True)
    )
    return strips_of(typed, row, outputs[0].array.shape[:3], threads)


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
