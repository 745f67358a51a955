"""A checkpoint that has been found whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpibatch.base.timing import phase
from mpibatch.checkpoint import contents

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.fields.field import Field
    from mpibatch.mpi import MPI

__all__ = ["Checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been found whole; `Checkpoints.latest` and `candidates` return them.

    Parameters
    ----------
    path : str
        The file.
    step : int
        The step after which it was written.
    extra : mapping of str to object
        What was saved beside the fields.
    _comm : mpi4py.MPI.Intracomm
        Whose ranks read it; set by `Checkpoints`.
    _header : mapping of str to object
        What the file tells of itself; set by `Checkpoints`.

    Notes
    -----
    Local. `path`, `step` and `extra` are attributes; it cannot be changed.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).full(2.0)
    >>> with mb.Checkpoints("one.checkpoints") as checkpoints:
    ...     checkpoints.clear()
    ...     checkpoints.save(3, {"u": u}, {"phase": 0.25})
    ...     latest = checkpoints.latest()
    ...     checkpoints.clear()
    >>> latest.step, latest.extra
    (3, {'phase': 0.25})
    """

    path: str
    step: int
    extra: Mapping[str, Any]
    _comm: MPI.Intracomm = field(repr=False)
    _header: contents.Header = field(repr=False)

    def restore(self, fields: Mapping[str, Field]) -> None:
        """Put the saved values into fields of the same names, shapes and dtypes.

        Parameters
        ----------
        fields : mapping of str to Field
            All those that were saved, by name; on grids of any decomposition. Their owned cells are written to.

        Raises
        ------
        UsageError
            The same on every rank, if they are others.
        RunError
            The same on every rank, if the file cannot be read.

        Notes
        -----
        Collective. Each field is read as by `mpibatch.load`: memory for one more field at a time.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid(4).full(2.0)
        >>> with mb.Checkpoints("restore.checkpoints") as checkpoints:
        ...     checkpoints.clear()
        ...     checkpoints.save(3, {"u": u})
        ...     u.owned[...] = 0.0
        ...     checkpoints.latest().restore({"u": u})
        ...     checkpoints.clear()
        >>> mb.sum(u)
        8.0
        """
        with phase("io"):
            contents.restore(self._comm, self.path, self._header, fields)
