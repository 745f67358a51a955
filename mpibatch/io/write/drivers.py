"""Which driver writes a file: what was asked for, or the best of those that work here, and why.

``mb.save(..., driver=)``, ``[output] driver`` of a job file and ``$MPIBATCH_DRIVER`` ask, in this order. Otherwise mpio
is taken for uncompressed files where h5py has MPI, and where this can be trusted; direct works everywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import h5py

from mpibatch.base.errors import UsageError, nearest
from mpibatch.base.log import logger
from mpibatch.io.write import mpio, shared_file
from mpibatch.io.write.storage import stripes
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.files import tells_failures

if TYPE_CHECKING:
    from mpibatch.io.base.block import Block
    from mpibatch.io.seal.extent import Extent
    from mpibatch.io.write.layout import Dataset

__all__ = ["NAMES", "VARIABLE", "Driver", "DriverChoice", "choose", "obstacle"]

VARIABLE = "MPIBATCH_DRIVER"

Attributes = Mapping[str, Any]


class Driver(Protocol):
    """A way to write fields: a module with this function."""

    def write(
        self,
        comm: MPI.Intracomm,
        path: str,
        datasets: Sequence[Dataset],
        fields: Sequence[Block],
        attrs: Attributes,
    ) -> list[Extent]:
        """Write a new file over the empty one at `path`. Collective. Raises on all ranks or on none."""


@dataclass(frozen=True)
class DriverChoice:
    """A driver, its name, and why it is this one."""

    name: str
    reason: str

    @property
    def driver(self) -> Driver:
        """The module. Local."""
        return _DRIVERS[self.name]


_DRIVERS: dict[str, Driver] = {"direct": shared_file, "mpio": mpio}
NAMES = tuple(_DRIVERS)
_told: set[DriverChoice] = set()


def choose(comm: MPI.Intracomm, driver: str | None = None, is_packed: bool = False, path: str = "") -> DriverChoice:
    """Return the driver to write with. Collective. UsageError if one is asked for that does not work here.

    `is_packed` says that datasets are to be cut into chunks: parallel HDF5 gives packed ones places that depend on
    the ranks, and their digests are of what it wrote, so that it is only taken when it is asked for. The reason is
    logged once, with advice on the folder of `path`.
    """
    with agreed(comm, "choosing how to write"):
        name = driver or os.environ.get(VARIABLE) or None
        source = "driver=" if driver else f"${VARIABLE}="
        if name is not None and name not in _DRIVERS:
            raise UsageError(f"{source}{name!r} is unknown{nearest(name, _DRIVERS)}")
        against = obstacle()
        if name == "mpio" and against:
            raise UsageError(f"{source}'mpio' does not work: {against}; or write with driver='direct'")
        local_choice = DriverChoice(name, "asked for") if name else _best(against, is_packed)
    # Ranks on other nodes might have another h5py: all take what rank 0 takes, and say so if they cannot.
    choice: DriverChoice = comm.bcast(local_choice)
    with agreed(comm, "choosing how to write"):
        if choice.name == "mpio" and against:
            raise UsageError(f"rank 0 writes with mpio, but on {MPI.Get_processor_name()} {against}")
    if choice not in _told and comm.rank == 0:
        _told.add(choice)
        logger("io").info("files are written by the driver %s: %s", choice.name, choice.reason)
        if path and (advice := stripes.advice(path)):
            logger("io").info("%s", advice)
    return choice


def _best(against: str, is_packed: bool) -> DriverChoice:
    if against:
        return DriverChoice("direct", against)
    if not tells_failures():
        return DriverChoice("direct", "this MPI's file layer (OMPIO) does not tell parallel HDF5 of writes that failed")
    if is_packed:
        return DriverChoice("direct", "with parallel HDF5 the bytes of compressed files would depend on the ranks")
    return DriverChoice("mpio", f"h5py has parallel HDF5 {h5py.version.hdf5_version}, on the MPI library of mpi4py")


@cache
def obstacle() -> str:
    """Return why the driver mpio cannot work here, "" if it can. Local.

    HDF5 on another MPI library than mpi4py's ends the process by a segmentation fault, so this must be known before.
    """
    if not h5py.get_config().mpi:
        return "this h5py has no MPI (build one: HDF5_MPI=ON pip install --no-binary=h5py h5py)"
    libraries = _libraries(_mapped())
    if len(libraries) > 1:
        return (
            f"h5py was built for another MPI than mpi4py has loaded ({', '.join(sorted(libraries))}); set "
            "MPI4PY_MPIABI or MPI4PY_LIBMPI to h5py's, or rebuild h5py"
        )
    return ""


def _mapped() -> list[str]:
    """The files that this process has mapped; [] where that is not told."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    return [line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6]


def _libraries(mapped: Sequence[str]) -> set[str]:
    """The MPI libraries among mapped files, but not those for other languages, nor what belongs to one of them."""
    return {path for path in mapped if re.fullmatch(r"lib(mpi|mpich|mpi_abi)\.so[.\d]*", Path(path).name)}
