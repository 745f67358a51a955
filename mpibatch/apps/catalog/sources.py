"""Sources: objects taken apart, numbered, and measured, the same whatever rank does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpibatch.apps.catalog._loops import branches, shapes
from mpibatch.apps.catalog.members import Members, collect
from mpibatch.apps.catalog.wings import are_sources, profiles
from mpibatch.measure._components.numbering import numbers
from mpibatch.measure._engine.places import local_places, owners
from mpibatch.mpi.routes import ask, forward

if TYPE_CHECKING:
    from mpibatch.apps.catalog.detection import Detection
    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid

__all__ = ["FIGURES", "Sources", "extract"]

Ints = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

WHOLE = ("first", "npix", "top", "flag")
FIGURES = ("x", "y", "a", "b", "theta", "xx", "yy", "xy", "flux", "fluxerr", "peak", "light")
BLENDED = 1


@dataclass(frozen=True)
class Sources:
    """The sources whose first pixels are in this rank's block, in raster order of these.

    Attributes
    ----------
    number : ndarray
        From 1, in raster order of the first pixels in the whole frame.
    whole : ndarray
        A row for each: raster index of the first pixel, pixels, raster index of the peak, flags.
    figures : ndarray
        A row for each, of `FIGURES`.
    count : int
        How many all ranks have.
    """

    number: Ints
    whole: Ints
    figures: Values
    count: int

    def __getitem__(self, name: str) -> Values:
        return self.figures[:, FIGURES.index(name)]


def extract(
    detection: Detection, area: int, steps: int, contrast: float, gain: float, clean: float = 0.0
) -> tuple[Sources, Field]:
    """Return the sources, and a map of their numbers. Collective. `clean`: the wings' power; 0: all are kept."""
    grid = detection.labels.grid
    members = collect(detection)
    signal, value, noise = members.pixels
    owner = np.empty(members.places.size, np.int64)
    count = branches.deblend(
        members.ends, members.places, signal, grid.shape[1], detection.threshold, steps, contrast, area, owner
    )
    order = np.argsort(owner, kind="stable")[np.count_nonzero(owner < 0) :]
    ends = np.searchsorted(owner[order], np.arange(count + 1))
    whole, figures = np.empty((count, len(WHOLE)), np.int64), np.empty((count, len(FIGURES)))
    shape = np.array(grid.shape)
    shapes.measure(ends, members.places[order], signal[order], value[order], noise[order], shape, gain, whole, figures)
    parent = np.searchsorted(members.ends, order[ends[:-1]], side="right")
    whole[np.bincount(parent, minlength=1)[parent] > 1, 3] |= BLENDED
    first = whole[:, 0].copy()
    if clean:
        is_local = not isinstance(detection.noise, float)
        with np.errstate(divide="ignore", invalid="ignore"):  # no noise where all is alike
            height = value[order] / noise[order] if is_local else value[order]
        profile = profiles(ends, signal[order], height, figures, detection.threshold, area, clean)
        figures = np.column_stack([figures, profile])
    sources = _numbered(grid, whole, figures, clean)
    _paint(detection.labels, members, order, ends, first, sources)
    return sources, detection.labels


def _numbered(grid: Grid, whole: Ints, figures: Values, clean: float) -> Sources:
    """Bring each source to the rank of its first pixel, clean the list, and number what is left. Collective."""
    rows = np.column_stack([whole, figures.view(np.int64)])
    rows = forward(grid.comm, owners(grid.decomposition, whole[:, 0]), rows)
    place = local_places(grid.shape, grid.box, rows[:, 0])
    order = np.argsort(place)
    rows, split = rows[order], len(WHOLE)
    whole, figures = rows[:, :split].copy(), rows[:, split:].copy().view(np.float64)
    kept = np.ones(len(rows), np.bool_)
    if clean:
        known = [figures[:, FIGURES.index(name)] for name in ("light", "x", "y", "a", "xx", "yy", "xy")]
        kept = are_sources(grid, whole[:, 0], np.column_stack([*known, figures[:, len(FIGURES) :]]), clean)
    number, count = numbers(grid, place[order], kept)
    return Sources(number[kept], whole[kept], figures[kept], count)


def _paint(labels: Field, members: Members, order: Ints, ends: Ints, first: Ints, sources: Sources) -> None:
    """Put the numbers of sources in place of those of objects. Collective."""
    grid = labels.grid
    # In a block raster order is that of the frame: the first pixels are sorted.
    known = sources.whole[:, 0]

    def answer(keys: Ints) -> Ints:
        slots = np.searchsorted(known, keys)
        is_kept = np.isin(keys, known)
        result = np.zeros((len(keys), 1), np.int64)
        result[is_kept, 0] = sources.number[slots[is_kept]]
        return result

    number = ask(grid.comm, owners(grid.decomposition, first), first, answer)[:, 0]
    named = np.zeros(members.places.size, np.int64)
    named[order] = np.repeat(number, np.diff(ends))
    away = np.column_stack([members.places, named])[members.own :]
    arrived = forward(grid.comm, owners(grid.decomposition, away[:, 0]), away)
    labels.owned[...] = 0
    for places, names in ((members.places[: members.own], named[: members.own]), arrived.T):
        y, x = np.divmod(places, grid.shape[1])
        labels.owned[y - grid.box.start[0], x - grid.box.start[1]] = names
