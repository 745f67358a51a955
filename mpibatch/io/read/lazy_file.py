"""A file as a mapping of lazy arrays: without MPI, and without reading a value that was not asked for.

    with mpibatch.open("run.h5") as run:
        print(run.times, list(run))
        t = run["temperature"]                      # nothing is read yet
        print(t.shape, t.dtype, t.grid.spacing, t.attrs)
        preview = t[-1, ::8, ::8, ::8]              # reads these cells
        plane = t[-1, 100]                          # (y, x) of the last time
        draw(t.coords["x"], t.coords["y"], plane)

The file is opened for every read and closed again, so that nothing is kept from other programs; one that has changed
in between is noticed. Whatever `load` reads can be opened as well: what has one array and no name for it
gives it as `File.array()`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mpibatch.base.errors import RunError, UsageError, nearest, reason_of
from mpibatch.io.base.names import PathLike, split_path, whole_name
from mpibatch.io.formats import inspect, read
from mpibatch.io.formats.hazards import check_allowed
from mpibatch.io.read.description import DatasetInfo, describe, file_attributes, table_names
from mpibatch.io.read.lazy_array import TIME, LazyArray, Line
from mpibatch.io.vault.keyring import unlock

__all__ = ["File", "UnknownDataset", "open"]


class UnknownDataset(UsageError, KeyError):
    """A file has no dataset of this name."""

    __str__ = Exception.__str__  # KeyError's shows the representation of the message


class File(Mapping[str, LazyArray]):
    """The arrays of a file by name, a mapping, and its attributes; made by `open`.

    What is refused raises when it is asked for.

    Parameters
    ----------
    path : str
        The file.
    dataset : str or None
        The only dataset that is shown; None: all.
    allow : sequence of str
        Hazards of an HDF5 file that are not to be refused: "external links", "external storage", "filter pipelines",
        "large chunks", "unknown filters", "virtual datasets"; of TIFF, NRRD and MetaImage "external storage"; "missing"
        takes fill values for what lies in files that are not there.

    Attributes
    ----------
    path : str
        The file, without a dataset; ``~`` and ``$NAME`` are replaced.
    attrs : dict of str to object
        Attributes of the root group; {} for other formats than HDF5.
    times : ndarray of float64 or None
        The times of a series; None for other files.

    Raises
    ------
    UsageError
        If there is no such dataset, or hazard.
    RunError
        If the file is missing or damaged.

    Notes
    -----
    Local; needs no MPI. A context manager; it keeps no file open. To look up a name that there is not is a UsageError,
    and a KeyError.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.save("file.h5", heights=mb.Grid((4, 6)).zeros(), mask=mb.Grid(3).zeros("?"))
    >>> with mb.open("file.h5") as file:
    ...     print(file)
    File('file.h5')
      heights: (4, 6) float64
      mask: (3,) bool
    """

    def __init__(self, path: str, dataset: str | None, allow: Sequence[str]) -> None:
        self.path = path
        self._allow, self._is_closed = check_allowed(allow), False
        self.attrs = file_attributes(path)
        self._seen = _state(path)
        self._known: dict[str, DatasetInfo] = {info.name: info for info in describe(whole_name(path, dataset or ""))}
        self._arrays: dict[str, LazyArray] = {}
        self.times = self._times(dataset)

    def array(self, name: str | None = None) -> LazyArray:
        """Return an array of the file.

        Parameters
        ----------
        name : str, optional
            Its dataset. Default: the only one.

        Returns
        -------
        LazyArray
            Nothing of it is read yet.

        Raises
        ------
        UsageError
            If there is no such dataset, or, without a name, more than one; if it cannot be read, or the file was
            closed.
        RunError
            If the file has changed since it was opened.

        Notes
        -----
        Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.save("array.h5", heights=mb.Grid((4, 6)).zeros())
        >>> mb.open("array.h5").array()
        LazyArray('array.h5::heights', shape=(4, 6), dtype=float64)
        """
        if name is None and len(self) != 1:
            raise UsageError(f"{self.path!r} has {len(self)} datasets; name one")
        return self[name if name is not None else next(iter(self))]

    def table(self, name: str | None = None) -> dict[str, LazyArray]:
        """Return the columns of a table that `save` has written, in their order.

        Parameters
        ----------
        name : str, optional
            The table's. Default: the only one.

        Returns
        -------
        dict of str to LazyArray
            By the names of the columns. Nothing of them is read yet.

        Raises
        ------
        UsageError
            If there is no such table, or, without a name, more than one; if the file was closed.
        RunError
            If the file has changed since it was opened.

        Notes
        -----
        Local. `mpibatch.load` gives a table whose rows are shared out over the ranks.

        Examples
        --------
        >>> import mpibatch as mb
        >>> labels, n = mb.label(mb.Grid((4, 6)).from_function(lambda y, x: (x % 3 > 0) & (y > 0)))
        >>> mb.save("regions.h5", regions=mb.regionprops_table(labels, properties=("label", "area")))
        >>> columns = mb.open("regions.h5").table()
        >>> print(list(columns), columns["area"][:])
        ['label', 'area'] [6. 6.]
        """
        self.check()
        known = table_names(self.path)
        if name is None and len(known) != 1:
            raise UsageError(f"{self.path!r} has {len(known)} tables; name one")
        chosen = known[0] if name is None else name.strip("/")
        if chosen not in known:
            raise UnknownDataset(f"{self.path!r} has no table {name!r}{nearest(chosen, known)}")
        table = inspect(self.path, chosen, self._allow, tables=True)
        if table.shape[0]:
            return {column: self[f"{chosen}/{column}"] for column in table.columns}
        # Without rows a column is no array that can be asked for by itself.
        parts = {
            column: replace(table, dataset=f"{chosen}/{column}", dtype=dtype, columns={}, attrs={})
            for column, dtype in table.columns.items()
        }
        return {column: LazyArray(self, part, {}, None) for column, part in parts.items()}

    def __getitem__(self, name: str) -> LazyArray:
        self.check()
        name = name.strip("/") if isinstance(name, str) else name
        if name not in self._known:
            raise UnknownDataset(f"{self.path!r} has no dataset {name!r}{nearest(str(name), self._known)}")
        if name not in self._arrays:
            source = inspect(self.path, name or None, self._allow)
            axes = source.grid.get("axes", ())
            is_series = len(axes) > 1 and axes[0] in ("t", TIME) and self.times is not None
            times = self.times if is_series and self.times is not None and len(self.times) == source.shape[0] else None
            self._arrays[name] = LazyArray(self, source, self._known[name].attrs, times)
        return self._arrays[name]

    def check(self) -> None:
        """Raise if the file was closed, or has changed since it was opened.

        Raises
        ------
        UsageError
            If it was closed.
        RunError
            If it has changed.

        Notes
        -----
        Local. Every read does it.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.save("checked.h5", heights=mb.Grid((4, 6)).zeros())
        >>> file = mb.open("checked.h5")
        >>> file.check()
        """
        if self._is_closed:
            raise UsageError(f"{self.path!r} was closed; read from it within the with block, or open it again")
        if _state(self.path) != self._seen:
            raise RunError(f"{self.path!r} has changed since it was opened; open it again")

    def close(self) -> None:
        """Read no more.

        Notes
        -----
        Local. The end of a ``with`` block does it.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.save("closed.h5", heights=mb.Grid((4, 6)).zeros())
        >>> file = mb.open("closed.h5")
        >>> file.close()
        >>> try:
        ...     file["heights"]
        ... except mb.UsageError as error:
        ...     print(error)
        'closed.h5' was closed; read from it within the with block, or open it again
        """
        self._is_closed = True

    def _times(self, dataset: str | None) -> Line | None:
        """The times of all outputs, for a file of which only one dataset was opened too."""
        if dataset is None and not (TIME in self._known and len(self._known[TIME].shape) == 1):
            return None
        if "mpibatch_layout" not in self.attrs:
            return None
        try:
            source = inspect(self.path, TIME)
        except UsageError:
            return None
        if len(source.shape) != 1 or np.dtype(source.dtype) != np.float64:
            return None
        values = np.empty(source.shape)
        read(source, (slice(0, *source.shape, 1),), values, (slice(0, *source.shape),))
        return values

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        lines = [f"  {info.name}: {info.shape} {info.dtype}" for info in self._known.values()]
        return "\n".join([f"File({self.path!r})", *lines])


def open(path: PathLike, *, allow: Sequence[str] = (), identity: PathLike | None = None) -> File:
    """Return the arrays of a file, read when they are indexed.

    Parameters
    ----------
    path : str or path-like
        A file of any format that `load` reads; ``"file.h5::dataset"`` shows this dataset alone.
    allow : sequence of str, default ()
        Hazards of an HDF5 file that are not to be refused: "external links", "external storage", "filter pipelines",
        "large chunks", "unknown filters", "virtual datasets"; of TIFF, NRRD and MetaImage "external storage"; "missing"
        takes fill values for what lies in files that are not there.
    identity : str or path-like, optional
        The key file for an encrypted file, or an open descriptor as "fd:3". Default: ``$MPIBATCH_IDENTITY``, else
        ``mpibatch.identity`` in ``$CREDENTIALS_DIRECTORY``.

    Returns
    -------
    File
        A mapping of names to lazy arrays; a context manager.

    Raises
    ------
    UsageError
        If there is no such dataset, or hazard.
    RunError
        If the file is missing or damaged.

    Notes
    -----
    Local; needs no MPI, and errors are those of one rank. No values are read, but the times of a series.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.save("opened.h5", heights=mb.Grid((4, 6)).from_function(lambda y, x: 10 * y + x))
    >>> with mb.open("opened.h5") as file:
    ...     print(list(file), file["heights"][1, :3])
    ['heights'] [10. 11. 12.]
    """
    file, dataset = split_path(path)
    unlock(file, identity)
    return File(file, dataset, allow)


def _state(path: str) -> tuple[int, ...]:
    try:
        # Of a stack of files, the folder.
        status = Path(path if os.path.lexists(path) else Path(path).parent).stat()
    except OSError as error:
        raise RunError(f"cannot read {path!r}: {reason_of(error)}") from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
