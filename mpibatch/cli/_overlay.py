"""Labeled objects drawn over a picture: their outlines and their numbers, in colors that belong to the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["colors_of", "enlargement", "numbered", "outlined", "outlines"]

Pixels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

ENOUGH = 1000  # pixels a side, to which smaller pictures are enlarged
GOLDEN = 0.6180339887498949  # the multiples of which, without their whole parts, keep apart as long as can be
FAR = 1 << 32  # beyond, products keep ever fewer of their digits behind the point
SHADES = ((0.75, 1.0), (0.45, 1.0), (0.95, 0.85), (0.6, 0.8))  # saturation and value
LEAST_LIGHT = 0.45
MOST_NUMBERS = 0.08  # of the picture: more numbers hide it
LETTERS = 12  # pixels of a number's height
MARGIN = 2  # pixels around a number that no other may use


def colors_of(labels: npt.NDArray[Any]) -> Pixels:
    """Return the colors of labels as RGB, those of 0 and below black. Local.

    A label's color follows from its number alone.
    """
    numbers = labels.astype(np.int64)
    hue = 6 * ((numbers % FAR * GOLDEN) % 1.0)
    shade = np.array(SHADES)[numbers % len(SHADES)]
    saturation, value = shade[..., 0], shade[..., 1]
    # Of red, green and blue each falls with the hue's distance from it.
    distance = np.abs((hue[..., None] - np.array([0.0, 2.0, 4.0]) + 3) % 6 - 3)
    full = np.clip(2 - distance, 0, 1)
    rgb = value[..., None] * (1 - saturation[..., None] * (1 - full))
    # Blue and its like are too dark on black: they are mixed with white.
    lightness = rgb @ np.array([0.2126, 0.7152, 0.0722])
    white = np.maximum(0.0, (LEAST_LIGHT - lightness) / (1 - lightness + 1e-9))[..., None]
    rgb = rgb * (1 - white) + white
    return np.where((numbers > 0)[..., None], np.rint(255 * rgb), 0).astype(np.uint8)


def enlargement(shape: tuple[int, ...], longest: int) -> int:
    """Return by how much a small picture is enlarged, so that numbers fit into it. Local."""
    return max(1, min(ENOUGH, longest) // max(shape))


def outlines(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return the pixels of objects that have a neighbor of another label, or of none. Local."""
    edge = np.zeros(labels.shape, np.bool_)
    for axis in (0, 1):
        first, last = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
        differ = labels[first] != labels[last]
        edge[first] |= differ
        edge[last] |= differ
    result: npt.NDArray[np.bool_] = edge & (labels > 0)
    return result


def outlined(picture: Pixels, labels: npt.NDArray[Any], scale: int) -> tuple[Pixels, Ints]:
    """Return a picture in colors with the outlines of labels, both enlarged; and the enlarged labels. Local."""
    wide = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    wide = wide[..., :3].repeat(scale, axis=0).repeat(scale, axis=1)
    large = labels.astype(np.int64).repeat(scale, axis=0).repeat(scale, axis=1)
    edge = outlines(large)
    wide[edge] = colors_of(large[edge])
    return wide, large


def numbered(picture: Pixels, labels: Ints) -> tuple[Pixels, int]:
    """Return a picture with the numbers of labels beside, or in, their objects, and how many have one. Local.

    Large objects come first; no number covers another one, and all together cover a small part of the picture.
    """
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(LETTERS)
    taken = np.zeros(labels.shape, np.bool_)
    count = 0
    for label, box, area in _boxes(labels):
        text = str(label)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        width, height = int(right - left), int(bottom - top)
        place = _place(taken, box, (height, width), area)
        if place is None:
            continue
        row, column = place
        taken[max(0, row - MARGIN) : row + height + MARGIN, max(0, column - MARGIN) : column + width + MARGIN] = True
        color = tuple(colors_of(np.array([label]))[0].tolist())
        draw.text((column - left, row - top), text, fill=color, font=font, stroke_width=1, stroke_fill=(0, 0, 0))
        count += 1
        if np.count_nonzero(taken) > MOST_NUMBERS * taken.size:
            break
    return np.asarray(image), count


def _boxes(labels: Ints) -> list[tuple[int, tuple[int, int, int, int], int]]:
    """(label, (top, left, bottom, right), pixels) of every label, the largest first."""
    rows, columns = np.nonzero(labels > 0)
    names, inverse, areas = np.unique(labels[rows, columns], return_inverse=True, return_counts=True)
    box = np.empty((4, len(names)), np.int64)
    box[:2], box[2:] = max(labels.shape), 0
    for low, high, places in ((0, 2, rows), (1, 3, columns)):
        np.minimum.at(box[low], inverse, places)
        np.maximum.at(box[high], inverse, places + 1)
    order = np.lexsort((names, -areas))
    return [(int(names[n]), (*map(int, box[:, n]),), int(areas[n])) for n in order]  # type: ignore[misc]


def _place(
    taken: npt.NDArray[np.bool_], box: tuple[int, int, int, int], size: tuple[int, int], area: int
) -> tuple[int, int] | None:
    """Where a number is written: beside its object, or within a large one; None if there is no room."""
    top, left, bottom, right = box
    height, width = size
    middle = (top + bottom - height) // 2, (left + right - width) // 2
    beside = [(top - height - 1, right + 1), (bottom + 1, right + 1), (top - height - 1, left - width - 1),
              (bottom + 1, left - width - 1), (middle[0], right + 2), (middle[0], left - width - 2)]  # fmt: skip
    is_large = bottom - top > 3 * height and right - left > 2 * width and area > 6 * height * width
    for row, column in [*beside, middle] if is_large else beside:
        fits = 1 <= row < taken.shape[0] - height - 1 and 1 <= column < taken.shape[1] - width - 1
        if fits and not taken[row : row + height, column : column + width].any():
            return row, column
    return None
