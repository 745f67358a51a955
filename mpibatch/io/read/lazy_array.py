"""An array in a file: what is known of it, and its values when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError, nearest
from mpibatch.io.base.geometry import PREFIX
from mpibatch.io.formats import Array, Source, read
from mpibatch.io.read.indices import chosen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mpibatch.io.read.lazy_file import File

__all__ = ["TIME", "Geometry", "LazyArray", "Line"]

TIME = "time"  # the dataset of the times of a series
Line = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Geometry:
    """Where the cells of an array lie: the keywords of the Grid that it was saved from.

    Parameters
    ----------
    shape : tuple of int
        Cells along each axis.
    axes : tuple of str
        Names of the axes.
    spacing : tuple of float
        Cell spacing along each axis, in `units`.
    origin : tuple of float
        Coordinate of cell 0 along each axis, in `units`.
    periodic : tuple of bool
        Whether each axis is periodic.
    units : str
        Name of the unit of length.

    Notes
    -----
    Local. All of them are attributes; it cannot be changed.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.save("geometry.h5", u=mb.Grid((4, 6), spacing=0.5, units="mm").zeros())
    >>> with mb.open("geometry.h5") as file:
    ...     print(file["u"].grid.spacing, file["u"].grid.units)
    (0.5, 0.5) mm
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    periodic: tuple[bool, ...]
    units: str

    def coordinates(self, axis: str) -> Line:
        """Return the coordinates of the cells along an axis.

        Parameters
        ----------
        axis : str
            Its name.

        Returns
        -------
        ndarray of float64
            ``origin + spacing * index``, in `units`.

        Raises
        ------
        UsageError
            If there is no such axis.

        Notes
        -----
        Local.

        Examples
        --------
        >>> from mpibatch.io import Geometry
        >>> grid = Geometry((4,), ("x",), (0.5,), (1.0,), (False,), "mm")
        >>> print(grid.coordinates("x"))
        [1.  1.5 2.  2.5]
        """
        if axis not in self.axes:
            raise UsageError(f"axis {axis!r} is unknown{nearest(axis, self.axes)}")
        n = self.axes.index(axis)
        return self.origin[n] + self.spacing[n] * np.arange(self.shape[n], dtype="f8")


class LazyArray:
    """An array in a file; ``array[index]`` reads what NumPy would give for it, and no more.

    The index is of integers, slices of any step, and an ellipsis. ``numpy.asarray(array)`` reads everything.

    Parameters
    ----------
    file : File
        Where it lies; `File` makes its arrays.
    source : mpibatch.io.formats.Source
        What the file says of it.
    attrs : mapping of str to object
        The dataset's attributes.
    times : ndarray of float64 or None
        The times of a series.

    Attributes
    ----------
    name : str
        The dataset's; "" in formats without names.
    shape : tuple of int
        In a series the first axis is time.
    dtype : numpy.dtype
        In native byte order.
    attrs : dict of str to object
        The dataset's attributes, those of the grid apart.
    grid : Geometry or None
        The grid without time; None if the file does not tell.
    components : int
        How many of the last axes are the values of one cell.
    times : ndarray of float64 or None
        The times of a series, one for each index of the first axis; None for other arrays.

    Notes
    -----
    Local; needs no MPI. The file is opened for every read and closed again; RunError if it has changed in between.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> mb.save("lazy.h5", u=mb.Grid((4, 6)).from_function(lambda y, x: 10 * y + x))
    >>> with mb.open("lazy.h5") as file:
    ...     u = file["u"]
    ...     print(u.shape, u[2, ::-2], np.asarray(u).mean())
    (4, 6) [25. 23. 21.] 17.5
    """

    def __init__(self, file: File, source: Source, attrs: Mapping[str, Any], times: Line | None) -> None:
        self.name, self.shape, self.dtype = source.dataset, source.shape, np.dtype(source.dtype)
        self.attrs = {key: value for key, value in attrs.items() if not key.startswith(PREFIX)}
        self.times = times
        self._file, self._source = file, source
        self.grid = _geometry(source, timed=times is not None)
        self.components = source.components

    @property
    def ndim(self) -> int:
        """Number of axes, an int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.save("ndim.h5", u=mb.Grid((4, 6)).zeros())
        >>> mb.open("ndim.h5")["u"].ndim
        2
        """
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values, an int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.save("size.h5", u=mb.Grid((4, 6)).zeros())
        >>> mb.open("size.h5")["u"].size
        24
        """
        return int(np.prod(self.shape, dtype=object))

    @property
    def nbytes(self) -> int:
        """Bytes of the values in memory, an int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.save("nbytes.h5", u=mb.Grid((4, 6)).zeros("f4"))
        >>> mb.open("nbytes.h5")["u"].nbytes
        96
        """
        return self.size * self.dtype.itemsize

    @property
    def coords(self) -> dict[str, Line]:
        """Coordinates by axis: f8 arrays, those of the grid, and the times as "time". Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.save("coords.h5", u=mb.Grid((2, 3), spacing=0.5).zeros())
        >>> for axis, values in mb.open("coords.h5")["u"].coords.items():
        ...     print(axis, values)
        y [0.  0.5]
        x [0.  0.5 1. ]
        """
        times = {} if self.times is None else {TIME: self.times}
        return times | ({axis: self.grid.coordinates(axis) for axis in self.grid.axes} if self.grid else {})

    def __getitem__(self, index: Any) -> Any:
        part = chosen(self._source.name, self.shape, index)
        self._file.check()
        values: Array = np.empty(part.shape, self.dtype)
        if values.size:
            read(self._source, part.selection, values, tuple(slice(0, n) for n in part.shape))
        selected = part.of(values)
        return selected if selected.ndim else selected[()]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("an array in a file cannot be had without a copy")
        return np.asarray(self[...], dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"LazyArray({self._source.name!r}, shape={self.shape}, dtype={self.dtype})"


def _geometry(source: Source, timed: bool) -> Geometry | None:
    if not source.grid:
        return None
    known = {key: tuple(source.grid[key][timed:]) for key in ("axes", "spacing", "origin", "periodic")}
    shape = source.shape[timed : len(source.shape) - source.components]
    return Geometry(shape, **known, units=source.grid["units"])
