"""The compiled back end at work: arrays as the generated functions take them, strips, threads."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mpibatch.stencil.cached import load
from mpibatch.stencil.generated import kernel_text, signature_of
from mpibatch.stencil.typed import Stored, Sweep, Typed

__all__ = ["flat_arguments", "loop_ranges", "looped", "pool"]

# Bytes of planes that a strip of rows may hold while it is swept: a core's share of the L3 cache. Strips that fit
# into L2 were slower by a tenth (heat 256³ f8, Zen 5): short strips are over before the prefetchers are at speed.
STRIP_BYTES = 4 * 1024 * 1024
LEAST_STRIP = 16


def looped(
    typed: Typed,
    outputs: Sequence[Stored],
    inputs: Sequence[Stored],
    scalars: Mapping[str, Any],
    geometry: Mapping[tuple[str, int], Any],
    threads: int = 1,
) -> Sweep:
    """Return a function that computes the owned cells [start, stop) of the outputs; as `shifted.shifted`. Local."""
    loop, known = _compiled(typed)
    arguments: list[Any] = []
    for stored in (*outputs, *inputs):
        arguments += flat_arguments(stored, typed.ndim)
    arguments += [float(scalars[name]) if kind == "float" else scalars[name] for name, kind in typed.scalars]
    arguments += [geometry[key] for key in known]
    strip = _strip(typed, inputs)

    def sweep(start: Sequence[int], stop: Sequence[int]) -> None:
        if any(b <= a for a, b in zip(start, stop, strict=True)):
            return
        parts = _shared_out(loop_ranges(start, stop), threads, typed.ndim)
        if len(parts) == 1:
            loop(*arguments, *parts[0], strip)
            return
        for job in [pool(threads).submit(loop, *arguments, *part, strip) for part in parts]:
            job.result()

    return sweep


@functools.lru_cache(maxsize=256)
def _compiled(typed: Typed) -> tuple[Callable[..., None], tuple[tuple[str, int], ...]]:
    return load(kernel_text(typed)).sweep, signature_of(typed).geometry


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
    one = (0, 1)
    k, j, i = {1: [one, one, *pairs], 2: [pairs[0], one, pairs[-1]], 3: pairs}[len(pairs)]
    return (*k, *j, *i)


def _strip(typed: Typed, inputs: Sequence[Stored]) -> int:
    """Return how many rows of each plane to sweep together."""
    if typed.ndim < 3:
        return 1
    row: int = sum(
        len(planes) * array.dtype.itemsize * array.words * stored.array.shape[2]
        for planes, array, stored in zip(signature_of(typed).planes, typed.inputs, inputs, strict=True)
    )
    return max(LEAST_STRIP, STRIP_BYTES // max(1, row))


def _shared_out(ranges: tuple[int, ...], threads: int, ndim: int) -> list[tuple[int, ...]]:
    """Cut the slowest axis that there is into a part per thread."""
    at = 0 if ndim > 1 else 4
    begin, end = ranges[at : at + 2]
    number = max(1, min(threads, end - begin))
    cuts = [begin + (end - begin) * t // number for t in range(number + 1)]
    return [(*ranges[:at], a, b, *ranges[at + 2 :]) for a, b in itertools.pairwise(cuts)]


@functools.cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Return the threads that sweeps share. Local."""
    return ThreadPoolExecutor(threads, thread_name_prefix="mpibatch-stencil")
