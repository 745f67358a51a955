"""What a checkpoint holds: fields under ``state/``, rank 0's arrays under ``extra/``, and JSON text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import RunError, UsageError
from mpibatch.fields.field import Field, check_field
from mpibatch.fields.grid import Grid
from mpibatch.fields.redistribution import scatter
from mpibatch.io.read.description import read_slice
from mpibatch.io.read.loader import load
from mpibatch.io.write.saver import save
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.io.base.names import PathLike

__all__ = ["Header", "read_header", "restore", "restored_table", "write"]

STATE, EXTRA = "state", "extra"
# Of the root group, which is where `save` puts them.
HEADER = "checkpoint"

Values = npt.NDArray[Any]
Header = dict[str, Any]


def write(
    comm: MPI.Intracomm,
    path: str,
    header: Mapping[str, Any],
    fields: Mapping[str, Field | RegionTable],
    extra: Mapping[str, Any],
    encrypt: PathLike | None = None,
) -> None:
    """Write a checkpoint of fields, and of tables. Collective. `header` and `extra` are rank 0's.

    `encrypt`: for whom, as in `save`.
    """
    arrays: dict[str, Values] = {}
    with agreed(comm, f"writing {path}"):
        for name, field in fields.items():
            if not isinstance(field, RegionTable):
                check_field(f"a checkpoint of {name!r}", field)
        if comm.rank == 0:
            # A single value is a number, whatever NumPy calls it.
            extra = {name: v.item() if isinstance(v, np.ndarray) and not v.ndim else v for name, v in extra.items()}
            arrays = {f"{EXTRA}/{name}": v for name, v in extra.items() if isinstance(v, np.ndarray) and v.size}
            arrays[HEADER] = _text({**header, "state": sorted(fields)}, extra)
    lengths = comm.bcast({name: array.shape[0] for name, array in arrays.items()}, root=0)
    datasets: dict[str, Field | RegionTable] = {f"{STATE}/{name}": field for name, field in fields.items()}
    for name, length in lengths.items():
        datasets[name] = scatter(arrays.get(name), Grid((length,), comm=comm, axes=("n",)))
    save(path, datasets, encrypt=encrypt)


def read_header(comm: MPI.Intracomm, path: str) -> Header:
    """Return the header, with "extra" as it was given. Collective. Raises RunError if this is no checkpoint."""
    on_root: Header = {}
    with agreed(comm, f"reading {path}"):
        if comm.rank == 0:
            on_root = _read(path)
    header: Header = comm.bcast(on_root, root=0)
    return header


def restore(comm: MPI.Intracomm, path: str, header: Header, fields: Mapping[str, Field]) -> None:
    """Put the values of the checkpoint's fields into `fields`, where they lie. Collective."""
    with agreed(comm, f"reading {path}"):
        for name, field in fields.items():
            check_field(f"restoring {name!r}", field)
        if sorted(fields) != header["state"]:
            raise UsageError(
                f"cannot restore {', '.join(sorted(fields))}: {path} holds the fields {', '.join(header['state'])}; "
                "give the same fields, or start anew"
            )
    for name in header["state"]:
        field = fields[name]
        stored = load(path, f"{STATE}/{name}", grid=field.grid)
        with agreed(comm, f"reading {path}"):
            if (stored.dtype, stored.components) != (field.dtype, field.components):
                raise UsageError(
                    f"{name!r} in {path} has values of {stored.dtype} {stored.components}, but {field.dtype} "
                    f"{field.components} is wanted; it is another program's: start anew"
                )
        field.owned[...] = stored.owned


def restored_table(comm: MPI.Intracomm, path: str, name: str) -> RegionTable:
    """Return a table of a checkpoint. Collective. RunError if it has none of this name."""
    stored = load(path, f"{STATE}/{name}", comm=comm)
    with agreed(comm, f"reading {path}"):
        if not isinstance(stored, RegionTable):
            raise RunError(f"{name!r} in {path} is no table; remove the file")
    table: RegionTable = stored
    return table


def _read(path: str) -> Header:
    try:
        header: Header = json.loads(read_slice(path, HEADER).tobytes())
        extra = dict(header["extra"])
        extra |= {name: read_slice(path, f"{EXTRA}/{name}") for name in header["arrays"]}
        extra |= {name: np.empty(shape, dtype) for name, (shape, dtype) in header["empty"].items()}
        return {**header, "extra": extra}
    except (UsageError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is no checkpoint: {error}; remove it") from error


def _text(header: Mapping[str, Any], extra: Mapping[str, Any]) -> Values:
    arrays = {name: value for name, value in extra.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in extra.items() if name not in arrays}
    empty = {name: (value.shape, value.dtype.str) for name, value in arrays.items() if not value.size}
    try:
        text = json.dumps({**header, "arrays": sorted(set(arrays) - set(empty)), "empty": empty, "extra": rest})
    except (TypeError, ValueError) as error:
        raise UsageError(f"a checkpoint cannot hold what it was given beside the fields: {error}") from error
    return np.frombuffer(text.encode(), "u1")
