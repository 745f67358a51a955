"""Halos that are added to the cells that they stand for: what `exchange` does, the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field, check_field
from mpibatch.halo.checks import ModeLike, halo_of
from mpibatch.halo.plan import phase
from mpibatch.halo.stages import Memory
from mpibatch.mpi import Transfers, transfer
from mpibatch.mpi.transfers import Target

if TYPE_CHECKING:
    import numpy.typing as npt

    from mpibatch.fields.field import HaloLike

__all__ = ["add_halo"]

HALO = timed("halo")


def add_halo(u: Field, width: HaloLike | None = None, mode: ModeLike = "reflect") -> None:
    """Add what is in the halos of a field to the cells from which `exchange` would fill them.

    Parameters
    ----------
    u : Field
        Of integers, whose sums do not depend on an order. Its owned cells are written to; its halo holds no more than
        part of the sums after it.
    width : int or sequence of (int or (int, int)), optional
        Cells to add: of all sides, of each axis, or of each axis a pair (low, high); at most the field's halo. Default:
        all of its halo.
    mode : str or None or sequence, default "reflect"
        Which cells those outside walls stand for: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or
        "grid-wrap") or "constant" (or "grid-constant"); one for all, or one per axis, or per axis a pair (low, high).
        With None or "constant" they stand for none, and are not added. A periodic axis wraps whatever its mode.

    Raises
    ------
    UsageError
        The same on every rank, for a field of other numbers, or if field, width and mode do not fit one another.

    Notes
    -----
    Collective. Messages go to the ranks of which `exchange` gets them, axis by axis.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(6, periodic=True).zeros("i8", halo=1)
    >>> u.padded[...] = 1
    >>> mb.halo.add_halo(u)
    >>> int(mb.sum(u)) == 6 + 2 * u.grid.size
    True
    """
    check_field("add_halo", u)
    if u.dtype.kind not in "iu":
        raise UsageError(
            f"add_halo: sums of {u.dtype} would depend on the order, and that on the ranks; count in integers"
        )
    halo = halo_of(u.grid, u.halo if width is None else width, mode)
    if any(w > h for ws, hs in zip(halo.widths, u.halo, strict=True) for w, h in zip(ws, hs, strict=True)):
        raise UsageError(f"add_halo: {halo.widths} cells of a field whose halo is {u.halo}; give a narrower one")
    grid, memory = u.grid, Memory(u.padded, u.origin)
    if u.memory.filled is not None:
        u.memory.filled.forget()
    with HALO:
        # The last axis first: its corners are in the halos of the others, which go on to their owners.
        for axis in reversed(range(grid.ndim)):
            if not any(halo.widths[axis]):
                continue
            moves = phase(grid.decomposition, grid.rank, halo, [axis])
            sums: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
            targets: dict[int, list[Target]] = {}
            for rank, todo in moves.sends.items():
                for move in todo:
                    part = np.empty(move.shape + u.components, u.dtype)
                    targets.setdefault(rank, []).append(Target(part, part.shape))
                    sums.append((memory.source(move), part))
            sends = {rank: [memory.at(move.box) for move in todo] for rank, todo in moves.receives.items()}
            transfer(grid.comm, Transfers(sends=sends, receives=targets))
            sums += [(memory.source(move), memory.at(move.box)) for move in moves.copies]
            for owned, part in sums:
                # A cell that is repeated beyond a wall gets the sum of all that stand for it.
                repeated = tuple(a for a, n in enumerate(owned.shape) if n != part.shape[a])
                owned[...] += part.sum(axis=repeated, keepdims=True, dtype=u.dtype) if repeated else part
