"""One file from a front and its subfiles."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import RunError, UsageError
from mpibatch.io.base.geometry import PREFIX
from mpibatch.io.base.marks import own
from mpibatch.io.base.names import PathLike, output_path, user_path
from mpibatch.io.base.subfiles import SUBFILES
from mpibatch.io.formats import format_of, hdf5
from mpibatch.io.read.description import table_names
from mpibatch.io.read.inspector import inspect_safely, is_safe_to_parse
from mpibatch.io.read.loader import load
from mpibatch.io.write.saver import OURS, save
from mpibatch.mpi import MPI, agreed, private

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["merge"]


def merge(front: PathLike, path: PathLike, *, overwrite: bool = True, comm: MPI.Intracomm | None = None) -> None:
    """Write one HDF5 file from a front and its subfiles: the bytes that `save` writes without subfiles.

    Parameters
    ----------
    front : str or path-like
        A file that `save` wrote with `subfiles`, beside the folder of these.
    path : str or path-like
        The file to be written; not the front itself.
    overwrite : bool, default True
        Whether a file of this name is replaced.
    comm : mpi4py.MPI.Intracomm, optional
        Whose ranks take part. Default: COMM_WORLD.

    Raises
    ------
    UsageError
        The same on every rank: `front` is no such file, or is to be written over.
    RunError
        The same on every rank: a subfile is missing, or is another; a full disk.

    Notes
    -----
    Collective. Takes the memory of all values, on all ranks together. A record of the run that wrote the front is not
    taken over.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4, 6)).from_function(lambda y, x: y + x)
    >>> mb.save("front.h5", u=u, subfiles=2)
    >>> mb.io.merge("front.h5", "whole.h5")
    >>> mb.io.verify("whole.h5").content == mb.io.verify("front.h5").content
    True
    """
    home = private(comm)
    known: dict[str, Any] = {}
    with agreed(home, f"merging {front}"):
        file, target = user_path(front), output_path(path)
        if os.path.realpath(file) == os.path.realpath(target):
            raise UsageError(f"cannot merge {file!r} into itself; give another name")
        if home.rank == 0:
            known = _about(file)
    known = home.bcast(known, root=0)
    fields = {name: load(file, name, comm=home) for name in known["names"]}
    stored = {name: entry for name, entry in known["stored"].items() if entry[0] is not None}
    save(
        target, fields, attrs=known["attrs"], dataset_attrs=known["about"], overwrite=overwrite,
        chunks={name: chunks for name, (chunks, _) in stored.items()},
        compression={name: packed for name, (_, packed) in stored.items() if packed},
    )  # fmt: skip


def _about(file: str) -> dict[str, Any]:
    """What a front tells of itself but for values: names, how they would be stored, attributes. Local. UsageError."""
    refusal = UsageError(f"cannot merge {file!r}: it has no subfiles; give a file that was written with subfiles")
    if format_of(file) != "hdf5":
        raise refusal
    if not is_safe_to_parse(file):
        raise RunError(
            f"cannot merge {file!r}: mpibatch did not write it, or it was changed, or damaged; restore it from a copy"
        )
    tables = table_names(file)
    with hdf5.opened(file) as opened:
        if SUBFILES not in opened.attrs:
            raise refusal
        names = [name for name in hdf5.datasets(opened) if name.rpartition("/")[0] not in tables]
        about = {name: _attributes(opened[name].attrs, own(opened[name].attrs)) for name in names}
        attrs = _attributes(opened.attrs, own(opened.attrs, root=True))
        stored = _stored(file, opened.attrs[SUBFILES])
    if names:
        inspect_safely(file, names[0])
    return {
        "names": [*names, *tables],
        "stored": stored,
        "attrs": {name: value for name, value in attrs.items() if not name.startswith(OURS)},
        "about": {n: {k: v for k, v in values.items() if not k.startswith(PREFIX)} for n, values in about.items()},
    }


def _stored(file: str, text: Any) -> dict[str, tuple[tuple[int, ...] | None, str | None]]:
    """How the values of datasets would be stored in one file: chunks and compression by name. RunError."""
    try:
        return {
            name: (None if chunks is None else tuple(map(int, chunks)), None if packed is None else str(packed))
            for name, (chunks, packed) in json.loads(text).items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"cannot merge {file!r}: its attribute {SUBFILES} is damaged; restore it from a copy") from error


def _attributes(given: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Attributes as they were given to `save`."""
    values = {name: given[name] for name in names}
    return {
        name: [str(text) for text in value] if isinstance(value, np.ndarray) and value.dtype.kind == "O" else value
        for name, value in values.items()
    }
