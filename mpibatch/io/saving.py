"""From fields to one HDF5 file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from mpibatch.errors import UsageError
from mpibatch.field import Field
from mpibatch.io import direct
from mpibatch.io.commit import committed
from mpibatch.io.formats.source import numeric
from mpibatch.io.geometry import PREFIX, to_attributes
from mpibatch.io.layout import VERSION_ATTRIBUTE, Dataset
from mpibatch.io.naming import SEPARATOR, PathLike, check_tree, normal_name
from mpibatch.mpi import MPI, agreed
from mpibatch.timing import phase

__all__ = ["Driver", "check_attributes", "planned", "save"]

Attributes = Mapping[str, Any]


class Driver(Protocol):
    """A way to write fields: a module with this function."""

    def write(
        self, comm: MPI.Intracomm, path: str, datasets: list[Dataset], fields: list[Field], attrs: Attributes
    ) -> None:
        """Write a new file over the empty one at `path`. Collective. Raises on all ranks or on none."""


def save(
    path: PathLike,
    fields: Mapping[str, Field] | None = None,
    /,
    *,
    attrs: Attributes | None = None,
    dataset_attrs: Mapping[str, Attributes] | None = None,
    overwrite: bool = True,
    **named: Field,
) -> None:
    """Write fields into one HDF5 file, all ranks at once. Collective.

    ``save("out.h5", temperature=w, labels=n)``, or a dict for names with groups: ``save(path, {"step1/edges": e})``.
    The file is written as ``out.h5.part`` and renamed when it is complete and on disk: until then, and if writing
    fails, what was there before stays. The same fields give the same bytes on any ranks.

    Parameters
    ----------
    path : the file; its folder must exist and be shared by all nodes.
    fields, named : fields by the name of their dataset, of one communicator; their grids may differ.
    attrs : attributes of the file: numbers, text, or lists of one of them.
    dataset_attrs : the same for datasets, by their names.
    overwrite : whether a file of this name is replaced.

    Raises UsageError (names, dtypes) or RunError (no such folder, full disk), the same on every rank.
    """
    given = {**(fields or {}), **named}
    first = next((f for f in given.values() if isinstance(f, Field)), None)
    if first is None:
        # No communicator to agree over; but this is the same on every rank unless ranks run different programs.
        raise UsageError(
            f"{os.fspath(path)!r} was to be written without any field; give at least one: save(path, name=field)"
        )
    comm = first.grid.comm
    with phase("io"):
        with agreed(comm, f"writing {path}"):
            if fields and (twice := set(fields) & set(named)):
                raise UsageError(
                    f"datasets {sorted(twice)} were given twice, in the dict and by keyword; give each once"
                )
            if SEPARATOR in os.fspath(path):
                raise UsageError(
                    f"{os.fspath(path)!r} was to be written; give the file alone, and datasets as name=field"
                )
            check_attributes(attrs or {}, (VERSION_ATTRIBUTE,))
            plan = planned(given, dataset_attrs or {}, comm)
        datasets = [dataset for dataset, _ in plan]
        on_root = comm.bcast(datasets, root=0)
        with agreed(comm, f"writing {path}"):
            if datasets != on_root:
                raise UsageError(
                    f"ranks were to write different datasets: {datasets} here, {on_root} on rank 0; give all the same"
                )
        driver: Driver = direct
        with committed(comm, os.fspath(path), overwrite) as part:
            driver.write(comm, part, datasets, [field for _, field in plan], attrs or {})


def planned(
    given: Mapping[str, Any], attrs: Mapping[str, Attributes], comm: MPI.Intracomm
) -> list[tuple[Dataset, Field]]:
    """Return what to write, in the order of names, so that the file does not depend on that of arguments. Local."""
    fields = {normal_name(name): _checked(name, field, comm) for name, field in given.items()}
    if len(fields) < len(given):
        raise UsageError(
            f"datasets {sorted(given)} were to be saved, but some of these names are the same; give distinct ones"
        )
    check_tree(fields)
    extra = {normal_name(name): values for name, values in attrs.items()}
    if unknown := set(extra) - set(fields):
        raise UsageError(f"dataset_attrs has {sorted(unknown)}, but only {sorted(fields)} are saved; use their names")
    for values in extra.values():
        check_attributes(values, (PREFIX,))
    return [
        (Dataset(name, u.shape, u.dtype.str, {**to_attributes(u.grid), **extra.get(name, {})}), u)
        for name, u in sorted(fields.items())
    ]


def _checked(name: str, field: Any, comm: MPI.Intracomm) -> Field:
    if not isinstance(field, Field):
        raise UsageError(
            f"{name!r} was to be saved, but it is of type {type(field).__name__}; save fields (mpibatch.scatter makes "
            "one of an array), and single values as attrs={...}"
        )
    if field.grid.comm != comm:
        raise UsageError(f"{name!r} was to be saved with fields of another communicator; save them into separate files")
    if numeric(field.dtype.str) is None:
        # Their values have bytes that mean nothing, and other machines have another type of this name.
        raise UsageError(
            f"{name!r} was to be saved, but no other machine may read {field.dtype}; convert it to f8 or c16"
        )
    return field


def check_attributes(attrs: Attributes, reserved: tuple[str, ...]) -> None:
    """Raise UsageError unless HDF5 can hold these attributes, none of them ours. Local."""
    for name, value in attrs.items():
        if name.startswith(reserved):
            raise UsageError(
                f"attribute {name!r} was given, but names beginning with {reserved[0]!r} are ours; rename it"
            )
        if np.asarray(value).dtype.kind not in "biufcU" or np.ndim(value) > 1:
            raise UsageError(f"attribute {name!r} is {value!r}; give a number, text, or a list of one of them")
