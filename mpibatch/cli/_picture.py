"""From numbers to gray or color bytes, the same for the same numbers, and to those of a file."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL import Image

__all__ = ["check_picture", "cut", "encoded", "gray", "is_color", "sheet"]


def check_picture(path: str) -> None:
    """Refuse now a picture that could not be drawn in the end. Local. UsageError."""
    from PIL import Image

    if Path(path).suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"the picture {path} has not the ending of one; name it .png")


def encoded(picture: Image.Image, path: str) -> bytes:
    """Return the bytes of a file of this name. Local."""
    from PIL import Image

    file = io.BytesIO()
    picture.save(file, Image.registered_extensions()[Path(path).suffix.lower()])
    return file.getvalue()


def is_color(shape: Sequence[int], dtype: npt.DTypeLike) -> bool:
    """Whether an array's last axis is taken for color channels: 3 or 4 of them, of bytes, after two axes. Local."""
    return len(shape) >= 3 and shape[-1] in (3, 4) and np.dtype(dtype) == np.uint8


def cut(
    shape: Sequence[int], color: bool, chosen: Mapping[int, int], longest: int, is_series: bool = False
) -> tuple[int | slice, ...]:
    """Return what to read of an array for a picture. Local.

    `chosen` maps axes to indices. Of the others, all but the last two (before the channels) are cut in the middle, the
    first of a series at its last time; what is left is thinned out so that no side exceeds `longest` pixels.
    """
    ndim = len(shape)
    spatial = ndim - 1 if color else ndim
    indices = {}
    for axis, index in chosen.items():
        if not -spatial <= axis < spatial:
            raise UsageError(f"--slice {axis}:{index}: the dataset of shape {tuple(shape)} has axes 0 to {spatial - 1}")
        n = shape[axis % spatial]
        if not -n <= index < n:
            raise UsageError(f"--slice {axis}:{index}: axis {axis} has {n} cells; give an index from 0 to {n - 1}")
        indices[axis % spatial] = index % n
    left = [axis for axis in range(spatial) if axis not in indices]
    for axis in left[:-2]:
        indices[axis] = shape[axis] - 1 if is_series and axis == 0 else shape[axis] // 2
    steps = [max(1, -(-n // longest)) for n in shape[:spatial]] + [1] * (ndim - spatial)
    return tuple(indices.get(axis, slice(None, None, steps[axis])) for axis in range(ndim))


def gray(values: npt.NDArray[Any], percentiles: tuple[float, float] | None = None) -> npt.NDArray[np.uint8]:
    """Return `values` as bytes: bool as black and white, bytes as they are, others stretched. Local.

    The stretch maps the `percentiles` of the finite values (default: least and largest) to 0 and 255, linearly;
    NaN is black. Bytes are stretched only if percentiles are given.
    """
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint8 and percentiles is None:
        return values
    if values.dtype.kind not in "iuf":
        raise UsageError(f"a dataset of dtype {values.dtype} cannot be shown; bool, integers and floats can")
    numbers = values.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(finite, percentiles or (0, 100))
    if high <= low:
        return np.where(numbers > low, 255, 0).astype(np.uint8)
    # Halved first: the difference of two huge floats may overflow.
    scaled = (numbers / 2 - low / 2) / (high / 2 - low / 2)
    pixels: npt.NDArray[np.uint8] = np.rint(np.clip(np.nan_to_num(scaled), 0, 1) * 255).astype(np.uint8)
    return pixels


def sheet(pictures: Sequence[Image.Image], captions: Sequence[str], letters: int) -> Image.Image:
    """Return pictures of one size side by side, in rows, each above its caption. Local."""
    from PIL import Image, ImageDraw, ImageFont

    columns = math.ceil(math.sqrt(len(pictures)))
    width, height = pictures[0].width + letters, pictures[0].height + 2 * letters
    rows = -(-len(pictures) // columns)
    result = Image.new("RGB", (columns * width, rows * height), "white")
    draw, font = ImageDraw.Draw(result), ImageFont.load_default(letters)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = number % columns * width, number // columns * height
        result.paste(picture, (left, top))
        draw.text((left, top + picture.height + 1), caption, fill="black", font=font)
    return result
