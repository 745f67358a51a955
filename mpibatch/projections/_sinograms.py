"""What projections and reconstructions share: slices that are whole on a rank, angles, and the filters of rays."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.lazy_names import scipy_module
from mpibatch.fields.field import Field, check_field
from mpibatch.fields.grid import Grid
from mpibatch.fields.redistribution import gather_all, redistribute
from mpibatch.filters._engine.memory import check_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "FILTERS",
    "INTERPOLATIONS",
    "by_slices",
    "check_image",
    "filtered",
    "radians_of",
    "ray_filter",
    "scipy_fft",
    "smear",
]

Array = npt.NDArray[Any]

WHOLE, FEWER = "whole images and sinograms", "take smaller images, or fewer ranks a host"

INTERPOLATIONS = ("linear", "nearest", "cubic")
FILTERS = ("ramp", "shepp-logan", "cosine", "hamming", "hann", None)


def check_image(name: str, u: Any) -> None:
    """Raise UsageError unless `u` is an image, or a stack of them, of real numbers. Local."""
    check_field(name, u)
    if u.grid.ndim not in (2, 3) or u.components or u.dtype.kind not in "biuf" or u.dtype.itemsize > 8:
        raise UsageError(
            f"{name}: a field of {u.grid.ndim} axes, components {u.components} and dtype {u.dtype}; give an image of 2 "
            "axes, or a stack of them along a first axis, of real numbers without components"
        )


def radians_of(name: str, theta: Any, default: Array, count: int | None) -> list[Any]:
    """Return the angles in radians, one by one: NumPy rounds cosines of arrays otherwise. Local."""
    degrees = default if theta is None else np.atleast_1d(np.asarray(theta))
    if degrees.ndim != 1 or not degrees.size or degrees.dtype.kind not in "iuf" or not np.isfinite(degrees).all():
        raise UsageError(f"{name}: theta = {theta!r}; give a sequence of finite angles in degrees")
    if count is not None and len(degrees) != count:
        raise UsageError(f"{name}: {len(degrees)} angles for {count} projections; give one for each")
    return list(np.deg2rad(degrees))


def by_slices(
    name: str,
    u: Field,
    shape: Sequence[int],
    spacing: Sequence[float],
    dtype: np.dtype[Any],
    work: Callable[[Array, tuple[int, int], tuple[int, int]], Array],
    axis: int | None = None,
) -> Field:
    """Return what a function makes of each whole image. Collective.

    `work(image, start, stop)` makes the box of its result from `start` to `stop`. Of a stack, which is redistributed
    so that images are whole, every rank makes all of its own; of one image, which all ranks get, a part of the result
    each: along `axis`, or a block.
    """
    grid = u.grid
    about: dict[str, Any] = {"comm": grid.comm, "units": grid.units}
    if grid.ndim == 2:
        check_memory(grid, name, 6 * 8 * math.prod(grid.shape), WHOLE, FEWER)
        cut = [None, None] if axis is None else [None if a == axis else 1 for a in range(2)]
        result = Field(Grid(shape, topology=cut, spacing=spacing, **about), dtype)
        box, whole = result.box, gather_all(u)
        if box.size:
            result.owned[...] = work(whole, (box.start[0], box.start[1]), (box.stop[0], box.stop[1]))
        return result
    check_memory(grid, name, 6 * 8 * math.prod(grid.shape[1:]), WHOLE, FEWER)
    slices: list[int | None] = [None, 1, 1]
    whole_slices = redistribute(u, Grid(grid.shape, topology=slices, **about))
    full = (u.grid.shape[0], *shape)
    space = (grid.spacing[0], *spacing)
    origin = (grid.origin[0], 0.0, 0.0)
    made = Field(Grid(full, topology=slices, spacing=space, origin=origin, **about), dtype)
    for image, target in zip(whole_slices.owned, made.owned, strict=True):
        target[...] = work(image, (0, 0), (shape[0], shape[1]))
    return redistribute(made, Grid(full, topology=grid.topology, spacing=space, origin=origin, **about))


def scipy_fft(name: str) -> Any:
    """Return scipy.fft. UsageError, with the words what to install, if there is none. Local."""
    try:
        return importlib.import_module("scipy.fft")
    except ImportError:
        raise UsageError(f"{name} filters by scipy.fft, and scipy is missing; pip install 'mpibatch[fft]'") from None


def ray_filter(fft: Any, size: int, name: str | None) -> Array:
    """Return the transfer function of a filter for rays of `size` values, a power of 2. Local.

    The ramp is transformed from its form in space, so that means are kept (A. C. Kak and M. Slaney,
    doi:10.1137/1.9780898719277, chapter 3).
    """
    odd = np.concatenate([np.arange(1, size / 2 + 1, 2, dtype=int), np.arange(size / 2 - 1, 0, -2, dtype=int)])
    ramp = np.zeros(size)
    ramp[0] = 0.25
    ramp[1::2] = -1 / (np.pi * odd) ** 2
    response: Array = 2 * np.real(fft.fft(ramp))
    if name == "shepp-logan":
        omega = np.pi * fft.fftfreq(size)[1:]
        response[1:] *= np.sin(omega) / omega
    elif name == "cosine":
        response *= fft.fftshift(np.sin(np.linspace(0, np.pi, size, endpoint=False)))
    elif name == "hamming":
        response *= fft.fftshift(np.hamming(size))
    elif name == "hann":
        response *= fft.fftshift(np.hanning(size))
    elif name is None:
        response[:] = 1
    return response


def filtered(fft: Any, sinogram: Array, response: Array) -> Array:
    """Return filtered projections in rows, each with one 0 behind it. Local."""
    many = len(sinogram)
    padded = np.zeros((len(response), sinogram.shape[1]), sinogram.dtype)
    padded[:many] = sinogram
    values = np.real(fft.ifft(fft.fft(padded, axis=0) * response[:, np.newaxis], axis=0)[:many])
    rows = np.zeros((sinogram.shape[1], many + 1))
    rows[:, :many] = values.T
    return rows


def smear(
    interpolation: str, lines: Array, turns: tuple[Array, Array], places: tuple[Array, Array], moved: float, out: Array
) -> None:
    """Write to a block of an image the sum of what all projections, interpolated by SciPy, smear over it. Local.

    `turns` are cosines and sines of angles, `places` the rows and columns of the block, from the middle.
    """
    interpolate = scipy_module("interpolate").interp1d
    many = lines.shape[1]
    x = np.arange(many) - many // 2
    rows, columns = places
    out[...] = 0
    for line, cos, sin in zip(lines, *turns, strict=True):
        value = interpolate(x, line, kind=interpolation, bounds_error=False, fill_value=0)
        out += value(columns * cos - rows[:, None] * sin + moved)
