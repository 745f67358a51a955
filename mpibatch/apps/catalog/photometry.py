"""Fluxes of sources within circles and Kron's ellipse (R. G. Kron 1980, doi:10.1086/190669), and how they are spread.

The rank of a source's first pixel measures it. What of its surroundings lies in other blocks is asked of their ranks,
anew for each of five measurements, for some sources at a time; a pixel around several of them is held for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.apps.catalog._loops import apertures as loops
from mpibatch.filters._engine.memory import check_memory
from mpibatch.measure._engine.places import local_places, owners
from mpibatch.mpi import MPI
from mpibatch.mpi.routes import ask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mpibatch.apps.catalog.detection import Detection
    from mpibatch.apps.catalog.sources import Sources

__all__ = ["aperture_fluxes", "kron_ellipses", "kron_fluxes", "windowed"]

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

KRON_FACTOR = 2.5  # times Kron's radius: about 94 % of a galaxy's light
LEAST_RADIUS = 1.75  # pixels of the ellipse's mean radius, below which a circle of it is taken
BEYOND = 4
GROWTH = 6.0  # half axes of the isophotal ellipse, up to which the half-light radius is sought
WINDOW = 2 / 2.35  # half-light radii: the deviation of a Gaussian of which they are half the width
NARROWEST = 0.5  # pixels of a window's deviation
PORTION = 1 << 20  # pixels of cut-outs that are held at a time, beside the last source's
PIXEL_BYTES = 128  # that a pixel takes on its way from another rank


def aperture_fluxes(detection: Detection, sources: Sources, radii: Sequence[float], gain: float) -> Array:
    """Return flux and error of each source within each radius, and set its flags. Collective."""
    at = np.array(radii, np.float64)
    out = np.empty((len(sources.number), at.size, 2))
    reach = np.full(len(out), at.max(initial=0.0))
    for some, corners, lies, values, noise in _surroundings(detection, sources, reach, reach):
        part, flags = np.empty((len(some), at.size, 2)), sources.whole[some, 3]
        loops.circles(corners, lies, values, noise, sources["x"][some], sources["y"][some], at, gain, part, flags)
        out[some], sources.whole[some, 3] = part, flags
    return out


def kron_fluxes(detection: Detection, sources: Sources, gain: float) -> tuple[Array, Array]:
    """Return Kron's radius of each source, and flux and error within its ellipse; set its flags. Collective."""
    second = np.column_stack([sources["xx"], sources["yy"], sources["xy"]])
    deviations = np.sqrt(second[:, :2])
    radius = np.empty(len(second))
    for some, corners, lies, values, _ in _surroundings(detection, sources, *(loops.KRON_REACH * deviations.T)):
        part = np.empty(len(some))
        loops.kron_radii(corners, lies, values, sources["x"][some], sources["y"][some], second[some], part)
        radius[some] = part
    limit = KRON_FACTOR * radius
    is_small = limit * np.sqrt(sources["a"] * sources["b"]) < LEAST_RADIUS
    limit[is_small], second[is_small] = LEAST_RADIUS, (1.0, 1.0, 0.0)
    reach = limit * np.sqrt(second[:, 0]), limit * np.sqrt(second[:, 1])
    height, width = detection.labels.grid.shape
    for place, most, far in ((sources["x"], width - 1, reach[0]), (sources["y"], height - 1, reach[1])):
        sources.whole[(place - far < -0.5) | (place + far > most + 0.5), 3] |= BEYOND
    out = np.empty((len(radius), 1, 2))
    for some, corners, lies, values, noise in _surroundings(detection, sources, *reach):
        part, flags, x, y = np.empty((len(some), 1, 2)), sources.whole[some, 3], sources["x"][some], sources["y"][some]
        loops.kron_fluxes(corners, lies, values, noise, x, y, second[some], limit[some], gain, part, flags)
        out[some], sources.whole[some, 3] = part, flags
    return radius, out[:, 0]


def windowed(detection: Detection, sources: Sources, flux: Array) -> tuple[Array, Array]:
    """Return the radii of circles with half of a flux, NaN where none has it, and windowed centroids. Collective."""
    reach = GROWTH * sources["a"]
    radius, center = np.empty(len(reach)), np.empty((len(reach), 2))
    for some, corners, lies, values, _ in _surroundings(detection, sources, reach, reach):
        part = np.empty(len(some))
        x, y = sources["x"][some], sources["y"][some]
        loops.half_light_radii(corners, lies, values, x, y, reach[some], flux[some], part)
        radius[some] = part
    sigma = np.fmax(WINDOW * radius, NARROWEST)
    reach = loops.WINDOW_REACH * sigma + loops.MARGIN
    for some, corners, lies, values, _ in _surroundings(detection, sources, reach, reach):
        parts = np.empty((len(some), 2))
        loops.centroids(corners, lies, values, sources["x"][some], sources["y"][some], sigma[some], parts)
        center[some] = parts
    return radius, center


def kron_ellipses(table: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return the half axes of the ellipses in which Kron fluxes were taken, of a table's rows. Local."""
    a, b = (KRON_FACTOR * table["kron_radius"] * table[name] for name in ("a", "b"))
    is_small = np.sqrt(a * b) < LEAST_RADIUS
    return np.where(is_small, LEAST_RADIUS, a), np.where(is_small, LEAST_RADIUS, b)


def _surroundings(
    detection: Detection, sources: Sources, across: Array, down: Array
) -> Iterator[tuple[Array, Ints, Ints, Array, Array]]:
    """Yield cut-outs as far as given around sources, for `loops`: those in this block, and the others. Collective.

    Each time also which of the sources they are of, and the noise, of each pixel or one for all.
    """
    grid, box = detection.labels.grid, detection.labels.grid.box
    height, width = grid.shape
    top, bottom = _span(sources["y"], down, height)
    left, right = _span(sources["x"], across, width)
    corners = np.column_stack([top, left, bottom - top, right - left])
    inside = (top >= box.start[0]) & (bottom <= box.stop[0]) & (left >= box.start[1]) & (right <= box.stop[1])
    noise = detection.noise
    all_noise = np.array([noise], np.float32) if isinstance(noise, float) else noise.owned.reshape(-1)
    some, stride = np.flatnonzero(inside), box.shape[1]
    lies = np.column_stack([(top - box.start[0]) * stride + left - box.start[1], np.full(len(top), stride)])
    yield some, corners[some], lies[some], detection.value.owned.reshape(-1), all_noise

    fields = [detection.value.owned] + ([] if isinstance(noise, float) else [noise.owned])
    for some in _portions(detection, np.flatnonzero(~inside), corners[~inside]):
        cut = corners[some]
        sizes = cut[:, 2] * cut[:, 3]
        lies = np.column_stack([np.cumsum(sizes) - sizes, cut[:, 3]])
        copies = _gathered(detection, cut, int(sizes.sum()), fields)
        yield some, cut, lies, copies[0], copies[1] if len(copies) > 1 else all_noise


def _portions(detection: Detection, some: Ints, corners: Ints) -> list[Ints]:
    """Return sources by portions, of which one is held at a time; as many on all ranks. Collective. RunError."""
    grid, sizes = detection.labels.grid, corners[:, 2] * corners[:, 3]
    starts = np.flatnonzero(np.diff((np.cumsum(sizes) - sizes) // PORTION, prepend=-1))
    most = int(np.add.reduceat(sizes, starts).max()) if starts.size else 0
    count, most = (grid.comm.allreduce(number, MPI.MAX) for number in (starts.size, most))
    check_memory(
        grid, "photometry", PIXEL_BYTES * most, "the pixels around its sources",
        "take smaller --apertures, a higher --threshold, or more ranks",
    )  # fmt: skip
    return np.split(some, starts[1:]) + [some[:0]] * (count - max(starts.size, 1))


def _span(center: Array, reach: Array, most: int) -> tuple[Ints, Ints]:
    """Return the pixels, clipped to the frame, that may have a part within reach of centers: first, one behind last."""
    low, high = np.floor(center - reach - 0.5), np.ceil(center + reach + 0.5) + 1
    return np.clip(low, 0, most).astype(np.int64), np.clip(high, 0, most).astype(np.int64)


def _gathered(detection: Detection, cut: Ints, size: int, blocks: list[Array]) -> list[Array]:
    """Return the pixels of cut-outs, one behind the other, of some fields' blocks on all ranks. Collective."""
    grid = detection.labels.grid
    box, width = grid.box, grid.shape[1]
    bounds, start, nothing = np.array([*box.start, *box.stop]), np.array(box.start), np.empty(0, np.int64)
    places, targets = np.empty((2, loops.missing_places(cut, bounds, width, nothing, nothing)), np.int64)
    if places.size:
        loops.missing_places(cut, bounds, width, places, targets)
    copies = [np.empty(size, np.float32) for _ in blocks]
    for block, copy in zip(blocks, copies, strict=True):
        loops.copy_part(cut, block, start, copy)

    def answer(keys: Ints) -> Ints:
        words = np.zeros((len(keys), 2), np.float32)
        local = local_places(grid.shape, box, keys)
        for n, block in enumerate(blocks):
            words[:, n] = block.reshape(-1)[local]
        return words.view(np.int64)

    words = ask(grid.comm, owners(grid.decomposition, places), places, answer).view(np.float32)
    for n, copy in enumerate(copies):
        copy[targets] = words[:, n]
    return copies
