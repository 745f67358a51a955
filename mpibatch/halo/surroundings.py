"""What lies around the owned cells of fields, in memory of its own: planned once for all fields of one kind on a grid.

A field's own halo is not touched, and need not be wide enough. Unlike a `halo.Exchange`, which is bound to the memory
of its fields, a `Frame` serves whatever field it is given: filters make a new one in every call.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.tally import needed, sent
from mpibatch.base.timing import phase as timed
from mpibatch.base.timing import turn
from mpibatch.domain.regions import outer_slabs
from mpibatch.fields.field import Field, HaloLike, check_field
from mpibatch.halo.checks import ModeLike, check_value, halo_of, need_of
from mpibatch.halo.exchanges import kept_exchange
from mpibatch.halo.plan import Halo, phase
from mpibatch.halo.stages import Bound, Memory, Stage, cut_of, staging
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from mpibatch.domain import Box
    from mpibatch.fields.grid import Grid

__all__ = ["Frame", "frame_along", "frame_of", "padded_copy", "slabs"]

Array = npt.NDArray[Any]

# Frames kept per grid, and the bytes of their cells: nothing beside what a process holds anyway.
MOST_FRAMES, MOST_BYTES = 16, 16 * 2**20

HALO, PACK = timed("halo"), timed("pack")

_frames: weakref.WeakKeyDictionary[Grid, dict[Any, Frame]] = weakref.WeakKeyDictionary()


class Frame:
    """The cells around the block, and how they come there; holds no field.

    Attributes
    ----------
    box : the owned cells.
    slabs : for each axis the memory before and after the block; corners lie in those of the first axis along which
        they are outside. What was brought for one field is there until it is brought for another one.
    nbytes : of all memory.
    """

    def __init__(self, u: Field, halo: Halo) -> None:
        grid, box = u.grid, u.box
        self.box, self._halo = box, halo
        # Of a rank without cells nothing is read, whatever is around it.
        whole = box.grow(halo.widths)
        self.slabs = [
            tuple(Memory(np.zeros(slab.shape + u.components, u.dtype), slab.start) for slab in pair)
            for pair in outer_slabs(whole, box)
        ]
        moves = phase(grid.decomposition, grid.rank, halo)
        outboxes = {r: staging([(u.dtype, m.wire + u.components) for m in todo]) for r, todo in moves.sends.items()}
        self._packs = [
            (part, cut_of(move, box.start))
            for rank, todo in moves.sends.items()
            for part, move in zip(outboxes[rank][1], todo, strict=True)
        ]
        self._copies = [(self.at(move.box), cut_of(move, box.start)) for move in moves.copies]
        self._fills = [self.at(fill) for fill in moves.fills]
        receives = {
            rank: [(self.at(m.box), m.wire + u.components) for m in todo] for rank, todo in moves.receives.items()
        }
        sends = {rank: [buffer] for rank, (buffer, _) in outboxes.items()}
        stage = self._stage = Stage(grid.comm, Bound(receives, sends, [], []))
        self._need = need_of([u], halo)
        self.nbytes = stage.nbytes + sum(slab.array.nbytes for pair in self.slabs for slab in pair)
        # Requests are freed by local calls, so it does not matter when each rank drops it.
        weakref.finalize(self, stage.free)

    def fetch(self, u: Field, cval: Any = 0) -> None:
        """Bring the cells around the block of `u`. Collective: one message from and to each rank that has some."""
        check_value(u, self._halo, cval)
        owned, stage = u.owned, self._stage
        with HALO:
            needed(self._need)
            if self._packs:
                turn("pack")
                for outbox, cut in self._packs:
                    outbox[...] = owned[cut]
                turn("halo")
            if stage.requests:  # of buffers that are full now: `start` would have nothing else to do
                sent(stage.messages, stage.nbytes)
                MPI.Prequest.Startall(stage.requests)
            if self._copies or self._fills:
                turn("pack")
                for target, cut in self._copies:
                    target[...] = owned[cut]
                for target in self._fills:
                    target[...] = cval
                turn("halo")
            stage.finish()

    def at(self, box: Box) -> Array:
        """Return the view of a box that lies in one slab. Local."""
        for axis, (low, high) in enumerate(self.slabs):
            if box.stop[axis] <= self.box.start[axis]:
                return low.at(box)
            if box.start[axis] >= self.box.stop[axis]:
                return high.at(box)
        raise AssertionError(f"{box} is not outside {self.box}")


def frame_of(u: Field, halo: Halo) -> Frame:
    """Return the frame of such fields, which is kept with the grid if it is small. Local."""
    frames = _frames.setdefault(u.grid, {})
    key = (halo, u.dtype, u.components)
    frame = frames.get(key)
    if frame is None:
        frame = Frame(u, halo)
        if frame.nbytes <= MOST_BYTES:
            while len(frames) >= MOST_FRAMES or frame.nbytes + sum(f.nbytes for f in frames.values()) > MOST_BYTES:
                del frames[next(iter(frames))]
            frames[key] = frame
    return frame


def frame_along(u: Field, axis: int, reach: tuple[int, int], mode: str) -> Frame:
    """Return the frame of (low, high) cells before and after the block along one axis. Local."""
    widths = tuple(reach if a == axis else (0, 0) for a in range(u.grid.ndim))
    return frame_of(u, halo_of(u.grid, widths, mode, corners=False))


def slabs(u: Field, axis: int, reach: tuple[int, int], mode: str, cval: Any = 0.0) -> tuple[Array, Array]:
    """Return the cells just before and just after the owned block along one axis.

    Parameters
    ----------
    u : Field
        Its own halo is not touched, and need not be wide enough.
    axis : int
        A grid axis, from 0.
    reach : tuple of (int, int)
        Cells before and after.
    mode : str
        What lies outside walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). A periodic axis wraps whatever its mode.
    cval : scalar or array_like, default 0.0
        Value outside "constant" walls; a number, or one for each component.

    Returns
    -------
    before : ndarray
        C-contiguous, of the local shape, components last, with ``reach[0]`` cells along `axis`.
    after : ndarray
        The same with ``reach[1]`` cells. On a rank without cells both are zeros.

    Raises
    ------
    UsageError
        The same on every rank, if field, reach, mode and value do not fit one another.

    Notes
    -----
    Collective. One message from and to each rank whose cells are read.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(6).from_function(lambda x: x * x)
    >>> before, after = mb.halo.slabs(u, 0, (1, 1), "constant", cval=-1.0)
    >>> before.shape, after.shape
    ((1,), (1,))
    >>> u.grid.comm.bcast(before.tolist())
    [-1.0]
    """
    check_field("slabs", u)
    frame = frame_along(u, axis, reach, mode)
    frame.fetch(u, cval)
    before, after = frame.slabs[axis]
    return before.array.copy(), after.array.copy()


def padded_copy(u: Field, reach: HaloLike, mode: ModeLike, cval: Any = 0.0, corners: bool = True) -> Array:
    """Return the owned cells with some cells around them, corners included.

    Parameters
    ----------
    u : Field
        What is copied.
    reach : int or sequence of (int or (int, int))
        Cells around: of all sides, of each axis, or of each axis a pair (low, high).
    mode : str or None or sequence
        What lies outside walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"); one for all, or one per axis, or per axis a pair (low, high); None leaves it
        undefined. A periodic axis wraps whatever its mode.
    cval : scalar or array_like, default 0.0
        Value outside "constant" walls; a number, or one for each component.
    corners : bool, default True
        False fills faces only.

    Returns
    -------
    ndarray
        C-contiguous, components last. It is ``u.padded`` itself, without a copy, when the field's halo is `reach`, and
        then read-only if the field is frozen; a rank without cells gets an array without cells.

    Raises
    ------
    UsageError
        The same on every rank, if field, reach, mode and value do not fit one another.

    Notes
    -----
    Collective. The messages are those of `exchange`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(6).from_function(lambda x: x * x)
    >>> around = mb.halo.padded_copy(u, 1, "nearest")
    >>> difference = u.like()
    >>> difference.owned[...] = around[2:] - around[:-2]
    >>> print(mb.gather_all(difference))
    [ 1.  4.  8. 12. 16.  9.]
    """
    check_field("a padded copy", u)
    halo = halo_of(u.grid, reach, mode, corners)
    if halo.widths == u.halo:
        kept_exchange(u, None, mode, cval, corners)()
        return u.padded
    whole = Field(u.grid, u.dtype, halo.widths, u.components)
    with PACK:
        whole.owned[...] = u.owned
    kept_exchange(whole, None, mode, cval, corners)()
    return whole.padded
