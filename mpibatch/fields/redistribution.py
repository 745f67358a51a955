"""Bring whole fields from one decomposition to another, and between the ranks and one array."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.domain import Box
from mpibatch.fields.field import Field, HaloLike, check_field
from mpibatch.fields.grid import Grid
from mpibatch.mpi import MPI, Transfers, agreed, transfer
from mpibatch.mpi.transfers import MESSAGE_BYTES, Target, pieces

__all__ = ["gather", "gather_all", "redistribute", "scatter"]

Array = npt.NDArray[Any]


def redistribute(u: Field, grid: Grid, halo: HaloLike = 0) -> Field:
    """Return `u` on another grid of the same shape and communicator. Collective.

    Each rank sends to those whose new boxes its old one overlaps, and to no others; every cell travels once,
    in messages of at most 1 GiB. Raises UsageError when shapes or communicators differ.
    """
    check_field("redistribute", u)
    if grid.shape != u.grid.shape or grid.comm != u.grid.comm:
        raise UsageError(
            f"a field over {u.grid} was to be redistributed to {grid}; both need the same shape and communicator"
        )
    result = Field(grid, u.dtype, halo, u.components)
    _move(u.grid.comm, u.grid.decomposition, u.owned, grid.decomposition, result.owned)
    return result


def scatter(array: Array | None, grid: Grid, halo: HaloLike = 0, root: int = 0) -> Field:
    """Return a Field with the cells of an array that only `root` needs to hold. Collective.

    Parameters
    ----------
    array : on `root`, an array of the grid's shape, components behind; elsewhere ignored.
    grid : where its cells go.
    halo : width of the new field's halo.

    Raises UsageError on all ranks if the shape or the dtype does not fit.
    """
    about: tuple[str, tuple[int, ...]] | None = None
    with agreed(grid.comm, "scatter"):
        _check_root(root, grid)
        if grid.rank == root:
            array = np.asarray(array)
            if array.shape[: grid.ndim] != grid.shape:
                raise UsageError(
                    f"an array of shape {array.shape} was to be scattered over {grid}; its first axes must match"
                )
            if array.dtype.kind not in "biufc":
                raise UsageError(f"an array of dtype {array.dtype} was to be scattered; use bool, integers or floats")
            about = array.dtype.newbyteorder("=").str, array.shape[grid.ndim :]
    dtype, components = grid.comm.bcast(about, root=root)
    result = Field(grid, dtype, halo, components)
    whole = np.asarray(array, dtype) if grid.rank == root else np.empty((0,) * grid.ndim + components, dtype)
    _move(grid.comm, _OnRoot(grid.shape, root), whole, grid.decomposition, result.owned)
    return result


def gather(u: Field, root: int = 0) -> Array | None:
    """Return the whole field as one array on `root`, None elsewhere. Collective.

    The array is new and C-contiguous, of the global shape, components last.
    """
    check_field("gather", u)
    _check_root(root, u.grid)
    mine = u.grid.rank == root
    whole = np.empty(u.shape if mine else (0,) * u.grid.ndim + u.components, u.dtype)
    _move(u.grid.comm, u.grid.decomposition, u.owned, _OnRoot(u.grid.shape, root), whole)
    return whole if mine else None


def gather_all(u: Field) -> Array:
    """Return the whole field as one array on every rank. Collective. Needs its memory on every rank."""
    whole = gather(u)
    if whole is None:
        whole = np.empty(u.shape, u.dtype)
    with timed("halo"):
        flat = whole.reshape(-1).view(np.uint8)
        for (cut,) in pieces(flat.shape, 1, MESSAGE_BYTES):
            u.grid.comm.Bcast([flat[cut], MPI.BYTE], root=0)
    return whole


def _check_root(root: int, grid: Grid) -> None:
    if not 0 <= root < grid.size:
        raise UsageError(f"root={root} was asked for among {grid.size} ranks; give 0 <= root < {grid.size}")


class _Layout(Protocol):
    """Which rank owns what."""

    def box(self, rank: int) -> Box:
        """The cells that `rank` owns."""

    def overlapping(self, box: Box) -> Iterable[int]:
        """The ranks that own a cell of `box`."""


@dataclass(frozen=True, slots=True)
class _OnRoot:
    """Everything on one rank."""

    shape: tuple[int, ...]
    root: int

    def box(self, rank: int) -> Box:
        zeros = (0,) * len(self.shape)
        return Box(zeros, self.shape if rank == self.root else zeros)

    def overlapping(self, box: Box) -> Iterable[int]:
        return (self.root,) if box.size else ()


def _move(comm: MPI.Intracomm, old: _Layout, source: Array, new: _Layout, target: Array) -> None:
    """Send every cell from its owner under `old` to its owner under `new`."""
    moves = Transfers()
    mine, wanted = old.box(comm.rank), new.box(comm.rank)
    for rank in new.overlapping(mine):
        part = mine.intersect(new.box(rank))
        view = source[part.slices(mine.start)]
        if rank == comm.rank:
            moves.copies.append((target[part.slices(wanted.start)], view))
        else:
            moves.sends[rank] = [view]
    for rank in old.overlapping(wanted):
        if rank != comm.rank:
            view = target[wanted.intersect(old.box(rank)).slices(wanted.start)]
            moves.receives[rank] = [Target(view, view.shape)]
    with timed("halo"):
        transfer(comm, moves)
