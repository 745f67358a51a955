"""The table of known faults: of which versions of MPI and HDF5 somebody has reported what, where, and what helps.

Only what mpibatch may meet is listed, and only with a source that can be read. Most concern OMPIO, Open MPI's own file
layer: importing `mpibatch.mpi` asks for ROMIO in its place, and what serves in fact is tried out, so that these are
found only where ROMIO is missing or turned off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.tools.doctor.checks.versions import numbers
from mpibatch.tools.doctor.finding import Finding, Level, fine

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FAULTS", "Fault", "Software", "check_faults"]


@dataclass(frozen=True)
class Software:
    """What is loaded here. Versions are "" where there is none; `is_ompio`: Open MPI writes files by OMPIO."""

    openmpi: str = ""
    mpich: str = ""
    hdf5: str = ""
    has_parallel_hdf5: bool = False
    is_ompio: bool = False
    file_system: str = ""


@dataclass(frozen=True)
class Fault:
    """A `library` shows a `symptom` in versions from the first to, not including, the second of each of `versions`.

    "" is no limit. `needs` names attributes of `Software` that must hold too; `where` the file systems concerned
    (all, if none).
    """

    library: str
    versions: tuple[tuple[str, str], ...]
    level: Level
    symptom: str
    advice: str
    source: str
    needs: tuple[str, ...] = ()
    where: tuple[str, ...] = ()


_NO_OMPIO = "export OMPI_MCA_io=^ompio, or load a newer Open MPI"
_DIRECT = "export MPIBATCH_DRIVER=direct, or build h5py against a newer HDF5"

FAULTS = (
    Fault(
        library="openmpi", versions=(("2", "3.0.4"), ("3.1", "3.1.4"), ("4.0", "4.0.1")), level="error",
        symptom="MPI-IO (OMPIO) may crash, or write wrong values, under HDF5",
        advice=_NO_OMPIO, source="open-mpi/ompi issue 6285, openPMD/openPMD-api issue 446",
        needs=("is_ompio",),
    ),
    Fault(
        library="openmpi", versions=(("4.0", "4.1"),), level="warning",
        symptom="collective writes (OMPIO, component vulcan) may hang; seen in 4.0.3, on 31 ranks",
        advice="export OMPI_MCA_io=^ompio, or OMPI_MCA_fcoll=two_phase", source="HDFGroup/hdf5 issue 1227",
        needs=("is_ompio",),
    ),
    Fault(
        library="openmpi", versions=(("4.1.0", "4.1.5"),), level="error",
        symptom="collective reads (OMPIO with data sieving) may miss values",
        advice="export OMPI_MCA_io=^ompio, or OMPI_MCA_fbtl_posix_read_datasieving=0",
        source="open-mpi/ompi issue 10546",
        needs=("is_ompio",),
    ),
    Fault(
        library="openmpi", versions=(("4", "5"),), level="error",
        symptom="OMPIO reports success of collective writes to a full disk; seen in 4.1.4",
        advice=_NO_OMPIO, source="tests/io/test_full_disk.py of mpibatch",
        needs=("is_ompio",),
    ),
    Fault(
        # Those released before the fix of August 2024.
        library="openmpi", versions=(("4.1", "4.1.7"), ("5.0", "5.0.6")), level="warning",
        symptom="parallel HDF5 on a Cartesian communicator may write wrong values; mpibatch uses none, "
        "other programs may",
        advice=_NO_OMPIO, source="open-mpi/ompi issue 12718",
        needs=("is_ompio", "has_parallel_hdf5"),
    ),
    Fault(
        library="hdf5", versions=(("1.10.1", "1.10.4"),), level="error",
        symptom="collective writes may hang", advice=_DIRECT, source="Unidata/netcdf-c issues 1016 and 1120",
        needs=("has_parallel_hdf5",),
    ),
    Fault(
        library="hdf5", versions=(("", "1.10.3"),), level="error",
        symptom="compressed datasets cannot be written in parallel (before 1.10.2), or not rightly",
        advice=_DIRECT, source="Unidata/netcdf-c issue 1602",
        needs=("has_parallel_hdf5",),
    ),
    Fault(
        library="hdf5", versions=(("1.13.2", ""),), level="warning",
        symptom='independent writes may fail ("MPI_File_sync is required by ROMIO driver"); '
        "mpibatch makes collective ones",
        advice="for other programs: export HDF5_DO_MPI_FILE_SYNC=0",
        source="HDFGroup/hdf5 pull request 1801, h5py/h5py issue 2330",
        needs=("has_parallel_hdf5", "mpich"), where=("nfs", "nfs4", "unifyfs"),
    ),
)  # fmt: skip


def check_faults(software: Software, table: Iterable[Fault] = FAULTS) -> list[Finding]:
    """Return what is known against the versions that are loaded. Local."""
    findings = []
    for fault in table:
        version = getattr(software, fault.library)
        if not version or not any(_between(version, *span) for span in fault.versions):
            continue
        if not all(getattr(software, need) for need in fault.needs):
            continue
        if fault.where and software.file_system not in fault.where:
            continue
        name = {"openmpi": "Open MPI", "mpich": "MPICH", "hdf5": "parallel HDF5"}[fault.library]
        message = f"{name} {version}: {fault.symptom} [{fault.source}]"
        findings.append(Finding("known faults", fault.level, message, fault.advice))
    return findings or [fine("known faults", "none of these versions of MPI and HDF5, as far as they are used here")]


def _between(version: str, first: str, fixed: str) -> bool:
    ours = numbers(version)
    return (not first or ours >= numbers(first)) and (not fixed or ours < numbers(fixed))
