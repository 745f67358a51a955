"""Bring whole fields from one decomposition to another, and between the ranks and one array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.domain import Box
from mpibatch.fields.field import Field, HaloLike, check_field
from mpibatch.fields.plans import planned
from mpibatch.mpi import MPI, Transfers, agreed, transfer
from mpibatch.mpi.transfers import MESSAGE_BYTES, Target, pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mpibatch.domain import Decomposition
    from mpibatch.fields.grid import Grid

__all__ = ["Layout", "Ways", "bring", "gather", "gather_all", "move", "redistribute", "scatter"]

Array = npt.NDArray[Any]
Cut = tuple[slice, ...]


def redistribute(u: Field, grid: Grid, halo: HaloLike = 0) -> Field:
    """Return a field on another grid of the same shape and communicator.

    Parameters
    ----------
    u : Field
        What is to be moved.
    grid : Grid
        Of the same shape and communicator, with another decomposition, say.
    halo : int or sequence of (int or (int, int)), default 0
        Width of the new field's halo: of all sides, of each axis, or of each axis a pair (low, high). It is not filled.

    Returns
    -------
    Field
        A new one on `grid`, with the dtype and the components of `u`.

    Raises
    ------
    UsageError
        If shapes or communicators differ.

    Notes
    -----
    Collective. Each rank sends to those whose new boxes its old one overlaps, and to no others; every cell travels
    once, in messages of at most 1 GiB. Cells that stay on their rank are copied. What goes where is
    planned once for two decompositions.

    Examples
    --------
    >>> import mpibatch as mb
    >>> rows = mb.Grid((4, 4), topology=(None, 1))
    >>> columns = mb.Grid((4, 4), topology=(1, None))
    >>> u = mb.redistribute(rows.full(2.0), columns)
    >>> u.grid is columns, mb.sum(u)
    (True, 32.0)
    """
    check_field("redistribute", u)
    if grid.shape != u.grid.shape or grid.comm != u.grid.comm:
        raise UsageError(
            f"cannot redistribute a field from {u.grid} to {grid}; both need the same shape and communicator"
        )
    result = Field(grid, u.dtype, halo, u.components)
    old, new = u.grid.decomposition, grid.decomposition
    ways: Ways = planned(u.grid, ("ways", new), lambda: Ways.between(grid.rank, old, new))
    ways.carry(grid.comm, u.owned, result.owned)
    return result


def scatter(array: Array | None, grid: Grid, halo: HaloLike = 0, root: int = 0) -> Field:
    """Return a Field with the cells of an array that only one rank needs to hold.

    Parameters
    ----------
    array : array_like or None
        On `root`, an array of the grid's shape, components behind, of bool, integers, floats or complex; elsewhere
        ignored.
    grid : Grid
        Where its cells go.
    halo : int or sequence of (int or (int, int)), default 0
        Width of the new field's halo: of all sides, of each axis, or of each axis a pair (low, high). It is not filled.
    root : int, default 0
        The rank that has the array.

    Returns
    -------
    Field
        A new one, with the array's dtype in native byte order.

    Raises
    ------
    UsageError
        On all ranks, if the shape, the dtype or `root` does not fit.

    Notes
    -----
    Collective. `root` sends its cells to each rank that owns some, in messages of at most 1 GiB; others need no more
    memory than their part. For an array in a file see `mpibatch.load`.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid((2, 3))
    >>> u = mb.scatter(np.arange(6.0).reshape(2, 3) if grid.rank == 0 else None, grid)
    >>> u.shape, mb.sum(u)
    ((2, 3), 15.0)
    """
    about: tuple[str, tuple[int, ...]] | None = None
    with agreed(grid.comm, "scatter"):
        _check_root(root, grid)
        if grid.rank == root:
            array = np.asarray(array)
            if array.shape[: grid.ndim] != grid.shape:
                raise UsageError(
                    f"cannot scatter an array of shape {array.shape} over {grid}; its first axes must match"
                )
            if array.dtype.kind not in "biufc":
                raise UsageError(f"cannot scatter an array of dtype {array.dtype}; use bool, integers or floats")
            about = array.dtype.newbyteorder("=").str, array.shape[grid.ndim :]
    dtype, components = grid.comm.bcast(about, root=root)
    result = Field(grid, dtype, halo, components)
    whole = np.asarray(array, dtype) if grid.rank == root else np.empty((0,) * grid.ndim + components, dtype)
    move(grid.comm, _OnRoot(grid.shape, root), whole, grid.decomposition, result.owned)
    return result


def gather(u: Field, root: int = 0) -> Array | None:
    """Return the whole field as one array on one rank.

    Parameters
    ----------
    u : Field
        Of any dtype and components.
    root : int, default 0
        The rank that gets it.

    Returns
    -------
    ndarray or None
        On `root`, a new C-contiguous array of the global shape, components last; elsewhere None.

    Raises
    ------
    UsageError
        If `u` is no field, or there is no rank `root`.

    Notes
    -----
    Collective. Each rank sends its owned cells to `root`, in messages of at most 1 GiB. It needs the memory of the
    whole array on `root`; see `mpibatch.save` for what is larger.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid(4)
    >>> whole = mb.gather(grid.from_function(lambda x: x * x))
    >>> (whole is None) == (grid.rank != 0)
    True
    >>> grid.comm.bcast(whole).tolist()
    [0.0, 1.0, 4.0, 9.0]
    """
    check_field("gather", u)
    _check_root(root, u.grid)
    mine = u.grid.rank == root
    whole = np.empty(u.shape if mine else (0,) * u.grid.ndim + u.components, u.dtype)
    move(u.grid.comm, u.grid.decomposition, u.owned, _OnRoot(u.grid.shape, root), whole)
    return whole if mine else None


def gather_all(u: Field) -> Array:
    """Return the whole field as one array on every rank.

    Parameters
    ----------
    u : Field
        Of any dtype and components.

    Returns
    -------
    ndarray
        On every rank, a new C-contiguous array of the global shape, components last.

    Raises
    ------
    UsageError
        If `u` is no field.

    Notes
    -----
    Collective: `gather` to rank 0, and a broadcast. It needs the memory of the whole array on every rank.

    Examples
    --------
    >>> import mpibatch as mb
    >>> print(mb.gather_all(mb.Grid(4).from_function(lambda x: x * x)))
    [0. 1. 4. 9.]
    """
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
        raise UsageError(f"root={root} is not one of the {grid.size} ranks; give 0 <= root < {grid.size}")


class Layout(Protocol):
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


@dataclass(frozen=True, slots=True)
class Ways:
    """Which part of a rank's block goes to which rank, and comes from which: slices of its arrays."""

    sends: list[tuple[int, Cut]]
    receives: list[tuple[int, Cut]]
    copies: list[tuple[Cut, Cut]]  # target, source: what stays

    @classmethod
    def between(cls, rank: int, old: Layout, new: Layout) -> Ways:
        """Return those of a rank; pure."""
        mine, target_box = old.box(rank), new.box(rank)
        sends, copies = [], []
        for to in new.overlapping(mine):
            part = mine.intersect(new.box(to))
            cut = part.slices(mine.start)
            if to == rank:
                copies.append((part.slices(target_box.start), cut))
            else:
                sends.append((to, cut))
        givers = [giver for giver in old.overlapping(target_box) if giver != rank]
        receives = [(giver, target_box.intersect(old.box(giver)).slices(target_box.start)) for giver in givers]
        return cls(sends, receives, copies)

    def carry(self, comm: MPI.Intracomm, source: Array, target: Array) -> None:
        """Move the cells of arrays. Collective over those that share some."""
        moves = Transfers(copies=[(target[to], source[cut]) for to, cut in self.copies])
        for to, cut in self.sends:
            moves.sends[to] = [source[cut]]
        for giver, cut in self.receives:
            view = target[cut]
            moves.receives[giver] = [Target(view, view.shape)]
        with timed("halo"):
            transfer(comm, moves)


def move(comm: MPI.Intracomm, old: Layout, source: Array, new: Layout, target: Array) -> None:
    """Send every cell from its owner under `old` to its owner under `new`; those that `new` has not stay behind."""
    Ways.between(comm.rank, old, new).carry(comm, source, target)


@dataclass(frozen=True, slots=True)
class _Offset:
    """Who owns the cells of a region, which are numbered by where they shall go."""

    decomposition: Decomposition
    region: Box
    offset: Sequence[int]

    def box(self, rank: int) -> Box:
        return _moved(self.decomposition.box(rank).intersect(self.region), self.offset, 1)

    def overlapping(self, box: Box) -> Iterable[int]:
        return self.decomposition.overlapping(_moved(box, self.offset, -1).intersect(self.region))


def _moved(box: Box, offset: Sequence[int], sign: int) -> Box:
    return Box(
        tuple(low + sign * by for low, by in zip(box.start, offset, strict=True)),
        tuple(high + sign * by for high, by in zip(box.stop, offset, strict=True)),
    )


def bring(u: Field, region: Box, offset: Sequence[int], target: Field) -> None:
    """Copy the cells of a region to `target`, so much further along each axis. Collective."""
    mine = u.box.intersect(region)
    old = _Offset(u.grid.decomposition, region, tuple(offset))
    move(u.grid.comm, old, u.owned[mine.slices(u.box.start)], target.grid.decomposition, target.owned)
