"""The writer of each format other than HDF5, and what it has no place for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field
from mpibatch.io.base.names import foreign_format
from mpibatch.io.write.options import check_levels
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
    is_zarr, is_tiff = kind in ("Zarr", "OME-Zarr"), kind == "OME-TIFF"
    with agreed(comm, f"writing {path}"):
        levels = check_levels(path, options.pyramid, is_possible=kind in ("OME-Zarr", "OME-TIFF"))
        if not is_zarr:
            check_options(path, (("dataset_attrs", about), ("chunks", options.chunks)))
        if not is_zarr and not is_tiff:
            check_options(path, (("compression", options.compression),))
        fields = dict(sorted(fields.items()))
        stored = f"chunks {options.chunks}, compression {options.compression}, {levels} levels"
        parts = [_signature(name, u) for name, u in fields.items()]
    same(comm, f"{kind} of {parts}, {stored}, with {sorted(attrs.items())} and {sorted(about.items())}")
    if is_zarr:
        from mpibatch.io.write.zarr import store

        store.save(comm, path, fields, attrs, about, options=options, overwrite=overwrite)
    elif is_tiff:
        from mpibatch.io.write.tiff import writer as tiff

        tiff.save(comm, path, fields, attrs, options=options, overwrite=overwrite)
    else:
        from mpibatch.io.write.flat import writer as flat

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
