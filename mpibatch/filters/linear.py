"""Linear filters with the names, parameters and bits of scipy.ndimage. Each takes a Field and returns a new one.

What holds for all of them:

- The result is on the input's grid, has no halo, and the input's dtype unless `output` names another one. As in
  scipy, intermediate results of a filter of several passes are rounded to the output's dtype after each pass; cells of
  a bool result are True where scipy's are not 0 (scipy leaves other numbers than 0 and 1 in arrays of bool).
- Axes are grid axes. Component axes are never filtered: an RGB picture is filtered channel by channel, as scipy
  does with ``axes=(0, 1)``.
- `mode` is one of scipy's names (reflect, mirror, nearest, wrap, constant and the grid- synonyms), where a
  parameter per axis is allowed one per filtered axis; on a periodic axis of the grid it is ``wrap`` whatever is
  asked. `cval` is the value beyond walls of mode ``constant``.
- `output` is a dtype. Unlike in scipy it cannot be an array.
- All are collective. Each pass sends at most two messages per rank: the cells within reach of the faces.

Raises UsageError for a parameter that cannot be meant, and UsageError or RunError for a kernel whose halo does not
fit into memory (see `mpibatch.filters._engine.memory`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import cast
from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field, check_field
from mpibatch.filters._engine import arguments as ask
from mpibatch.filters._engine.lines import correlate_axis, uniform_axis
from mpibatch.filters._engine.memory import check_memory, padded_bytes, slab_bytes
from mpibatch.filters._engine.windows import correlate_window, holds

__all__ = [
    "begin",
    "checked",
    "convolve",
    "convolve1d",
    "copied",
    "correlate",
    "correlate1d",
    "passes",
    "uniform_filter",
    "uniform_filter1d",
]

Weights = npt.NDArray[np.float64]


def weights_of(name: str, weights: Any, ndim: int) -> Weights:
    """Return `weights` as f8 with `ndim` axes. Local."""
    try:
        found = np.asarray(weights)
        if found.dtype.kind == "c":
            raise UsageError(f"{name}: weights are complex; filter with their real and imaginary parts")
        found = found.astype(np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{name}: weights = {weights!r} are no numbers; give a sequence of numbers") from None
    if found.ndim != ndim or not found.size:
        raise UsageError(
            f"{name}: weights of shape {found.shape} were given for {ndim} filtered axes;"
            f" give at least one weight, and {ndim} axes"
        )
    return found


def checked(name: str, u: Any) -> None:
    """Raise UsageError unless `u` is a Field of a dtype that filters take. Local."""
    check_field(name, u)
    ask.input_dtype(name, u.dtype)


def begin(name: str, u: Any, output: Any = None) -> Field:
    """Return the still empty result of a filter of `u`, after checking both dtypes. Local."""
    checked(name, u)
    return Field(u.grid, ask.output_dtype(name, output, u.dtype), 0, u.components)


def truths(out: Field) -> Field:
    """Return `out`, with every byte of a bool result that is not 0 set to 1. Local.

    scipy leaves any number in arrays of bool, and its passes read them as numbers: so only the last one is cleaned.
    """
    if out.dtype == np.bool_:
        np.not_equal(out.padded.view(np.uint8), 0, out=out.padded)
    return out


def copied(u: Field, out: Field) -> Field:
    """Copy the owned cells of `u` to `out`, cast as scipy does where no axis is filtered. Local."""
    with np.errstate(invalid="ignore"):
        out.owned[...] = cast(u.owned, out.dtype)
    return out


def passes(u: Field, out: Field, steps: Iterable[tuple[int, Weights, str]], cval: float) -> Field:
    """Correlate along one axis after the other; a step is (axis, weights, mode). Collective.

    All passes but the first work in place on `out`.
    """
    with timed("compute"):
        for axis, weights, mode in steps:
            correlate_axis(u, out, axis, weights, mode, cval)
            u = out
    return truths(out)


def correlate1d(
    u: Field,
    weights: Sequence[float] | Weights,
    axis: int = -1,
    output: npt.DTypeLike | None = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int = 0,
) -> Field:
    """Correlate along one grid axis with `weights`. Collective.

    weights : one-dimensional; the centre is weight ``len(weights)//2``, moved by `origin` cells.
    """
    return _correlated1d("correlate1d", u, weights_of("correlate1d", weights, 1), axis, output, mode, cval, origin)


def convolve1d(
    u: Field,
    weights: Sequence[float] | Weights,
    axis: int = -1,
    output: npt.DTypeLike | None = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int = 0,
) -> Field:
    """Convolve along one grid axis with `weights`: correlate1d with the weights reversed. Collective."""
    taps = weights_of("convolve1d", weights, 1)
    shift = _reversed(ask.origins_of("convolve1d", origin, taps.shape), taps.shape)
    return _correlated1d("convolve1d", u, taps[::-1], axis, output, mode, cval, shift)


def _reversed(origins: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Return the origins of a window after its reversal along every axis. Local."""
    return tuple(-origin - (size % 2 == 0) for origin, size in zip(origins, shape, strict=True))


def _correlated1d(
    name: str, u: Field, weights: Weights, axis: Any, output: Any, mode: Any, cval: Any, origin: Any
) -> Field:
    out = begin(name, u, output)
    along = ask.axis_of(name, axis, u.grid.ndim)
    (shift,) = ask.origins_of(name, origin, (weights.size,))
    where, wall = ask.mode_of(name, mode), ask.cval_of(name, cval)
    check_memory(u.grid, f"{name} with {weights.size} weights", slab_bytes(u, along, (weights.size - 1, 0)))
    with timed("compute"):
        correlate_axis(u, out, along, weights, where, wall, shift)
    return truths(out)


def correlate(
    u: Field,
    weights: Any,
    output: npt.DTypeLike | None = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Correlate with weights of any shape: one axis of `weights` per filtered axis. Collective."""
    return _correlated("correlate", u, weights, output, mode, cval, origin, axes)


def convolve(
    u: Field,
    weights: Any,
    output: npt.DTypeLike | None = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Convolve with weights of any shape: correlate with the weights reversed along every axis. Collective."""
    return _correlated("convolve", u, weights, output, mode, cval, origin, axes)


def _correlated(name: str, u: Field, weights: Any, output: Any, mode: Any, cval: Any, origin: Any, axes: Any) -> Field:
    out = begin(name, u, output)
    ndim = u.grid.ndim
    along = ask.axes_of(name, axes, ndim)
    taps = weights_of(name, weights, len(along))
    # As in scipy, the weights' axes belong to the filtered axes in increasing order, whatever order was asked for.
    window = np.expand_dims(taps, tuple(axis for axis in range(ndim) if axis not in along))
    shifts = ask.per_axis(name, "origin", origin, len(along))
    if len(along) < ndim:
        given = dict(zip(along, shifts, strict=True))
        shifts = tuple(given.get(axis, 0) for axis in range(ndim))
    origins = ask.origins_of(name, shifts, window.shape)
    if name == "convolve":
        window = np.flip(window)
        origins = _reversed(origins, window.shape)
    where, wall = ask.mode_of(name, mode), ask.cval_of(name, cval)
    itemsize = u.dtype.itemsize if holds(u.dtype, wall) else u.dtype.itemsize + 8
    reach = [(0, size - 1) for size in window.shape]
    check_memory(u.grid, f"{name} with weights of shape {taps.shape}", padded_bytes(u, reach, itemsize))
    with timed("compute"):
        correlate_window(u, out, window, origins, where, wall)
    return truths(out)


def uniform_filter1d(
    u: Field,
    size: int,
    axis: int = -1,
    output: npt.DTypeLike | None = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int = 0,
) -> Field:
    """Take the mean of `size` cells along one grid axis. Collective.

    Floating results are the same on every decomposition, but not scipy's to the bit: scipy keeps a running sum from
    the start of the line, in which rounding errors add up, and which one nan or inf spoils up to the line's end.
    Here each window is summed from its own cells. The two agree within 1e-12 (f8) or 1e-6 (f4) of the largest value
    in the line. For integers they are equal while `size` times the largest magnitude stays within 2**53: both add in
    float64, which holds whole numbers up to there exactly. Above, larger values are rounded when they are read, sums
    when they are made, and the two may differ as for floats.
    """
    name = "uniform_filter1d"
    out = begin(name, u, output)
    along = ask.axis_of(name, axis, u.grid.ndim)
    return _uniform(name, u, out, (along,), ask.sizes_of(name, size, 1), ask.modes_of(name, mode, 1), cval, origin)


def uniform_filter(
    u: Field,
    size: int | Sequence[int] = 3,
    output: npt.DTypeLike | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Take the mean over a box of `size` cells. Collective.

    About equality with scipy's results see `uniform_filter1d`; for integers the bound there holds for every axis.
    As in scipy, a size below 1 counts as 1: that axis is left out.
    """
    name = "uniform_filter"
    out = begin(name, u, output)
    along = ask.axes_of(name, axes, u.grid.ndim)
    sizes, modes = ask.box_of(name, size, len(along)), ask.modes_of(name, mode, len(along))
    origins = ask.origins_of(name, origin, sizes)
    kept = [k for k, one in enumerate(sizes) if one > 1]
    if not kept:
        return copied(u, out)
    chosen = [(along[k], sizes[k], modes[k], origins[k]) for k in kept]
    along, sizes, modes, origins = zip(*chosen, strict=True)
    return _uniform(name, u, out, along, sizes, modes, cval, origins)


def _uniform(
    name: str,
    u: Field,
    out: Field,
    axes: Sequence[int],
    sizes: Sequence[int],
    modes: Sequence[str],
    cval: Any,
    origin: Any,
) -> Field:
    wall, origins = ask.cval_of(name, cval), ask.origins_of(name, origin, sizes)
    needed = max(slab_bytes(u, axis, (size, 0)) + 400 * size for axis, size in zip(axes, sizes, strict=True))
    check_memory(u.grid, f"{name} with size {max(sizes)}", needed)
    with timed("compute"):
        for axis, size, mode, shift in zip(axes, sizes, modes, origins, strict=True):
            uniform_axis(u, out, axis, size, mode, wall, shift)
            u = out
    return truths(out)
