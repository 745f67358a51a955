"""Convolutions by Fourier transforms: scipy.signal's name, parameters and bits."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError, nearest
from mpibatch.domain import Box
from mpibatch.fields.field import Field
from mpibatch.fields.pencils import alike
from mpibatch.fields.redistribution import bring, redistribute
from mpibatch.filters._engine.arguments import axes_of
from mpibatch.fourier._engine.arguments import float_dtype
from mpibatch.fourier._engine.passes import passed
from mpibatch.fourier.fft.complex_transforms import fftn, ifftn
from mpibatch.fourier.fft.frequencies import next_fast_len
from mpibatch.fourier.fft.real_transforms import irfftn, rfftn
from mpibatch.mpi import same

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["fftconvolve"]

_MODES = ("full", "same", "valid")


def fftconvolve(
    u: Field, in2: Field | npt.NDArray[Any], mode: str = "full", axes: int | Sequence[int] | None = None
) -> Field:
    """Return the convolution of two fields, or of a field and an array.

    Parameters
    ----------
    u : Field
        Of f4, f8, c8 or c16; integers and bool count as f8. Each component by itself.
    in2 : Field or ndarray
        Of as many axes: a field on the same communicator, or an array that all ranks have, such as a kernel.
    mode : str, default "full"
        "full": all cells where they overlap; "same": of the shape of `u`, the middle of that; "valid": where one lies
        whole within the other.
    axes : int or sequence of int, optional
        Axes of the grid to convolve along. Default: all. Along others both have the same length, or one of them 1.

    Returns
    -------
    Field
        Without halo, on `u.grid`, or, of another shape, on a grid that is cut alike.

    Raises
    ------
    UsageError
        The same on all ranks, for shapes, a mode, axes or dtypes that do not fit, or if SciPy is not installed.
    RunError
        If whole lines do not fit into memory.

    Notes
    -----
    Collective: three transforms, of lengths that are fast. scipy.signal.fftconvolve's bits, whatever the decomposition:
    results are rounded as transforms round, of integers, too. `mpibatch.filters.convolve` is quicker for kernels of a
    few cells.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).from_function(lambda x: x)
    >>> print(mb.gather_all(mb.fftconvolve(u, np.ones(3), mode="same")).round(12))
    [1. 3. 6. 5.]
    """
    name = "fftconvolve"
    float_dtype(name, u)
    if mode not in _MODES:
        raise UsageError(f"{name}: mode = {mode!r} is unknown{nearest(str(mode), _MODES)}")
    ndim = u.grid.ndim
    chosen = list(axes_of(name, axes, ndim))
    if not chosen:
        raise UsageError(f"{name}: axes = {axes!r} names none; give one axis or more")
    first, second = u, _second(name, u, in2)
    s1, s2 = first.grid.shape, second.grid.shape
    chosen = [a for a in chosen if s1[a] != 1 and s2[a] != 1]
    if any(s1[a] != s2[a] and 1 not in (s1[a], s2[a]) for a in range(ndim) if a not in chosen):
        raise UsageError(f"{name}: shapes {s1} and {s2} differ along axes that are not convolved; give the same, or 1")
    if mode == "valid" and not all(s1[a] >= s2[a] for a in chosen):
        if not all(s2[a] >= s1[a] for a in chosen):
            raise UsageError(
                f"{name}: neither of shapes {s1} and {s2} lies within the other; take mode 'full' or 'same'"
            )
        first, second, s1, s2 = second, first, s2, s1
    others = [a for a in range(ndim) if a not in chosen]
    first, second = (_repeated(name, v, others, [max(s1[a], s2[a]) for a in others]) for v in (first, second))
    whole = _whole(first, second, chosen)
    full = [s1[a] + s2[a] - 1 if a in chosen else max(s1[a], s2[a]) for a in range(ndim)]
    shape = {"full": full, "same": list(s1)}.get(mode) or [
        s1[a] - s2[a] + 1 if a in chosen else full[a] for a in range(ndim)
    ]
    return _middle(u, whole, full, shape)


def _second(name: str, u: Field, in2: Any) -> Field:
    if not isinstance(in2, Field):
        array = np.asarray(in2)
        data = np.ascontiguousarray(array) if array.dtype.kind in "biufc" else np.empty(0)
        digest = hashlib.blake2b(data.tobytes(), digest_size=8).hexdigest()
        same(u.grid.comm, f"{name} with in2 of {array.dtype}, shape {array.shape} (digest {digest})")
        if array.ndim != u.grid.ndim or not array.size:
            raise UsageError(
                f"{name}: in2 is of shape {array.shape}, and the grid has {u.grid.ndim} axes; give an array of as many"
            )
        if array.dtype.kind not in "biufc":
            raise UsageError(f"{name}: in2 is of dtype {array.dtype}; give numbers")
        field = alike(u.grid, array.shape).empty(array.dtype.newbyteorder("="))
        field.owned[...] = array[field.box.slices()]
        in2 = field
    float_dtype(f"{name}: in2", in2)
    if in2.grid.ndim != u.grid.ndim or in2.grid.comm != u.grid.comm:
        raise UsageError(f"{name}: fields over {u.grid} and {in2.grid}; give both as many axes and one communicator")
    if u.components and in2.components not in ((), u.components):
        raise UsageError(f"{name}: components {u.components} and {in2.components}; give the same, or none")
    second: Field = in2
    return second


def _repeated(name: str, u: Field, axes: Sequence[int], lengths: Sequence[int]) -> Field:
    """Return the field repeated along axes on which it has one cell, and others have more. Collective."""

    def work(source: Any, target: Any, _: Any) -> None:
        target[...] = source

    for axis, n in zip(axes, lengths, strict=True):
        if u.grid.shape[axis] != n:
            u = passed(name, u, axis, n, u.dtype, work)
    return u


def _whole(first: Field, second: Field, axes: Sequence[int]) -> Field:
    """Return the periodic convolution on lengths at which nothing wraps. Collective."""
    if not axes:
        result: Field = first * _on(second, first)
        return result
    is_complex = "c" in (first.dtype.kind, second.dtype.kind)
    fast = [next_fast_len(first.grid.shape[a] + second.grid.shape[a] - 1, real=not is_complex) for a in axes]
    forward, backward = (fftn, ifftn) if is_complex else (rfftn, irfftn)
    spectrum = forward(first, fast, axes)
    product: Field = spectrum * _on(forward(second, fast, axes), spectrum)
    convolved: Field = backward(product, fast, axes)
    return convolved


def _on(u: Field, other: Field) -> Field:
    return u if u.grid.matches(other.grid) else redistribute(u, other.grid)


def _middle(u: Field, whole: Field, full: Sequence[int], shape: Sequence[int]) -> Field:
    """Return the middle of the full result, on a grid like that of `u`. Collective."""
    low = [(n - m) // 2 for n, m in zip(full, shape, strict=True)]
    region = Box(tuple(low), tuple(a + m for a, m in zip(low, shape, strict=True)))
    result = Field(alike(u.grid, shape), whole.dtype, 0, whole.components)
    bring(whole, region, [-a for a in low], result)
    return result
