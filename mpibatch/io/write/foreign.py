"""The writer of each format other than HDF5, and what it has no place for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field
from mpibatch.io.base.names import foreign_format
from mpibatch.mpi import agreed, same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.io.write.options import Options
    from mpibatch.mpi import MPI

__all__ = ["check_options", "save"]


def save(
    comm: MPI.Intracomm,
    path: str,
    fields: Mapping[str, Any],
    attrs: Mapping[str, Any],
    about: Mapping[str, Mapping[str, Any]],
    *,
    options: Options,
    overwrite: bool,
) -> None:
    """Write fields and tables in the format that the name stands for. Collective. UsageError, RunError."""
    kind = foreign_format(path)
    if kind in ("Zarr", "OME-Zarr"):
        from mpibatch.io.write.zarr import store

        store.save(comm, path, fields, attrs, about, options=options, overwrite=overwrite)
        return
    with agreed(comm, f"writing {path}"):
        check_options(path, (("dataset_attrs", about), ("chunks", options.chunks)))
    same(comm, f"{kind} of {[_signature(name, u) for name, u in sorted(fields.items())]} with {sorted(attrs.items())}")
    if kind == "OME-TIFF":
        from mpibatch.io.write.tiff import writer as tiff

        tiff.save(comm, path, fields, attrs, options=options, overwrite=overwrite)
        return
    from mpibatch.io.write.flat import writer as flat

    with agreed(comm, f"writing {path}"):
        check_options(path, (("compression", options.compression), ("pyramid", options.pyramid)))
    flat.save(comm, path, fields, attrs, overwrite=overwrite, kind=str(kind))


def _signature(name: str, u: Any) -> tuple[Any, ...]:
    """What all ranks must have alike of a field, or table."""
    return (name, u.dtype.str, u.grid.shape, u.components) if isinstance(u, Field) else (name, type(u).__name__)


def check_options(path: str, options: Sequence[tuple[str, Any]]) -> None:
    """Refuse what the format has nothing of. Local. UsageError."""
    if given := [name for name, value in options if value]:
        raise UsageError(
            f"cannot write {path!r} with {', '.join(given)}: {foreign_format(path)} files have nothing of the kind; "
            "leave it out, or write .h5"
        )
