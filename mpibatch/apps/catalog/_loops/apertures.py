"""Compiled loops over the pixels around sources: fluxes within circles and ellipses, and Kron's radius.

Each source has a cut-out of the frame: `corner` (y and x of its first pixel, its height and width) and where this lies
in `values`: the index of its first pixel, and pixels from row to row. So a block of the frame, and copies of what lies
across its edges, are read alike, always in raster order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mpibatch.apps.catalog._loops.shapes import ellipse
from mpibatch.base.compiled import compiled

__all__ = ["centroids", "circles", "copy_part", "half_light_radii", "kron_fluxes", "kron_radii", "missing_places"]

SAMPLES = 5  # of a pixel on the edge of a circle, along each axis
HALF_DIAGONAL = 0.7072
ANNULI = 64  # of a curve of growth
ROUNDS, STILL = 16, 1e-8  # of a windowed centroid: at most, and the square of a step that ends them
WINDOW_REACH = 4.0  # standard deviations of its window
MARGIN = 2.0  # pixels that a centroid may wander
KRON_REACH = 6.0  # of the isophotal ellipse, within which Kron's radius is measured


@compiled
def missing_places(corners: Any, box: Any, width: int, places: Any, targets: Any) -> int:
    """List the pixels of cut-outs that lie outside of a block, and their places in a row of cut-outs; return how many.

    Counts only if `places` is empty. box: the block's first pixel, and that behind its last.
    """
    count, offset = 0, 0
    for k in range(corners.shape[0]):
        top, left, height, span = corners[k]
        for j in range(height):
            y = top + j
            inside = box[0] <= y < box[2]
            for i in range(span):
                x = left + i
                if inside and box[1] <= x < box[3]:
                    continue
                if places.size:
                    places[count], targets[count] = y * width + x, offset + j * span + i
                count += 1
        offset += height * span
    return count


@compiled
def copy_part(corners: Any, block: Any, start: Any, out: Any) -> None:
    """Copy the pixels of cut-outs that lie in a block into a row of cut-outs."""
    offset = 0
    for k in range(corners.shape[0]):
        top, left, height, span = corners[k]
        for y in range(max(top, start[0]), min(top + height, start[0] + block.shape[0])):
            for x in range(max(left, start[1]), min(left + span, start[1] + block.shape[1])):
                out[offset + (y - top) * span + x - left] = block[y - start[0], x - start[1]]
        offset += height * span


@compiled
def circles(
    corners: Any, lies: Any, values: Any, noise: Any, x: Any, y: Any, radii: Any, gain: float, out: Any, flags: Any
) -> None:
    """Set flux and error within circles, for each source and radius; set bit 8 where pixels are missing in them.

    noise: of each value, or one for all. What is missing has the mean of the rest.
    """
    for k in range(corners.shape[0]):
        top, left, height, span = corners[k]
        for m in range(radii.size):
            r = radii[m]
            total = variance = area = lost = 0.0
            for j in range(max(0, math.ceil(y[k] - r - 1) - top), min(height, math.floor(y[k] + r + 1) - top + 1)):
                base = lies[k, 0] + j * lies[k, 1]
                for i in range(max(0, math.ceil(x[k] - r - 1) - left), min(span, math.floor(x[k] + r + 1) - left + 1)):
                    share = _overlap(left + i - x[k], top + j - y[k], r)
                    if share > 0:
                        value = np.float64(values[base + i])
                        area += share
                        if math.isnan(value):
                            lost += share
                            continue
                        s = np.float64(noise[base + i] if noise.size > 1 else noise[0])
                        total += share * value
                        variance += share * s * s
            _finish(total, variance, area, lost, gain, k, m, out, flags)


@compiled
def _finish(
    total: float, variance: float, area: float, lost: float, gain: float, k: int, m: int, out: Any, flags: Any
) -> None:
    if lost > 0:
        flags[k] |= 8
        factor = area / (area - lost) if area > lost else np.nan
        total *= factor
        variance *= factor
    if gain > 0 and total > 0:
        variance += total / gain
    out[k, m, 0], out[k, m, 1] = total, math.sqrt(variance)


@compiled
def _overlap(dx: float, dy: float, r: float) -> float:
    """Return the share of a pixel that lies within a circle about the origin, by samples if its edge is near."""
    square = dx * dx + dy * dy
    if square >= (r + HALF_DIAGONAL) * (r + HALF_DIAGONAL):
        return 0.0
    if r > HALF_DIAGONAL and square <= (r - HALF_DIAGONAL) * (r - HALF_DIAGONAL):
        return 1.0
    inside = 0
    for j in range(SAMPLES):
        sy = dy + (j - 0.5 * (SAMPLES - 1)) / SAMPLES
        for i in range(SAMPLES):
            sx = dx + (i - 0.5 * (SAMPLES - 1)) / SAMPLES
            inside += sx * sx + sy * sy < r * r
    return inside / (SAMPLES * SAMPLES)


@compiled
def kron_radii(corners: Any, lies: Any, values: Any, x: Any, y: Any, second: Any, out: Any) -> None:
    """Set Kron's radius of each source, in units of its isophotal ellipse; 0 where its light has no center.

    second: moments xx, yy, xy. A mean of light that is above 0 everywhere lies within `KRON_REACH`; that of a source
    that is hardly above the noise around it may be anywhere, and is taken for this.
    """
    for k in range(corners.shape[0]):
        top, left, height, span = corners[k]
        cxx, cyy, cxy, _ = ellipse(second[k, 0], second[k, 1], second[k, 2])
        light = weighted = 0.0
        for j in range(height):
            dy = top + j - y[k]
            base = lies[k, 0] + j * lies[k, 1]
            for i in range(span):
                dx = left + i - x[k]
                square = cxx * dx * dx + cyy * dy * dy + cxy * dx * dy
                if square <= KRON_REACH * KRON_REACH:
                    value = np.float64(values[base + i])
                    if not math.isnan(value):
                        light += value
                        weighted += math.sqrt(square) * value
        out[k] = min(weighted / light, KRON_REACH) if light > 0 and weighted > 0 else 0.0


@compiled
def kron_fluxes(
    corners: Any,
    lies: Any,
    values: Any,
    noise: Any,
    x: Any,
    y: Any,
    second: Any,
    radius: Any,
    gain: float,
    out: Any,
    flags: Any,
) -> None:
    """Set flux and error of each source within its ellipse times a radius, by the pixels whose centers lie in it."""
    for k in range(corners.shape[0]):
        top, left, height, span = corners[k]
        cxx, cyy, cxy, _ = ellipse(second[k, 0], second[k, 1], second[k, 2])
        limit = radius[k] * radius[k]
        total = variance = area = lost = 0.0
        for j in range(height):
            dy = top + j - y[k]
            base = lies[k, 0] + j * lies[k, 1]
            for i in range(span):
                dx = left + i - x[k]
                if cxx * dx * dx + cyy * dy * dy + cxy * dx * dy < limit:
                    value = np.float64(values[base + i])
                    area += 1
                    if math.isnan(value):
                        lost += 1
                        continue
                    s = np.float64(noise[base + i] if noise.size > 1 else noise[0])
                    total += value
                    variance += s * s
        _finish(total, variance, area, lost, gain, k, 0, out, flags)


@compiled
def half_light_radii(corners: Any, lies: Any, values: Any, x: Any, y: Any, reach: Any, flux: Any, out: Any) -> None:
    """Set the radius of the circle with half of a flux, on a line between annuli; NaN if none up to `reach` has it.

    It is sought in the inner third first, of which the annuli are the same without the pixels beyond.
    """
    light = np.empty(ANNULI)
    for k in range(corners.shape[0]):
        out[k] = np.nan
        step = reach[k] / ANNULI
        for count in (ANNULI // 3, ANNULI):
            _fill_annuli(corners[k], lies[k], values, x[k], y[k], step, light[:count])
            total = 0.0
            for n in range(count):
                if flux[k] > 0 and total + light[n] >= 0.5 * flux[k]:
                    out[k] = step * (n + (0.5 * flux[k] - total) / light[n])
                    break
                total += light[n]
            if not math.isnan(out[k]):
                break


@compiled
def _fill_annuli(corner: Any, lies: Any, values: Any, x: float, y: float, step: float, light: Any) -> None:
    """Set the flux in each annulus about a point; pixels on an edge are shared out by samples."""
    top, left, height, span = corner
    light[:] = 0.0
    far = step * light.size + 1
    for j in range(max(0, math.ceil(y - far) - top), min(height, math.floor(y + far) - top + 1)):
        base = lies[0] + j * lies[1]
        for i in range(max(0, math.ceil(x - far) - left), min(span, math.floor(x + far) - left + 1)):
            value = np.float64(values[base + i])
            dx, dy = left + i - x, top + j - y
            distance = math.sqrt(dx * dx + dy * dy)
            first, last = max(distance - HALF_DIAGONAL, 0.0) / step, (distance + HALF_DIAGONAL) / step
            if math.isnan(value) or first >= light.size:
                continue
            if int(first) == int(last):
                light[int(first)] += value
                continue
            value /= SAMPLES * SAMPLES
            for n in range(SAMPLES):
                sy = dy + (n - 0.5 * (SAMPLES - 1)) / SAMPLES
                for m in range(SAMPLES):
                    sx = dx + (m - 0.5 * (SAMPLES - 1)) / SAMPLES
                    annulus = int(math.sqrt(sx * sx + sy * sy) / step)
                    if annulus < light.size:
                        light[annulus] += value


@compiled
def centroids(corners: Any, lies: Any, values: Any, x: Any, y: Any, sigma: Any, out: Any) -> None:
    """Set x and y of centroids within a Gaussian window that moves with them; x and y themselves if they wander off."""
    for k in range(corners.shape[0]):
        top, left, height, span = corners[k]
        reach = WINDOW_REACH * sigma[k]
        at_x, at_y = x[k], y[k]
        for _ in range(ROUNDS):
            light = across = down = 0.0
            for j in range(max(0, math.ceil(at_y - reach) - top - 1), min(height, math.floor(at_y + reach) - top + 2)):
                dy = top + j - at_y
                base = lies[k, 0] + j * lies[k, 1]
                low, high = math.ceil(at_x - reach) - left - 1, math.floor(at_x + reach) - left + 2
                for i in range(max(0, low), min(span, high)):
                    dx = left + i - at_x
                    share = _overlap(dx, dy, reach)
                    value = np.float64(values[base + i])
                    if share > 0 and not math.isnan(value):
                        weight = share * value * math.exp(-0.5 * (dx * dx + dy * dy) / (sigma[k] * sigma[k]))
                        light += weight
                        across += weight * dx
                        down += weight * dy
            if not light > 0:
                at_x, at_y = x[k], y[k]
                break
            # Twice the distance, since the window pulls towards its own center.
            across, down = 2 * across / light, 2 * down / light
            at_x += across
            at_y += down
            if abs(at_x - x[k]) > MARGIN or abs(at_y - y[k]) > MARGIN:
                at_x, at_y = x[k], y[k]
                break
            if across * across + down * down < STILL:
                break
        out[k, 0], out[k, 1] = at_x, at_y
