"""What a file tells of its making.

Two parts, kept apart. What decides the values, and is the same on any ranks, is always in the file: attributes of the
root group such as ``versions`` (of Python packages), and ``job`` and ``inputs`` of a job. What differs from run to run
is the *run record*: one attribute, ``run_record``, of JSON text, there if it was asked for. Without it equal fields
give equal files, byte for byte; the content digest leaves both out.

A record stays small for any number of ranks: hosts are counted, times are the least, the median and the most.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import sys
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import h5py

from mpibatch import __version__
from mpibatch.base import timing
from mpibatch.base.trust import privacy
from mpibatch.io.base.room import ROOM, room_for
from mpibatch.io.seal.digests import of_field
from mpibatch.io.write.layout import annotate
from mpibatch.mpi import MPI, agreed, hosts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.fields.field import Field
    from mpibatch.io.seal.extent import Digests

__all__ = ["RECORD", "VERSIONS", "add_record", "digest_of", "input_digest", "mpi_line", "versions"]

VERSIONS, RECORD = "versions", "run_record"
PACKAGES = ("h5py", "mpi4py", "numba", "numpy", "scipy")
# Of the batch system, where there is one.
SLURM = ("SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_CLUSTER_NAME", "SLURM_JOB_NODELIST", "SLURM_RESTART_COUNT")
OF_HOSTS = ("SLURM_CLUSTER_NAME", "SLURM_JOB_NODELIST")
# Of hosts, and of ranks whose times are told one by one.
MOST_HOSTS, MOST_RANKS = 256, 256
MOST_TEXT = 2000  # characters of one argument or variable


@cache
def versions() -> str:
    """Return the versions of Python and of the packages that may change a value or a byte, as JSON. Local."""
    by_package = {"hdf5": h5py.version.hdf5_version, "mpibatch": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            by_package[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return json.dumps(by_package, sort_keys=True)


def input_digest(comm: MPI.Intracomm, field: Field) -> str:
    """Return the SHA-256 of dtype, shape and digests of a field's values, the same on all ranks. Collective.

    It tells which values a run began with, costs one pass through memory, and reads no file again.
    """
    digest: str = comm.bcast(digest_of(field.dtype.str, field.shape, of_field(comm, field)), root=0)
    return digest


def digest_of(dtype: str, shape: Sequence[int], digests: Digests) -> str:
    """Return the SHA-256 of dtype, shape and digests of values. Local."""
    total = hashlib.sha256(json.dumps([dtype, list(shape)]).encode())
    total.update(digests.astype("<u8").tobytes())
    return total.hexdigest()


def add_record(
    comm: MPI.Intracomm, path: str, fields: Mapping[str, Field], driver: str, hints: Mapping[str, str]
) -> None:
    """Write the run record into a file that nobody has open. Collective."""
    hosts, seconds = _hosts(comm), _seconds(comm)
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            record = {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "argv": [word[:MOST_TEXT] for word in privacy.arguments(sys.argv[:100])],
                "ranks": comm.size,
                "hosts": hosts,
                "decomposition": _decompositions(fields),
                "driver": driver,
                "hints": {name: value[:MOST_TEXT] for name, value in hints.items()},
                "mpi": mpi_line(),
                "slurm": {
                    name: os.environ[name][:MOST_TEXT]
                    for name in SLURM
                    if name in os.environ and not (privacy.is_private() and name in OF_HOSTS)
                },
                "seconds": seconds,
            }
            text = json.dumps(record)
            with room_for(path, more=len(text) + ROOM):
                annotate(path, {RECORD: text})


def mpi_line() -> str:
    """Return the first line of what the MPI library says of itself. Local."""
    return MPI.Get_library_version().strip("\0 \n").partition("\n")[0][:MOST_TEXT]


def _hosts(comm: MPI.Intracomm) -> dict[str, int]:
    """Ranks on each host, on rank 0; of very many hosts the first, and the number of the others as "(more)"."""
    hosts = hosts_of(comm)
    counts = privacy.numbered(hosts.ranks) if hosts is not None else {}
    first = dict(itertools.islice(counts.items(), MOST_HOSTS))
    return first if len(first) == len(counts) else {**first, "(more)": len(counts) - len(first)}


def _seconds(comm: MPI.Intracomm) -> dict[str, Any]:
    """Seconds of each phase so far, over the ranks, on rank 0."""
    by_phase: dict[str, Any] = {}
    for stat in timing.summary(comm):
        by_phase[stat.name] = {
            "least": round(stat.least, 6),
            "median": round(stat.median, 6),
            "most": round(stat.slowest, 6),
            "slowest_rank": stat.slowest_rank,
        }
        if comm.size <= MOST_RANKS:
            by_phase[stat.name]["by_rank"] = [round(float(t), 3) for t in stat.by_rank]
    return by_phase


def _decompositions(fields: Mapping[str, Field]) -> list[dict[str, Any]]:
    """The distinct ones, with the names of their fields; along each axis the blocks as [cells, how many such]."""
    by_decomposition: dict[Any, list[str]] = {}
    for name, field in sorted(fields.items()):
        by_decomposition.setdefault(field.grid.decomposition, []).append(name)
    return [
        {
            "fields": names[:MOST_HOSTS],
            "shape": list(parts.shape),
            "topology": list(parts.topology),
            "blocks": [_runs([high - low for low, high in map(axis.bounds, range(axis.parts))]) for axis in parts.axes],
        }
        for parts, names in by_decomposition.items()
    ]


def _runs(sizes: Sequence[int]) -> list[list[int]]:
    runs = [[size, len(list(group))] for size, group in itertools.groupby(sizes)]
    return runs if len(runs) <= MOST_RANKS else [*runs[:MOST_RANKS], [-1, sum(count for _, count in runs[MOST_RANKS:])]]
