"""MPI-IO hints: what follows from nodes and file system, and what the user says (`settings`)."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.log import logger
from mpibatch.base.units import plural
from mpibatch.io.write.storage.aggregators import aggregators
from mpibatch.io.write.storage.file_system import file_system
from mpibatch.io.write.storage.settings import given_hints
from mpibatch.io.write.storage.stripes import stripe_count
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.hosts import node_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["hints", "info", "node_hints"]

_told: set[str] = set()


def hints(defaults: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the hints in force: defaults, and what the user says instead. Local. UsageError."""
    return {name: value for name, value in {**(defaults or {}), **given_hints()}.items() if value}


def node_hints(comm: MPI.Intracomm, path: str) -> dict[str, str]:
    """Return the hints that follow from the nodes of `comm` and the file system of a file. Collective."""
    nodes = node_count(comm)
    kind, stripes = "", 0
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            file = Path(os.path.realpath(path))
            kind = file_system(file.parent)
            stripes = stripe_count(file if file.is_file() else file.parent, kind)
    kind, stripes = comm.bcast((kind, stripes), root=0)
    choice = aggregators(nodes, comm.size, kind, stripes)
    text = f"{plural(choice.total, 'aggregator')} on {plural(nodes, 'node')} for {kind or 'an unknown file system'}"
    text += f" over {plural(stripes, 'server')}" if stripes > 0 else ""
    if comm.rank == 0 and text not in _told:
        _told.add(text)
        logger("io").info("MPI-IO: %s", text)
    return choice.hints


@contextmanager
def info(settings: Mapping[str, str]) -> Iterator[MPI.Info]:
    """Yield hints as MPI wants them. Local."""
    made = MPI.Info.Create()
    try:
        for name, value in settings.items():
            made.Set(name, value)
        yield made
    finally:
        made.Free()
