"""Which libraries a process has loaded: exactly one MPI, and an HDF5 that goes with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.tools.doctor.checks.launchers import family_of
from mpibatch.tools.doctor.finding import Finding, error, fine, one_line, warning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["check_h5py", "check_mpi", "check_one_mpi", "mapped", "mpi_import_advice"]

_THREADS = ("SINGLE", "FUNNELED", "SERIALIZED", "MULTIPLE")


def mapped(maps: str | None = None) -> list[str]:
    """Return the files of MPI libraries that this process has mapped. Local."""
    try:
        text = Path("/proc/self/maps").read_text() if maps is None else maps
    except OSError:
        return []
    paths = {words[5] for words in (line.split(maxsplit=5) for line in text.splitlines()) if len(words) == 6}
    # Not those for other languages, nor what belongs to one of them.
    return sorted(path for path in paths if re.fullmatch(r"lib(mpi|mpich|mpi_abi)\.so[.\d]*", Path(path).name))


def check_one_mpi(before: Sequence[str], after: Sequence[str]) -> list[Finding]:
    """Compare the MPI libraries mapped by mpi4py, and then by h5py as well. Local."""
    check = "one MPI"
    if len(after) < 2:
        return [fine(check, f"{Path(after[0]).name}, and no other" if after else "it is linked into mpi4py")]
    other = [path for path in after if path not in before]
    message = (
        f"mpi4py has loaded {', '.join(before)}, but h5py brings {', '.join(other)}: HDF5 crashes on the first file"
    )
    if not other:
        message = f"{len(after)} MPI libraries are loaded: {', '.join(after)}"
    kind = "openmpi" if any(".so.40" in path for path in other) else "mpich"
    advice = f"export MPI4PY_MPIABI={kind} MPI4PY_LIBMPI={other[0]}" if other else "unset LD_PRELOAD"
    return [error(check, message, f"{advice}, and its mpiexec; or: pip install --force-reinstall h5py")]


def check_mpi(library: str, path: str, level: int) -> list[Finding]:
    """Name the MPI library that mpi4py has loaded, and the thread level that it gives. Local."""
    family, version = family_of(library)
    name = {"openmpi": "Open MPI", "mpich": "MPICH", "intel": "Intel MPI"}.get(family, one_line(library, 60))
    findings = [fine("MPI library", f"{name} {version}".strip() + (f" ({path})" if path else ""))]
    if level == 0:
        message = "MPI_THREAD_SINGLE: no thread besides the main one may exist, but Python libraries start some"
        findings.append(
            warning("MPI threads", message, "unset MPI4PY_RC_THREADS MPI4PY_RC_THREAD_LEVEL MPICH_THREAD_LEVEL")
        )
    else:
        findings.append(fine("MPI threads", _THREADS[level]))
    return findings


def mpi_import_advice(text: str, environment: Mapping[str, str]) -> str:
    """What to do when mpi4py cannot be imported. Local."""
    for name in ("MPI4PY_LIBMPI", "MPI4PY_MPIABI"):
        if environment.get(name):
            return f"unset {name}   (it is {environment[name]!r})"
    if "No module named" in text:
        return "pip install mpi4py mpich"
    return "pip install mpich, or load the module of your site's MPI"


def check_h5py(facts: Mapping[str, object]) -> list[Finding]:
    """Say what h5py has, and which driver writes files. Local. `facts`: of the process that has imported it."""
    version, hdf5, parallel = facts["h5py"], facts["hdf5"], facts["parallel"]
    built = facts.get("hdf5_built")
    findings = []
    if built and built != hdf5:
        message = f"h5py {version} was built for HDF5 {built}, but {hdf5} is loaded"
        advice = "look for another libhdf5: echo $LD_LIBRARY_PATH $LD_PRELOAD; then pip install --force-reinstall h5py"
        findings.append(warning("h5py", message, advice))
    driver = "with MPI: drivers mpio and direct" if parallel else "without MPI: driver direct"
    return findings or [fine("h5py", f"{version}, HDF5 {hdf5}, {driver}")]
