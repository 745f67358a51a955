"""Tables of regions: columns by name, whose rows are shared out over the ranks, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.io.base.names import user_path
from mpibatch.io.formats.source import numeric
from mpibatch.io.write.flat.writer import save as write_flat
from mpibatch.io.write.tables.csv_text import write_text
from mpibatch.io.write.tables.parquet import write_parquet
from mpibatch.mpi import MPI, agreed, private
from mpibatch.mpi.prefix import sums_before

if TYPE_CHECKING:
    from mpibatch.io.base.names import PathLike

__all__ = ["RegionTable"]

Array = npt.NDArray[Any]


class RegionTable(Mapping[str, Array]):
    """Columns by name, of which each rank has the rows of its share of the labels, in order.

    A mapping of this rank's part of each column; made by `regionprops_table`, and by `load` of a table in a file.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Of the ranks that share the rows.
    columns : dict of str to ndarray
        This rank's rows, by name: arrays of one axis and of one length.
    attrs : mapping of str to object, optional
        What the table tells of itself beside its rows: numbers, text, or lists of one of them.

    Attributes
    ----------
    rows : int
        Number of rows of all ranks.
    first : int
        The number of this rank's first row among them.
    comm : mpi4py.MPI.Intracomm
        Our private duplicate of the one given.
    attrs : dict of str to object
        As given. `regionprops_table` tells of the grid of the labels (``grid_axes``, ``grid_spacing``, ``grid_origin``,
        ``grid_units``, ``grid_periodic``), and of the `spacing` that its measures are in.

    Raises
    ------
    UsageError
        On all ranks, if columns are not equally long on one of them, or not numbers of one axis, or if ranks give
        columns of other names, or in another order, or of other dtypes.

    Notes
    -----
    Collective: one comparison, and one sum over the ranks before this one.

    Examples
    --------
    >>> import mpibatch as mb
    >>> labels, n = mb.label(mb.Grid((4, 6)).from_function(lambda y, x: (x % 3 > 0) & (y > 0)))
    >>> table = mb.regionprops_table(labels, properties=("label", "area"))
    >>> table.rows, sorted(table)
    (2, ['area', 'label'])
    """

    __slots__ = ("_columns", "attrs", "comm", "first", "rows")

    def __init__(self, comm: MPI.Intracomm, columns: dict[str, Array], attrs: Mapping[str, Any] | None = None) -> None:
        self.comm, self._columns = private(comm), columns
        # What is gathered and sent later has the same places and sizes everywhere.
        kinds = ", ".join(f"{name} ({_dtype(column)})" for name, column in columns.items())
        with agreed(self.comm, f"a table of {kinds or 'no columns'}"):
            for name, column in columns.items():
                if np.ndim(column) != 1 or numeric(_dtype(column)) is None:
                    raise UsageError(
                        f"the column {name!r} of a table is of dtype {_dtype(column)} and {np.ndim(column)} axes; give "
                        "numbers of one axis"
                    )
        self.attrs: dict[str, Any] = {name: _plain(value) for name, value in (attrs or {}).items()}
        lengths = {len(column) for column in columns.values()} or {0}
        mine = np.array([min(lengths), len(lengths) > 1], np.int64)
        before, total = sums_before(self.comm, range(self.comm.size), mine)
        if total[1]:
            raise UsageError(
                f"a table of {', '.join(columns)} was to be made, but on {total[1]} of the ranks these are not equally "
                "long; give each column a value for each row"
            )
        self.first, self.rows = int(before[0]), int(total[0])

    def __getitem__(self, name: str) -> Array:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def gather(self) -> dict[str, Array]:
        """Return the columns with all rows, on every rank.

        Returns
        -------
        dict of str to ndarray
            Arrays of one axis, in the order of the labels.

        Notes
        -----
        Collective. For tables that every rank has room for: a rank with a share of the rows otherwise never holds all.

        Examples
        --------
        >>> import mpibatch as mb
        >>> labels, n = mb.label(mb.Grid((4, 6)).from_function(lambda y, x: (x % 3 > 0) & (y > 0)))
        >>> table = mb.regionprops_table(labels, properties=("label", "area")).gather()
        >>> print(table["label"], table["area"])
        [1 2] [6. 6.]
        """
        mine = len(next(iter(self._columns.values()), ()))
        counts = np.array(self.comm.allgather(mine), np.int64)
        result = {}
        for name, column in self._columns.items():
            result[name] = whole = np.empty(self.rows, column.dtype)
            # Bytes: MPI has no name for each of NumPy's types. Of all ranks' columns that of one may lie scattered.
            value = MPI.BYTE.Create_contiguous(column.itemsize).Commit()
            part = np.ascontiguousarray(column).view(np.uint8)
            self.comm.Allgatherv([part, mine, value], [whole.view(np.uint8), counts, value])
            value.Free()
        return result

    def to_csv(self, path: PathLike, *, overwrite: bool = True, encrypt: PathLike | None = None) -> None:
        """Write the table as comma-separated text: a line with the names, then a line for each row.

        Parameters
        ----------
        path : str or path-like
            The file; its folder must exist and be shared by all nodes.
        overwrite : bool, default True
            Whether a file of this name is replaced.
        encrypt : str or path-like, optional
            A file of public keys of Crypt4GH, for whose owners the text is encrypted; `path` ends in .c4gh then.

        Raises
        ------
        UsageError
            On all ranks, for a table without columns, a name that does not fit `encrypt`, and a file without keys.
        RunError
            On all ranks: no such folder, a full disk, a file that is not to be replaced.

        Notes
        -----
        Collective. Each rank writes its own rows where they belong; it holds their text.
        Numbers have as many digits as tell them apart from all others, so that the same table gives the same bytes on
        any ranks. The file gets its name when it is complete.

        Examples
        --------
        >>> import mpibatch as mb
        >>> labels, n = mb.label(mb.Grid((4, 6)).from_function(lambda y, x: (x % 3 > 0) & (y > 0)))
        >>> mb.regionprops_table(labels, properties=("label", "centroid")).to_csv("regions.csv")
        >>> print(open("regions.csv").read(), end="")
        label,centroid-0,centroid-1
        1,2.0,1.5
        2,2.0,4.5
        """
        self._check("to_csv")
        write_text(self.comm, path, self._columns, self.first, overwrite=overwrite, encrypt=encrypt)

    def to_parquet(self, path: PathLike, *, overwrite: bool = True) -> None:
        """Write the table as a Parquet file, by pyarrow (``pip install 'mpibatch[parquet]'``).

        Parameters
        ----------
        path : str or path-like
            The file; its folder must exist.
        overwrite : bool, default True
            Whether a file of this name is replaced.

        Raises
        ------
        UsageError
            On all ranks, for a table without columns, or where pyarrow is not installed on rank 0.
        RunError
            On all ranks: no such folder, a full disk, a file that is not to be replaced.

        Notes
        -----
        Collective. Rank 0 writes; the others send it their rows, 65536 at a time, so that no rank holds all. The row
        groups are the same on any ranks. The file gets its name when it is complete.

        Examples
        --------
        >>> import mpibatch as mb
        >>> labels, n = mb.label(mb.Grid((4, 6)).from_function(lambda y, x: (x % 3 > 0) & (y > 0)))
        >>> mb.regionprops_table(labels, properties=("label", "area")).to_parquet("regions.parquet")
        >>> import pyarrow.parquet
        >>> pyarrow.parquet.read_table("regions.parquet").to_pydict()
        {'label': [1, 2], 'area': [6.0, 6.0]}
        """
        self._check("to_parquet")
        write_parquet(self.comm, path, self._columns, self.first, self.rows, overwrite=overwrite)

    def to_fits(self, path: PathLike, *, overwrite: bool = True) -> None:
        """Write the table as a FITS file with one binary table, named after the file.

        Parameters
        ----------
        path : str or path-like
            The file; its folder must exist and be shared by all nodes.
        overwrite : bool, default True
            Whether a file of this name is replaced.

        Raises
        ------
        UsageError
            On all ranks, for a table without columns, or with one of a dtype that FITS has not, such as f2.
        RunError
            On all ranks: no such folder, a full disk, a file that is not to be replaced.

        Notes
        -----
        Collective. Each rank writes its own rows where they belong; the same bytes on any ranks. The file gets its name
        when it is complete. `mpibatch.save` writes tables and fields into one FITS file.

        Examples
        --------
        >>> import mpibatch as mb
        >>> labels, n = mb.label(mb.Grid((4, 6)).from_function(lambda y, x: (x % 3 > 0) & (y > 0)))
        >>> mb.regionprops_table(labels, properties=("label", "area")).to_fits("regions.fits")
        >>> import astropy.io.fits
        >>> print(astropy.io.fits.getdata("regions.fits")["area"].tolist())
        [6.0, 6.0]
        """
        self._check("to_fits")
        with phase("io"):
            with agreed(self.comm, f"writing {path}"):
                target = user_path(path)
            write_flat(self.comm, target, {Path(target).stem: self}, {}, overwrite=overwrite, kind="FITS")

    def _check(self, call: str) -> None:
        """Refuse, on all ranks, a table without columns."""
        if not self._columns:
            raise UsageError(f"{call}: the table has no columns; give it one, such as label")

    def __repr__(self) -> str:
        return f"RegionTable({self.rows} rows, {', '.join(self._columns)})"


def _dtype(column: Any) -> str:
    return getattr(column, "dtype", np.dtype(object)).str


def _plain(value: Any) -> Any:
    """A value as a file gives it back: tuples and arrays as lists."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else list(value) if _is_row(value) else value


def _is_row(value: Any) -> bool:
    return isinstance(value, tuple | list)
