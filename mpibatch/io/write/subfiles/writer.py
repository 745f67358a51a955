"""Writing the subfiles of a front: each by a group of ranks, as a sealed file of its own."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.files import keep_permissions
from mpibatch.fields.field import Field
from mpibatch.fields.grid import Grid
from mpibatch.fields.redistribution import move
from mpibatch.io.base.names import PART
from mpibatch.io.base.obstacles import unshared
from mpibatch.io.base.subfiles import SUBFILES, draft_name, folder_of, identity_of, subfile_name
from mpibatch.io.seal.digests import of_field
from mpibatch.io.write import shared_file
from mpibatch.io.write.commit import committed
from mpibatch.io.write.layout import Dataset, create
from mpibatch.io.write.subfiles.bands import Bands, Turn
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.failure import AGREED
from mpibatch.mpi.hosts import node_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mpibatch.io.write.commit import PartFile

__all__ = ["Subfiles", "count_of", "write"]

MOST = 10**6  # subfiles: the digits of their names


@dataclass(frozen=True)
class Subfiles:
    """What the front is to have: on rank 0 the places of all bands. See `write`."""

    datasets: list[Dataset]
    attribute: dict[str, str]


def count_of(
    comm: MPI.Intracomm, subfiles: int | Literal["node"] | None, driver: str | None, encrypt: object
) -> int:  # fmt: skip
    """Return the number of subfiles, 0 for none. Collective. UsageError if it is not one, or they cannot be written."""
    with agreed(comm, "choosing the number of subfiles"):
        if subfiles is not None and (driver == "mpio" or encrypt is not None):
            other = "encrypt" if encrypt is not None else "driver='mpio'"
            raise UsageError(f"cannot write subfiles={subfiles!r} with {other}; leave one of both out")
        is_number = isinstance(subfiles, int) and not isinstance(subfiles, bool) and 1 <= subfiles < MOST
        if subfiles not in (None, "node") and not is_number:
            raise UsageError(f'subfiles={subfiles!r}; give "node" or a number from 1 to {MOST - 1}')
    if subfiles == "node":
        return node_count(comm)
    return int(subfiles or 0)


@contextmanager
def write(
    comm: MPI.Intracomm, part: PartFile, datasets: Sequence[Dataset], fields: Sequence[Any], count: int
) -> Iterator[Subfiles]:
    """Write the fields among blocks into `count` subfiles, and yield what the front is to have of them. Collective.

    They are drafts, which get their names as `part` does; if it does not, they are removed. With a `count` of 0 the
    front is the whole file.
    """
    if not count:
        yield Subfiles([*datasets], {})
        return
    front = part.path.removesuffix(PART)
    folder = Path(folder_of(front))
    with agreed(comm, f"writing {folder}"):
        if comm.rank == 0:
            _make(folder, Path(front))
    with agreed(comm, f"writing {folder}"):
        if not folder.is_dir():
            raise unshared(folder, MPI.Get_processor_name())
    chosen = [(d, u) for d, u in zip(datasets, fields, strict=True) if isinstance(u, Field)]
    part.values |= {d.name: of_field(comm, u) for d, u in chosen if d.name not in part.values}
    names = _write_all(comm, folder, chosen, count)
    part.subfiles = frozenset(names.values())
    yield Subfiles(
        [_virtual(d, _bands(d, u, count), folder.name, names) if isinstance(u, Field) else d
         for d, u in zip(datasets, fields, strict=True)],
        {SUBFILES: json.dumps({d.name: [d.chunks, d.compression] for d, _ in chosen}, sort_keys=True)},
    )  # fmt: skip


def _make(folder: Path, front: Path) -> None:
    """Make the folder, for those who may read the front."""
    try:
        folder.mkdir(exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            keep_permissions(handle, front, mask=0o700)
        finally:
            os.close(handle)
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}: {error.strerror}; write elsewhere") from error


def _virtual(dataset: Dataset, bands: Bands, folder: str, names: dict[int, str]) -> Dataset:
    """The dataset as the front has it: in bands that lie elsewhere."""
    parts = ((f"{folder}/{names[n]}", *bands.rows(n)) for n in names)
    own = tuple(part for part in parts if part[1] < part[2])
    return replace(dataset, chunks=None, compression=None, is_elsewhere=True, parts=own)


def _bands(dataset: Dataset, u: Field, count: int) -> Bands:
    return Bands(u.grid.shape, dataset.chunks[0] if dataset.chunks else 1, count, u.grid.size)


def _write_all(
    comm: MPI.Intracomm, folder: Path, chosen: Sequence[tuple[Dataset, Field]], count: int
) -> dict[int, str]:
    """Write all subfiles, as drafts, and return their names by number, on rank 0. Collective."""
    groups = min(count, comm.size)
    mine: list[tuple[int, str]] = []
    team = MPI.Intracomm(comm.Split(Bands((1,), 1, count, comm.size).group(comm.rank), comm.rank))
    try:
        for turn in range(-(-count // groups)):
            number, name = _write_one(comm, team, folder, chosen, count, turn)
            if name:
                mine.append((number, name))
    except AGREED:  # after any other error this rank may be alone
        team.Free()
        raise
    team.Free()
    return dict(entry for entries in comm.gather(mine) or () for entry in entries)


def _write_one(
    comm: MPI.Intracomm, team: MPI.Intracomm, folder: Path, chosen: Sequence[tuple[Dataset, Field]], count: int,
    turn: int,
) -> tuple[int, str]:  # fmt: skip
    """Write the subfile that is this rank's in a turn; return its number and name, "" if there is none, or not told.

    The first rank of a group is told. Collective over `comm`: what a team does by itself stands under `agreed`, so that
    all learn of a failure.
    """
    doing = f"writing {folder}"
    layouts = [_bands(dataset, u, count) for dataset, u in chosen]
    groups = Bands((1,), 1, count, comm.size)
    number = groups.subfile(groups.group(comm.rank), turn)
    plan = [_cut(dataset, bands, number) for (dataset, _), bands in zip(chosen, layouts, strict=True)]
    plain = [dataset for dataset in plan if dataset is not None]
    part: PartFile | None = None
    offsets: dict[str, int] = {}
    name = ""
    with ExitStack() as stack:
        with agreed(comm, doing):
            if plain:
                part = stack.enter_context(committed(team, str(folder / draft_name(number or 0))))
                layout = partial(create, part.path, plain, {}, is_subfile=True)
                places = shared_file.make(team, part.path, layout, shared_file.plain_bytes(plain))
                offsets = dict(zip((dataset.name for dataset in plain), places, strict=True))
        for (_, u), bands, dataset in zip(chosen, layouts, plan, strict=True):
            with agreed(comm, doing):
                block = _block(team, u, dataset)
            target = np.empty((0, *u.shape[1:]), u.dtype) if block is None else block.owned
            move(comm, u.grid.decomposition, u.owned, Turn(bands, turn), target)
            with agreed(comm, doing):
                if block is not None and dataset is not None and part is not None:
                    if dataset.chunks:
                        part.values[dataset.name] = of_field(team, block)
                    part.extents += shared_file.fill(team, part.path, dataset, block, offsets[dataset.name])
            del block, target
        with agreed(comm, doing):
            if plain:
                stack.close()
                name = _named(team, folder, number or 0)
    return number or 0, name


def _cut(dataset: Dataset, bands: Bands, number: int | None) -> Dataset | None:
    """The dataset as a subfile has it; None if none of its rows are there."""
    low, high = (0, 0) if number is None else bands.rows(number)
    if low == high:
        return None
    # HDF5 wants no chunk to be larger than its dataset.
    chunks = dataset.chunks and (min(dataset.chunks[0], high - low), *dataset.chunks[1:])
    return replace(dataset, shape=(high - low, *dataset.shape[1:]), attrs={}, group={}, chunks=chunks)


def _block(team: MPI.Intracomm, u: Field, dataset: Dataset | None) -> Field | None:
    """Memory for this rank's share of a subfile's rows."""
    if dataset is None:
        return None
    shape = dataset.shape[: u.grid.ndim]
    topology = (team.size, *(1 for _ in shape[1:]))
    return Grid(shape, comm=team, topology=topology).empty(u.dtype, components=u.components)


def _named(team: MPI.Intracomm, folder: Path, number: int) -> str:
    """Return the name that a draft is to get, of what it is, on the first rank of its group."""
    return subfile_name(number, identity_of(str(folder / draft_name(number)))) if team.rank == 0 else ""
