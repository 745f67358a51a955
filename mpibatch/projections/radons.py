"""Projections of images at many angles, and images of their projections, with scikit-image's names and bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.filters._engine.arguments import real_of, whole
from mpibatch.projections._sinograms import (
    FILTERS,
    INTERPOLATIONS,
    by_slices,
    check_image,
    filtered,
    radians_of,
    ray_filter,
    scipy_fft,
    smear,
)

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["iradon", "radon"]

Array = npt.NDArray[Any]

LEAST_CUBIC = 4  # values that a cubic goes through


def radon(
    image: Field,
    theta: npt.ArrayLike | None = None,
    circle: bool = True,  # noqa: FBT001, FBT002 (as in skimage.transform)
    *,
    preserve_range: bool = False,
) -> Field:
    """Return the sums of an image along parallel lines at many angles, as skimage.transform's. Collective.

    Parameters
    ----------
    image : Field
        Of 2 axes, or of 3: a stack of images along the first. Of floats; of integers with `preserve_range`.
    theta : array_like, optional
        Angles in degrees. Default: 0 … 179.
    circle : bool, default True
        Whether the image is 0 outside the circle in it; it is cut to a square. Else it is padded to its diagonal.
    preserve_range : bool, default False
        Whether integers are taken as they are; there is no other way here.

    Returns
    -------
    Field
        The sinogram: detectors along the axis before the last, angles along the last. Of f4 for f4, else of f8.

    Raises
    ------
    UsageError
        On all ranks alike, if an argument is not valid.

    Notes
    -----
    Collective. Equal to scikit-image's result for each whole image to the bit for f8, and within rounding for f4; what
    is not 0 outside the circle is not warned of. A stack is redistributed once, so that images are whole, and the
    result once more; of one image all ranks get a copy, and make the projections of some angles each. Method:
    A. C. Kak and M. Slaney, doi:10.1137/1.9780898719277.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4, 4)).from_function(lambda y, x: (y == 2) & (x == 1), "f8")
    >>> mb.gather_all(mb.projections.radon(u, [0, 90])).round(3).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    from mpibatch.projections._loops import rays

    name = "radon"
    check_image(name, image)
    if image.dtype.kind != "f" and not preserve_range:
        raise UsageError(f"{name}: an image of {image.dtype}; set preserve_range=True, or give floats in their range")
    angles = radians_of(name, theta, np.arange(180), None)
    dtype = np.dtype(np.float32 if image.dtype == np.float32 else np.float64)
    shape = image.grid.shape[-2:]
    side = min(shape) if circle else math.ceil(np.sqrt(2) * max(shape))
    center = side // 2

    def work(cells: Array, start: tuple[int, int], stop: tuple[int, int]) -> Array:
        square = np.zeros((side, side), dtype)
        if circle:
            cuts = tuple(slice(-(-(n - side) // 2), -(-(n - side) // 2) + side) for n in shape)
            square[...] = cells[cuts]
        else:
            first = [side // 2 - n // 2 for n in shape]
            square[first[0] : first[0] + shape[0], first[1] : first[1] + shape[1]] = cells
        result = np.empty((stop[1] - start[1], side), dtype)
        with timed("compute"):
            for line, angle in zip(result, angles[start[1] : stop[1]], strict=True):
                cos, sin = np.cos(angle), np.sin(angle)
                turn = [[cos, sin, -center * (cos + sin - 1)], [-sin, cos, -center * (cos - sin - 1)]]
                rays.project_turned(square, np.array(turn).astype(dtype), line)
        return result.T[start[0] : stop[0]]

    space = (image.grid.spacing[-1], 1.0)
    return by_slices(name, image, (side, len(angles)), space, dtype, work, axis=1)


def iradon(
    radon_image: Field,
    theta: npt.ArrayLike | None = None,
    output_size: int | None = None,
    filter_name: str | None = "ramp",
    interpolation: str = "linear",
    circle: bool = True,  # noqa: FBT001, FBT002 (as in skimage.transform)
    preserve_range: bool = True,  # noqa: FBT001, FBT002
    *,
    center: float | None = None,
) -> Field:
    """Return the image of a sinogram, by filtered back-projection, as skimage.transform's. Collective.

    Parameters
    ----------
    radon_image : Field
        Of 2 axes: detectors, and angles; or of 3: a stack of sinograms along the first.
    theta : array_like, optional
        Angles in degrees. Default: evenly from 0 to below 180.
    output_size : int, optional
        Rows and columns of the image. Default: as many as detectors; without `circle` that over the root of 2.
    filter_name : {"ramp", "shepp-logan", "cosine", "hamming", "hann", None}, default "ramp"
        The filter of projections.
    interpolation : {"linear", "nearest", "cubic"}, default "linear"
        Between detectors.
    circle : bool, default True
        Whether the image is 0 outside the circle in it.
    preserve_range : bool, default True
        Whether integers are taken as they are; there is no other way here.
    center : float, optional
        The detector that the axis of rotation is projected on. Default: that of index ``detectors // 2``. Not in
        scikit-image.

    Returns
    -------
    Field
        Of `output_size` cells along the last two axes; of f4 for f4, else of f8.

    Raises
    ------
    UsageError
        On all ranks alike, if an argument is not valid, or scipy, an extra, is not installed.

    Notes
    -----
    Collective. Equal to scikit-image's result for each whole sinogram to the bit. "linear" is compiled, and the
    quickest; SciPy interpolates the others, as there. A stack is redistributed once, so that sinograms are whole, and
    the result once more; of one sinogram all ranks get a copy, and make a block of the image each. Method: A. C. Kak,
    M. Slaney, doi:10.1137/1.9780898719277.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((32, 32)).from_function(lambda y, x: (y - 16) ** 2 + (x - 16) ** 2 < 50, "f8")
    >>> v = mb.projections.iradon(mb.projections.radon(u))
    >>> bool(mb.max(abs(u - v)) < 0.6)
    True
    """
    from mpibatch.projections._loops import rays

    name = "iradon"
    check_image(name, radon_image)
    if filter_name not in FILTERS:
        raise UsageError(f"{name}: filter_name = {filter_name!r}; give one of {FILTERS}")
    if not preserve_range and radon_image.dtype.kind != "f":
        raise UsageError(
            f"{name}: sinograms of {radon_image.dtype} are taken as they are; leave preserve_range at True"
        )
    detectors, count = radon_image.grid.shape[-2:]
    many = math.ceil(np.sqrt(2) * detectors) if circle else detectors
    _check_interpolation(name, interpolation, many)
    angles = radians_of(name, theta, np.linspace(0, 180, count, endpoint=False), count)
    cosines, sines = (np.array([f(angle) for angle in angles]) for f in (np.cos, np.sin))
    moved = 0.0 if center is None else real_of(name, "center", center) - detectors // 2
    if output_size is None:
        size = detectors if circle else math.floor(np.sqrt(detectors**2 / 2.0))
    else:
        size = whole(name, "output_size", output_size)
    if size < 1:
        raise UsageError(f"{name}: an image of {size} cells; give an output_size of 1 or more")
    dtype = np.dtype(np.float32 if radon_image.dtype == np.float32 else np.float64)
    fft = scipy_fft(name)
    response = ray_filter(fft, max(64, int(2 ** np.ceil(np.log2(2 * many)))), filter_name)

    def work(cells: Array, start: tuple[int, int], stop: tuple[int, int]) -> Array:
        wide = np.zeros((many, count), dtype)
        first = many // 2 - detectors // 2
        wide[first : first + detectors] = cells
        out = np.empty((stop[0] - start[0], stop[1] - start[1]), dtype)
        with timed("compute"):
            lines = filtered(fft, wide, response)
            if interpolation == "linear":
                rays.back_project(lines, cosines, sines, np.array(start), size // 2, moved, circle, out)
            else:
                rows, columns = (np.arange(low, high) - size // 2 for low, high in zip(start, stop, strict=True))
                smear(interpolation, lines[:, :-1], (cosines, sines), (rows, columns), moved, out)
                if circle:
                    out[rows[:, None] ** 2 + columns**2 > (size // 2) ** 2] = 0
        return out * np.pi / (2 * count)

    space = (radon_image.grid.spacing[-2],) * 2
    return by_slices(name, radon_image, (size, size), space, dtype, work)


def _check_interpolation(name: str, interpolation: Any, many: int) -> None:
    """Refuse what SciPy would not interpolate, on all ranks alike: some may have no image. Local."""
    if interpolation not in INTERPOLATIONS:
        raise UsageError(f"{name}: interpolation = {interpolation!r}; give one of {INTERPOLATIONS}")
    if interpolation == "cubic" and many < LEAST_CUBIC:
        raise UsageError(
            f"{name}: rays of {many} detectors (without circle as many as there are, with it 1.42 times that) are too "
            f"short for interpolation = 'cubic', which takes {LEAST_CUBIC}; give 'linear'"
        )
