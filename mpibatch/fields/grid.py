"""A decomposition with a communicator and the geometry of its cells."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import cast
from mpibatch.base.errors import UsageError
from mpibatch.domain import Box, Decomposition
from mpibatch.fields.memory import Pool
from mpibatch.mpi import MPI, private, same

if TYPE_CHECKING:
    from mpibatch.fields.field import Field, HaloLike

__all__ = ["Grid"]

_AXIS_NAMES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x"), 4: ("t", "z", "y", "x")}


def _per_axis(value: Any, ndim: int, name: str, convert: Callable[[Any], Any]) -> tuple[Any, ...]:
    scalar = np.ndim(value) == 0
    values = (value,) * ndim if scalar else tuple(value)
    if len(values) != ndim:
        raise UsageError(
            f"{name}={value!r} has {len(values)} entries for a grid of {ndim} axes; give one, or one per axis"
        )
    return tuple(convert(v) for v in values)


class Grid:
    """A global box of cells over the ranks of a communicator. Creating one is collective.

    Parameters
    ----------
    shape : cells along each of 1 to 4 axes.
    comm : an mpi4py intracommunicator; default COMM_WORLD. A private duplicate of it is used.
    topology : ranks along each axis, None where it is to be chosen (least halo surface and imbalance).
    sizes : for each axis None (even blocks) or the cells of every block; 0 is allowed.
    weights : for each axis None or what its blocks are in proportion to, where some ranks are faster than others.
    periodic : one bool, or one per axis. A periodic axis has no walls: its halos wrap, whatever the mode.
    spacing, origin : cell spacing and coordinate of cell 0, one number or one per axis, in `units`.
    units : name of the unit of length, for files.
    axes : names of the axes, default ``("z", "y", "x")`` from the right.

    Raises UsageError, the same on every rank, if the parts do not fit one another, or if ranks give different ones.
    """

    def __init__(
        self,
        shape: Sequence[int] | int,
        *,
        comm: MPI.Intracomm | None = None,
        topology: Sequence[int | None] | None = None,
        sizes: Sequence[Sequence[int] | None] | None = None,
        weights: Sequence[Sequence[float] | None] | None = None,
        periodic: bool | Sequence[bool] = False,
        spacing: float | Sequence[float] = 1.0,
        origin: float | Sequence[float] = 0.0,
        units: str = "",
        axes: Sequence[str] | None = None,
    ) -> None:
        try:
            cells = tuple(map(operator.index, shape if isinstance(shape, Sequence | np.ndarray) else (shape,)))
        except TypeError:
            raise UsageError(f"a grid of shape {shape!r} was asked for; give whole numbers of cells") from None
        if not 1 <= len(cells) <= 4:
            raise UsageError(f"a grid of {len(cells)} axes was asked for; a grid has 1 to 4 (put others in components)")
        self.comm: MPI.Intracomm = private(comm)
        self.decomposition = Decomposition.over(cells, self.comm.size, topology, sizes, weights)
        self.periodic: tuple[bool, ...] = _per_axis(periodic, len(cells), "periodic", bool)
        self.spacing: tuple[float, ...] = _per_axis(spacing, len(cells), "spacing", float)
        self.origin: tuple[float, ...] = _per_axis(origin, len(cells), "origin", float)
        self.units = units
        self.axes: tuple[str, ...] = tuple(axes) if axes is not None else _AXIS_NAMES[len(cells)]
        if len(self.axes) != len(cells) or len(set(self.axes)) != len(cells):
            raise UsageError(f"axes={self.axes!r} for a grid of {len(cells)} axes; give one distinct name per axis")
        # Later messages would be of lengths that the others do not expect, or be none.
        parts = f"sizes={sizes}, weights={weights}, periodic={self.periodic}, {self.spacing=}, {self.origin=}"
        same(self.comm, f"a grid of {cells} cells on {self.topology} ranks, {parts}".replace("self.", ""))
        self.box: Box = self.decomposition.box(self.comm.rank)
        self.memories = Pool()

    @property
    def shape(self) -> tuple[int, ...]:
        """Global cells along each axis. Local."""
        return self.decomposition.shape

    @property
    def ndim(self) -> int:
        """Number of axes. Local."""
        return len(self.decomposition.axes)

    @property
    def topology(self) -> tuple[int, ...]:
        """Ranks along each axis. Local."""
        return self.decomposition.topology

    @property
    def rank(self) -> int:
        """This rank's number. Local."""
        return self.comm.rank

    @property
    def size(self) -> int:
        """Number of ranks. Local."""
        return self.comm.size

    @property
    def coords(self) -> tuple[int, ...]:
        """This rank's place in the topology. Local."""
        return self.decomposition.coords(self.comm.rank)

    def matches(self, other: Grid) -> bool:
        """Whether both grids give every rank the same cells of the same communicator. Local."""
        return self is other or (self.comm == other.comm and self.decomposition == other.decomposition)

    def coordinates(self) -> tuple[npt.NDArray[np.float64], ...]:
        """Return the coordinates of the owned cells as an open mesh: one broadcastable f8 array per axis. Local."""
        lines = [
            self.origin[axis] + self.spacing[axis] * np.arange(self.box.start[axis], self.box.stop[axis], dtype="f8")
            for axis in range(self.ndim)
        ]
        return tuple(np.ix_(*lines))

    def empty(self, dtype: npt.DTypeLike = "f8", halo: HaloLike = 0, components: Sequence[int] = ()) -> Field:
        """Return a Field of this grid with undefined values. Local."""
        from mpibatch.fields.field import Field

        return Field(self, dtype, halo, components)

    def full(
        self, value: Any, dtype: npt.DTypeLike = "f8", halo: HaloLike = 0, components: Sequence[int] = ()
    ) -> Field:
        """Return a Field with every cell, halo included, at `value` (a scalar or one value per component). Local."""
        field = self.empty(dtype, halo, components)
        field.padded[...] = cast(np.asarray(value), field.dtype) if np.iscomplexobj(value) else value
        return field

    def zeros(self, dtype: npt.DTypeLike = "f8", halo: HaloLike = 0, components: Sequence[int] = ()) -> Field:
        """Return a Field of zeros. Local."""
        return self.full(0, dtype, halo, components)

    def from_function(
        self,
        function: Callable[..., Any],
        dtype: npt.DTypeLike = "f8",
        halo: HaloLike = 0,
        components: Sequence[int] = (),
    ) -> Field:
        """Return a Field with ``function(z, y, x)`` in its owned cells. Local.

        `function` gets the coordinates of the owned cells as broadcastable arrays (see `coordinates`) and returns
        an array that broadcasts to the local shape, components last.
        """
        field = self.empty(dtype, halo, components)
        field.owned[...] = cast(np.asarray(function(*self.coordinates())), field.dtype)
        return field

    def __repr__(self) -> str:
        return f"Grid(shape={self.shape}, topology={self.topology}, periodic={self.periodic})"
