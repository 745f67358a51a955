"""The pixels of objects, each object's on one rank: that which has all of them, else one chosen by its number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.apps.catalog._loops import detection as loops
from mpibatch.filters._engine.memory import check_memory
from mpibatch.mpi import MPI
from mpibatch.mpi.routes import forward

if TYPE_CHECKING:
    from mpibatch.apps.catalog.detection import Detection

__all__ = ["Members", "collect"]

Ints = npt.NDArray[np.int64]
Values = npt.NDArray[np.float32]

# Bytes of a pixel that a rank works on, of one of the object that it takes apart, and of one of the box around that.
MEMBER_BYTES, OBJECT_BYTES, BOX_BYTES = 128, 160, 8


@dataclass(frozen=True)
class Members:
    """Pixels, object after object, those of each in raster order.

    Attributes
    ----------
    ends : ndarray
        Where each object's pixels begin, and the end of the last.
    places : ndarray
        Raster indices in the frame.
    pixels : ndarray
        Their signals, values and noises.
    own : int
        How many of the first pixels are of objects that lie in this rank's block alone.
    """

    ends: Ints
    places: Ints
    pixels: Values
    own: int


def collect(detection: Detection) -> Members:
    """Return the pixels of the objects that this rank is to work on. Collective.

    Objects that touch the edge of a block towards others may go on there. Their pixels travel, once, to the rank that
    has the share of the objects in which their number is: whatever is computed of one has all its pixels, in order.
    """
    grid, labels = detection.labels.grid, detection.labels.owned
    box, (height, width) = grid.box, grid.shape
    start = np.array(box.start, np.int64)
    runs = np.empty((loops.count_runs(labels), 4), np.int64)
    loops.list_runs(labels, start, runs)
    at_edge = (runs[:, 1] == box.start[0]) & (box.start[0] > 0)
    at_edge |= (runs[:, 1] == box.stop[0] - 1) & (box.stop[0] < height)
    at_edge |= (runs[:, 2] == box.start[1]) & (box.start[1] > 0)
    at_edge |= (runs[:, 3] == box.stop[1]) & (box.stop[1] < width)
    open_labels = np.unique(runs[at_edge, 0])
    is_open = np.isin(runs[:, 0], open_labels) if open_labels.size else np.zeros(len(runs), np.bool_)
    order = np.lexsort((runs[:, 0], is_open)) if open_labels.size else np.argsort(runs[:, 0], kind="stable")
    _check_room(detection, runs[order], is_open[order])
    lengths = (runs[:, 3] - runs[:, 2])[order]
    names = np.repeat(runs[order, 0], lengths)
    places, pixels = np.empty(names.size, np.int64), np.empty((3, names.size), np.float32)
    noise = detection.noise
    sigma = np.array([[noise]], np.float32) if isinstance(noise, float) else noise.owned
    loops.members(runs, order, width, start, detection.signal.owned, detection.value.owned, sigma, places, pixels)
    own = int(lengths[~is_open[order]].sum())
    moved = np.empty((names.size - own, 4), np.int64)
    moved[:, 0], moved[:, 1] = names[own:], places[own:]
    moved[:, 2:] = _as_words(pixels[:, own:])
    arrived = forward(grid.comm, _workers(detection, names[own:]), moved)
    arrived = arrived[np.lexsort((arrived[:, 1], arrived[:, 0]))]
    names = np.concatenate([names[:own], arrived[:, 0]])
    ends = np.flatnonzero(np.diff(names, prepend=0, append=0)) if names.size else np.zeros(1, np.int64)
    return Members(
        ends,
        np.concatenate([places[:own], arrived[:, 1]]),
        np.concatenate([pixels[:, :own], _as_values(arrived[:, 2:])], axis=1),
        own,
    )


def _workers(detection: Detection, names: Ints) -> Ints:
    """Return the ranks that work on objects which lie in several blocks, perhaps. Local."""
    return (names - 1) * detection.labels.grid.size // max(detection.count, 1)


def _check_room(detection: Detection, runs: Ints, is_open: npt.NDArray[np.bool_]) -> None:
    """Refuse objects that no rank has memory for, before their pixels travel. Collective. RunError.

    runs: by objects: number, row, first column and that behind the last; those of which `is_open` holds come last.
    """
    grid, (number, y, left, right) = detection.labels.grid, runs.T
    rows = np.column_stack([number, right - left, y, y + 1, left, right])
    own, parts = _merged(rows[~is_open]), _merged(rows[is_open])
    objects = np.concatenate([own, _merged(forward(grid.comm, _workers(detection, parts[:, 0]), parts, _merged))])
    _, pixels, top, bottom, left, right = objects.T
    boxes = (bottom - top + 2) * (right - left + 2)
    largest = int((OBJECT_BYTES * pixels + BOX_BYTES * boxes).max(initial=0))
    needed = MEMBER_BYTES * int(pixels.sum() + parts[:, 1].sum()) + largest
    check_memory(
        grid, "deblending", grid.comm.allreduce(needed, MPI.MAX), "the pixels of objects, each of which is on one",
        "give a higher --threshold, or each rank more memory",
    )  # fmt: skip


def _merged(rows: Ints) -> Ints:
    """Return a row for each object of some of parts: number, pixels, first row and behind the last, columns. Local."""
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    starts = np.flatnonzero(np.diff(rows[:, 0], prepend=0))
    result = rows[starts]
    if starts.size:
        for column, merge in enumerate((np.add, np.minimum, np.maximum, np.minimum, np.maximum), 1):
            result[:, column] = merge.reduceat(rows[:, column], starts)
    return result


def _as_words(pixels: Values) -> Ints:
    """Three values of each pixel as two words, a row for each pixel."""
    four = np.zeros((pixels.shape[1], 4), np.float32)
    four[:, :3] = pixels.T
    return four.view(np.int64)


def _as_values(words: Ints) -> Any:
    return np.ascontiguousarray(words).view(np.float32)[:, :3].T
