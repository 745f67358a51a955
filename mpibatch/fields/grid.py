"""A decomposition with a communicator and the geometry of its cells."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import cast
from mpibatch.base.errors import UsageError
from mpibatch.domain import Box, Decomposition
from mpibatch.fields.axes import axis_names, open_mesh, per_axis
from mpibatch.fields.memory import Pool
from mpibatch.mpi import MPI, private, same

if TYPE_CHECKING:
    from mpibatch.fields.field import Field, HaloLike

__all__ = ["Grid"]


class Grid:
    """A global box of cells over the ranks of a communicator.

    Parameters
    ----------
    shape : int or sequence of int
        Cells along each of 1 to 4 axes, >= 1.
    comm : mpi4py.MPI.Intracomm, optional
        Whose ranks share the cells. Default: COMM_WORLD. A private duplicate of it is used.
    topology : sequence of int or None, optional
        Ranks along each axis, None where they are to be chosen (least halo surface and imbalance). Default: all are.
    sizes : sequence of (sequence of int or None), optional
        For each axis None (even blocks) or the cells of every block; 0 is allowed.
    weights : sequence of (sequence of float or None), optional
        For each axis None (even blocks) or what its blocks are in proportion to, where ranks differ in speed.
    periodic : bool or sequence of bool, default False
        For all axes, or for each. A periodic axis has no walls: its halos wrap, whatever the mode.
    spacing : float or sequence of float, default 1.0
        Distance between cells, in `units`, of all axes or of each.
    origin : float or sequence of float, default 0.0
        Coordinate of cell 0, in `units`, of all axes or of each.
    units : str, default ""
        Name of the unit of length, for files.
    axes : sequence of str, optional
        Distinct names of the axes. Default: as many as there are axes of ``("t", "z", "y", "x")``, from the right.

    Attributes
    ----------
    comm : mpi4py.MPI.Intracomm
        The private duplicate.
    decomposition : Decomposition
        Which rank owns which cells.
    box : Box
        The global indices of the cells that this rank owns.
    engine : str
        The default engine of its halo exchanges: ``$MPIBATCH_ENGINE`` when the grid was made, else "axis".
    periodic, spacing, origin, axes, units
        As given; all but `units` are tuples, with one entry for each axis.

    Raises
    ------
    UsageError
        The same on every rank, if the parts do not fit one another, or if ranks give different ones.
    RunError
        If MPI has not begun, has ended, or has another number of ranks than the batch script started.

    Notes
    -----
    Collective: one all-reduce of 16 bytes, and at the first use of a communicator its duplication.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((4, 6), periodic=(False, True), spacing=0.5, units="mm")
    >>> grid.shape, grid.axes, grid.spacing
    ((4, 6), ('y', 'x'), (0.5, 0.5))
    >>> grid.comm.allreduce(grid.box.size)
    24
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
            raise UsageError(f"a grid of shape {shape!r} is not valid; give whole numbers of cells") from None
        if not 1 <= len(cells) <= 4:
            raise UsageError(f"a grid of {len(cells)} axes is not valid; a grid has 1 to 4 (put others in components)")
        self.comm: MPI.Intracomm = private(comm)
        self.decomposition = Decomposition.over(cells, self.comm.size, topology, sizes, weights)
        self.periodic: tuple[bool, ...] = per_axis(periodic, len(cells), "periodic", bool)
        self.spacing: tuple[float, ...] = per_axis(spacing, len(cells), "spacing", float)
        self.origin: tuple[float, ...] = per_axis(origin, len(cells), "origin", float)
        self.units = units
        self.axes = axis_names(axes, len(cells))
        self.engine = os.environ.get("MPIBATCH_ENGINE") or "axis"
        # Later messages would be of lengths that the others do not expect, or be none.
        parts = f"sizes={sizes}, weights={weights}, periodic={self.periodic}, {self.spacing=}, {self.origin=}"
        parts += f", MPIBATCH_ENGINE={self.engine}"
        same(self.comm, f"a grid of {cells} cells on {self.topology} ranks, {parts}".replace("self.", ""))
        self.box: Box = self.decomposition.box(self.comm.rank)
        self.memories = Pool()
        self.plans: dict[Any, Any] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Global cells along each axis, a tuple of int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Grid((4, 6)).shape
        (4, 6)
        """
        return self.decomposition.shape

    @property
    def ndim(self) -> int:
        """Number of axes, an int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Grid((4, 6)).ndim
        2
        """
        return len(self.decomposition.axes)

    @property
    def topology(self) -> tuple[int, ...]:
        """Ranks along each axis, a tuple of int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Grid((4, 6), topology=(1, None)).topology[0]
        1
        """
        return self.decomposition.topology

    @property
    def rank(self) -> int:
        """This rank's number, an int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> grid = mb.Grid((4, 6))
        >>> 0 <= grid.rank < grid.size
        True
        """
        return self.comm.rank

    @property
    def size(self) -> int:
        """Number of ranks, an int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> grid = mb.Grid((4, 6))
        >>> grid.comm.allreduce(1) == grid.size
        True
        """
        return self.comm.size

    @property
    def coords(self) -> tuple[int, ...]:
        """This rank's place in the topology, a tuple of int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> grid = mb.Grid((4, 6))
        >>> grid.decomposition.rank(grid.coords) == grid.rank
        True
        """
        return self.decomposition.coords(self.comm.rank)

    def matches(self, other: Grid) -> bool:
        """Tell whether both grids give every rank the same cells of the same communicator. Local.

        Parameters
        ----------
        other : Grid
            Another one; its spacing, origin, units and axes do not matter.

        Returns
        -------
        bool
            Whether fields on both combine cell by cell.

        Examples
        --------
        >>> import mpibatch as mb
        >>> grid = mb.Grid((4, 6))
        >>> grid.matches(mb.Grid((4, 6), spacing=0.5)), grid.matches(mb.Grid((6, 4)))
        (True, False)
        """
        return self is other or (self.comm == other.comm and self.decomposition == other.decomposition)

    def coordinates(self) -> tuple[npt.NDArray[np.float64], ...]:
        """Return the coordinates of the owned cells as an open mesh.

        Returns
        -------
        tuple of ndarray
            For each axis one f8 array, ``origin + spacing * index`` in `units`, that broadcasts to the local shape.

        Notes
        -----
        Local. Memory grows with the sides of the block, not with its cells.

        Examples
        --------
        >>> import mpibatch as mb
        >>> y, x = mb.Grid((4, 6), topology=(None, 1), spacing=0.5).coordinates()
        >>> x.shape, x.tolist()
        ((1, 6), [[0.0, 0.5, 1.0, 1.5, 2.0, 2.5]])
        """
        return open_mesh(self.box, self.origin, self.spacing)

    def empty(self, dtype: npt.DTypeLike = "f8", halo: HaloLike = 0, components: Sequence[int] = ()) -> Field:
        """Return a Field of this grid with undefined values. Local.

        Parameters
        ----------
        dtype : dtype_like, default "f8"
            Bool, integers, floats or complex.
        halo : int or sequence of (int or (int, int)), default 0
            Width of the halo in cells: of all sides, of each axis, or of each axis a pair (low, high).
        components : sequence of int, default ()
            Shape of the trailing axes that are not decomposed.

        Returns
        -------
        Field
            New; nothing in it is defined.

        Raises
        ------
        UsageError
            If the dtype or the halo is not valid.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid((4, 6)).empty("f4", halo=1, components=(3,))
        >>> u.shape, u.dtype.name, u.halo
        ((4, 6, 3), 'float32', ((1, 1), (1, 1)))
        """
        from mpibatch.fields.field import Field

        return Field(self, dtype, halo, components)

    def full(
        self, value: Any, dtype: npt.DTypeLike = "f8", halo: HaloLike = 0, components: Sequence[int] = ()
    ) -> Field:
        """Return a Field with every cell, halo included, at one value. Local.

        Parameters
        ----------
        value : scalar or array_like
            A number, or one for each component.
        dtype : dtype_like, default "f8"
            Bool, integers, floats or complex.
        halo : int or sequence of (int or (int, int)), default 0
            Width of the halo in cells: of all sides, of each axis, or of each axis a pair (low, high).
        components : sequence of int, default ()
            Shape of the trailing axes that are not decomposed.

        Returns
        -------
        Field
            A new one.

        Raises
        ------
        UsageError
            If the dtype or the halo is not valid, or an imaginary part would be lost.

        Examples
        --------
        >>> import mpibatch as mb
        >>> print(mb.gather_all(mb.Grid(3).full((1, 2), "u1", components=(2,))))
        [[1 2]
         [1 2]
         [1 2]]
        """
        field = self.empty(dtype, halo, components)
        field.padded[...] = cast(np.asarray(value), field.dtype) if np.iscomplexobj(value) else value
        return field

    def zeros(self, dtype: npt.DTypeLike = "f8", halo: HaloLike = 0, components: Sequence[int] = ()) -> Field:
        """Return a Field of zeros, halo included. Local.

        Parameters
        ----------
        dtype : dtype_like, default "f8"
            Bool, integers, floats or complex.
        halo : int or sequence of (int or (int, int)), default 0
            Width of the halo in cells: of all sides, of each axis, or of each axis a pair (low, high).
        components : sequence of int, default ()
            Shape of the trailing axes that are not decomposed.

        Returns
        -------
        Field
            A new one.

        Raises
        ------
        UsageError
            If the dtype or the halo is not valid.

        Examples
        --------
        >>> import mpibatch as mb
        >>> print(mb.gather_all(mb.Grid(4).zeros("i4")))
        [0 0 0 0]
        """
        return self.full(0, dtype, halo, components)

    def from_function(
        self,
        function: Callable[..., Any],
        dtype: npt.DTypeLike = "f8",
        halo: HaloLike = 0,
        components: Sequence[int] = (),
    ) -> Field:
        """Return a Field whose owned cells hold a function of their coordinates.

        Parameters
        ----------
        function : callable
            Called as ``function(z, y, x)``, with what `coordinates` returns: a broadcastable array for each axis. It
            returns an array that broadcasts to the local shape, components last.
        dtype : dtype_like, default "f8"
            Bool, integers, floats or complex; what the function returns is cast to it, as by `Field.astype`.
        halo : int or sequence of (int or (int, int)), default 0
            Width of the halo in cells: of all sides, of each axis, or of each axis a pair (low, high). It is not
            filled.
        components : sequence of int, default ()
            Shape of the trailing axes that are not decomposed.

        Returns
        -------
        Field
            A new one.

        Raises
        ------
        UsageError
            If the dtype or the halo is not valid, or an imaginary part would be lost.

        Notes
        -----
        Local. A value has the same bits on any number of ranks if the function computes it from its own coordinates
        alone, and alike wherever it stands in an array.

        Examples
        --------
        >>> import mpibatch as mb
        >>> print(mb.gather_all(mb.Grid((2, 3)).from_function(lambda y, x: 10 * y + x)))
        [[ 0.  1.  2.]
         [10. 11. 12.]]
        """
        field = self.empty(dtype, halo, components)
        field.owned[...] = cast(np.asarray(function(*self.coordinates())), field.dtype)
        return field

    def __repr__(self) -> str:
        return f"Grid(shape={self.shape}, topology={self.topology}, periodic={self.periodic})"
