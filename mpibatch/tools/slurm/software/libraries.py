"""The host's MPI as a folder that container images can borrow: its libraries, their plug-ins, and what they need.

The C library and its kin are left out: those of the image must do, so that an image should not be older than the
host.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.tools.slurm.software.containers import ENVIRONMENT, HOST_MPI

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["collect"]

_NEEDED = re.compile(r"^\s*(\S+) => (/.+) \(0x", re.MULTILINE)
# Of the image: two C libraries in one process do not work.
_SYSTEM = re.compile(
    r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|nsl|anl|mvec|BrokenLocale|nss_\w+|gcc_s|stdc\+\+))\.so.*"
)
# Libraries that load plug-ins from a folder beside them: that folder, which files they are, and where they lie in ours.
_PLUGINS = (
    ("libucs.so", "ucx", "*.so.0", "ucx"),
    ("libfabric.so", "libfabric", "*-fi.so", "libfabric"),
    ("libopen-pal.so", "openmpi*", "mca_*.so", "openmpi"),
    ("libpmix.so", "pmix*", "*mca_*.so", "pmix"),
)
# The site's choices of Open MPI's plug-ins, in its own folder or the system's: without them it may take others.
_CHOICES = "openmpi-mca-params.conf"
_LOADED = """
import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
print(*{line.split(None, 5)[5].rstrip() for line in open("/proc/self/maps") if "/libmpi" in line}, sep="\\n")
"""


def collect(target: Path, library: Path | None = None) -> tuple[int, int]:
    """Copy the host's MPI into a new folder; return its files and bytes. Local. RunError, UsageError.

    `library` is its libmpi.so; by default the one that mpi4py loads.
    """
    if target.exists():
        raise UsageError(f"{str(target)!r} is there already; remove it, or give another name")
    library = _loaded() if library is None else library
    if not library.is_file():
        raise UsageError(f"--libmpi {library}: there is no such file")
    part = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        part.chmod(0o755)
        files = _files(library)
        for place, source in files.items():
            (part / place).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, part / place)
        is_open_mpi = any(name.startswith("libopen-pal") for name in files)
        (part / ENVIRONMENT).write_text("".join(f"{line}\n" for line in _variables(is_open_mpi=is_open_mpi)))
        part.rename(target)
    except OSError as error:
        raise RunError(f"cannot write the folder {str(target)!r}: {reason_of(error)}") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    return len(files), sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _loaded() -> Path:
    try:
        done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=False, timeout=300)
    except subprocess.TimeoutExpired:
        raise RunError("mpi4py did not start within 300 s; give --libmpi /path/libmpi.so.12") from None
    paths = [Path(line) for line in done.stdout.splitlines()]
    if done.returncode or not paths:
        last = (done.stderr.strip().splitlines() or ["no libmpi was loaded"])[-1]
        raise RunError(
            f"mpi4py finds no MPI here ({last}); load the site's module, or give --libmpi /path/libmpi.so.12"
        )
    return min(paths, key=lambda path: len(path.name))


def _files(library: Path) -> dict[str, Path]:
    """Where each file lies in the folder, and where it comes from."""
    # The name that mpi4py looks for, under which not every MPICH has its library.
    name = re.sub(r"^libmpich\.so|^libmpi\w*\.so", "libmpi.so", _short(library))
    files = {name: library, **_needed([library])}
    plugins: dict[str, Path] = {}
    while True:
        more = {
            f"{place}/{path.name}": path
            for owner, pattern, names, place in _PLUGINS
            for name, source in files.items()
            if name.startswith(owner)
            for root in sorted(source.resolve().parent.glob(pattern))
            for path in sorted(root.rglob(names))
        }
        if more.keys() <= plugins.keys():
            break
        plugins = more
        files |= _needed(plugins.values())
    for place in (library.resolve().parents[1] / "etc", Path("/etc/openmpi")):
        if "openmpi" in {Path(name).parts[0] for name in plugins} and (place / _CHOICES).is_file():
            return {**files, **plugins, _CHOICES: place / _CHOICES}
    return {**files, **plugins}


def _short(library: Path) -> str:
    """A library's name without the numbers behind that of its interface: libmpi.so.40.30.4 is libmpi.so.40."""
    match = re.match(r".*?\.so(\.\d+)?", library.resolve().name if library.name.endswith(".so") else library.name)
    return match[0] if match else library.name


def _needed(libraries: Iterable[Path]) -> dict[str, Path]:
    """The libraries that the loader would load for these, by name. What is missing here is not needed here."""
    try:
        done = subprocess.run(["ldd", *libraries], capture_output=True, text=True, check=False, timeout=300)
    except FileNotFoundError as error:
        raise RunError("ldd is not on the PATH, and so what libmpi needs cannot be found; install libc-bin") from error
    return {name: Path(path) for name, path in _NEEDED.findall(done.stdout) if not _SYSTEM.fullmatch(name)}


def _variables(*, is_open_mpi: bool) -> list[str]:
    lines = [
        f"LD_LIBRARY_PATH={HOST_MPI}",
        f"MPI4PY_MPIABI={'openmpi' if is_open_mpi else 'mpich'}",
        "PYTHONPATH=",  # packages of the host
        # Each rank is in namespaces of its own, where it may not open another's files through /proc, nor copy from
        # its memory.
        "UCX_POSIX_USE_PROC_LINK=n",
        "MPIR_CVAR_CH4_CMA_ENABLE=0",
        f"FI_PROVIDER_PATH={HOST_MPI}/libfabric",
    ]
    if is_open_mpi:
        lines += [
            f"OMPI_MCA_mca_base_component_path={HOST_MPI}/openmpi",
            f"PMIX_MCA_mca_base_component_path={HOST_MPI}/pmix",
            f"OMPI_MCA_mca_base_param_files={HOST_MPI}/{_CHOICES}",
            "OMPI_MCA_btl_vader_single_copy_mechanism=none",
        ]
    return lines
