"""Passes along one axis after the other: lines by scipy.fft, with the order and the rounding of its n-dim transforms.

A complex transform goes through the axes in the order given, one of real values begins with the last one, and its
inverse ends with it. The factor of the norm is multiplied in once: after the first pass, or, of the inverse of
real values, after the last one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.lazy_names import scipy_module
from mpibatch.fields.lines import along_lines, line_bytes
from mpibatch.fields.pencils import alike
from mpibatch.fields.redistribution import move
from mpibatch.fields.steps import AxisStep, along_both, both_bytes
from mpibatch.filters._engine.memory import check_memory
from mpibatch.fourier._engine.arguments import complex_dtype
from mpibatch.fourier._engine.chains import chain_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["complex_passes", "from_half", "half_of", "passed", "resized", "through"]

Array = npt.NDArray[Any]


def passed(
    name: str, u: Field, axis: int, cells: int, dtype: npt.DTypeLike, work: Any, into: Field | None = None
) -> Field:
    """Return `along_lines`, if there is memory for it. Collective."""
    needed = line_bytes(u, axis, cells, np.dtype(dtype).itemsize)
    check_memory(u.grid, name, needed, "whole lines", "take shorter lines, or fewer ranks along the axis")
    return along_lines(u, axis, cells, dtype, work, into)


def resized(u: Field, axes: Sequence[int], sizes: Sequence[int]) -> Field:
    """Return the field cut off, or padded with zeros, along axes; itself if they have these lengths. Collective."""
    shape = list(u.grid.shape)
    for axis, n in zip(axes, sizes, strict=True):
        shape[axis] = n
    new = alike(u.grid, shape)
    if new is u.grid:
        return u
    result = new.zeros(u.dtype, 0, u.components)
    move(u.grid.comm, u.grid.decomposition, u.owned, new.decomposition, result.owned)
    return result


def through(name: str, u: Field, steps: Sequence[AxisStep], *, is_spare: bool = False) -> Field:
    """Return a field after steps along one axis after the other. Collective.

    Where several of their axes are cut, they are a chain of moves. Else, of two steps that fit one another, the first
    goes into the second a piece at a time. With `is_spare`, `u` itself, a
    field without halo, is changed, and returned if it can hold the result.
    """
    if len(steps) > 1 and (chain := chain_of(u, steps)) is not None:
        check_memory(u.grid, name, chain.bytes, "its blocks on their way", "take more ranks")
        return chain.run(u, steps)
    left = list(steps)
    while left:
        step, *left = left
        joined = _joined(name, u, step, left[0], is_spare=is_spare) if left else None
        if joined is None:
            u = passed(name, u, step.axis, step.cells, step.dtype, step.work, _into(u, step, is_spare=is_spare))
        else:
            u, left = joined, left[1:]
        is_spare = True
    return u


def _joined(name: str, u: Field, first: AxisStep, second: AxisStep, *, is_spare: bool) -> Field | None:
    check_memory(u.grid, name, both_bytes(u, second.axis), "whole lines", "take fewer ranks along the axis")
    into = _into(u, second, is_spare=is_spare and first.cells == u.grid.shape[first.axis])
    return along_both(u, first, second, into)


def _into(u: Field, step: AxisStep, *, is_spare: bool) -> Field | None:
    """Return the field itself if it may, and can, have the result of a step."""
    return u if is_spare and step.cells == u.grid.shape[step.axis] and step.dtype == u.dtype else None


def complex_steps(u: Field, axes: Sequence[int], sizes: Sequence[int], factor: Any, *, forward: bool) -> list[AxisStep]:
    """Return the steps of the complex transform along axes, unscaled but for a factor after the first. Local."""
    function = scipy_module("fft").fft if forward else scipy_module("fft").ifft
    norm = "backward" if forward else "forward"  # which scale neither
    dtype = complex_dtype(u.dtype if u.dtype.kind in "fc" else np.dtype("f8"))

    def work(source: Array, target: Array, _: Any, factor: Any = None) -> None:
        if not np.may_share_memory(source, target):
            fit(source, target)
        result = function(target, axis=1, norm=norm, overwrite_x=True)
        if not np.may_share_memory(result, target):
            target[...] = result
        if factor is not None:
            times(target, factor)

    steps = [AxisStep(axis, n, dtype, work) for axis, n in zip(axes, sizes, strict=True)]
    if factor is not None:
        steps[0] = replace(steps[0], work=lambda s, t, c: work(s, t, c, factor))
    return steps


def complex_passes(
    name: str,
    u: Field,
    axes: Sequence[int],
    sizes: Sequence[int],
    factor: Any,
    *,
    forward: bool,
    is_spare: bool = False,
) -> Field:
    """Return the complex transform along axes, unscaled but for a factor after the first pass. Collective.

    With `is_spare`, `u` itself, a complex field without halo, is changed, and returned where its lines go home.
    """
    start = u if is_spare else resized(u, axes[1:], sizes[1:])
    return through(name, start, complex_steps(u, axes, sizes, factor, forward=forward), is_spare=is_spare)


def half_of(name: str, u: Field, axes: Sequence[int], sizes: Sequence[int], factor: Any, *, forward: bool) -> Field:
    """Return the half of the transform of real values that is not the mirror image of the other. Collective."""
    fft = scipy_module("fft")
    function = fft.rfft if forward else fft.ihfft
    norm = "backward" if forward else "forward"
    last, n = axes[-1], sizes[-1]
    dtype = complex_dtype(u.dtype if u.dtype.kind == "f" else np.dtype("f8"))

    def work(source: Array, target: Array, _: Any) -> None:
        target[...] = function(source, n, axis=1, norm=norm)
        if factor is not None:
            times(target, factor)

    start = resized(u, axes[:-1], sizes[:-1])
    others = complex_steps(u, axes[:-1], sizes[:-1], None, forward=forward)
    return through(name, start, [AxisStep(last, n // 2 + 1, dtype, work), *others])


def from_half(
    name: str, u: Field, axes: Sequence[int], sizes: Sequence[int], factor: Any, *, is_spare: bool = False
) -> Field:
    """Return the real values of which `u` is half of the transform. Collective.

    With `is_spare`, `u` itself, a complex field without halo, may be changed.
    """
    last, n = axes[-1], sizes[-1]
    start = resized(u, axes, [*sizes[:-1], n // 2 + 1])
    others = complex_steps(u, axes[:-1], sizes[:-1], None, forward=False)
    dtype = np.empty(0, complex_dtype(u.dtype)).real.dtype if u.dtype.kind in "fc" else np.dtype("f8")
    function = scipy_module("fft").irfft

    def work(source: Array, target: Array, _: Any) -> None:
        target[...] = function(source, n, axis=1, norm="forward")
        if factor is not None:
            np.multiply(target, factor, out=target)

    is_spare = (is_spare or start is not u) and start.dtype.kind == "c"
    return through(name, start, [*others, AxisStep(last, n, dtype, work)], is_spare=is_spare)


def times(values: Array, factor: Any) -> None:
    """Multiply complex values by a real number, without the zeros that a complex one would add."""
    for part in (values.real, values.imag):
        np.multiply(part, factor, out=part)


def fit(source: Array, target: Array) -> None:
    """Copy lines, cut off or padded with zeros."""
    n = min(source.shape[1], target.shape[1])
    target[:, :n] = source[:, :n]
    target[:, n:] = 0
