"""Which Pythons with which MPI library the tests run in, and what is run in each."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

REPOSITORY = Path(__file__).resolve().parents[2]

# One thread a rank: six ranks with a pool each would only fight over two cores. And what iterates over a set
# must do so in the same order on all ranks.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "MPIBATCH_CACHE_DIR": str(REPOSITORY / ".cache" / "mpibatch"),
    # Hundreds of processes import the package: bytecode is kept, whatever the environment says, but not where tests
    # look at what was written.
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPYCACHEPREFIX": str(REPOSITORY / ".cache" / "bytecode"),
}

# As root, on fewer cores than ranks, without a network: Open MPI wants to be told.
OPENMPI_ENVIRONMENT = {
    "MPI4PY_MPIABI": "openmpi",
    "MPIBATCH_MPIEXEC": "mpiexec.openmpi",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl": "self,vader",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_oob_tcp_if_include": "lo",
    "OMPI_MCA_plm": "isolated",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}
# What depends on the MPI library or on HDF5; the rest computes the same whatever moves its bytes.
OPENMPI_FILES = ("checkpoint", "chunk", "commit", "doctor_openmpi", "drivers", "failure", "field", "halo", "io",
                 "network", "redistribute", "reduce", "resume", "seal", "series", "supervisor", "verify")  # fmt: skip
PARTS = 13  # of the unit tests, shared out to the lanes: so many that these end together
# Every test, and of a parametrized one every case, runs on one of 2, 3, 4 and 6 ranks: on which, its number says; those
# that run on 6, with the fewest examples, on 1 rank, too. Here is for each number of ranks (which, of how many shares).
# Cases that are others on other numbers of ranks, or need more of them, run wherever they can, and tests that draw
# examples everywhere, with a share of these (tests/conftest.py).
SHARES = {1: (0, 4), 2: (2, 4), 3: (3, 4), 4: (1, 4), 6: (0, 4)}
OPENMPI_SHARES = {2: (0, 2), 3: (1, 2)}


@dataclass(frozen=True)
class Setup:
    """A Python with an MPI library, and what its tests are."""

    name: str
    python: str
    environment: dict[str, str]
    shares: dict[int, tuple[int, int]]  # of its MPI tests, by the number of ranks
    paths: tuple[str, ...] = ("tests",)

    def mpi_paths(self) -> list[str]:
        """Return which of its files have tests that run on several ranks."""
        return [file for file in files_with("mpi") if self.paths == ("tests",) or file in self.paths]


@dataclass(frozen=True)
class Part:
    """Some of the unit tests: those with these marks in these files."""

    name: str
    marks: str = "not mpi"
    paths: Sequence[str] = ()


OPENMPI_ON_SLURM = Part("unit tests on Slurm", "not mpi and slurm and mpio", ("tests/tools/test_slurm_openmpi.py",))


def setup_mpich() -> Setup:
    return Setup("mpich", sys.executable, ENVIRONMENT, SHARES)


def files_with(mark: str) -> list[str]:
    """Return the test files that have a mark at all: every rank would import the others in vain."""
    files = sorted(REPOSITORY.glob("tests/**/test_*.py"))
    return [str(path.relative_to(REPOSITORY)) for path in files if f"mark.{mark}" in path.read_text(encoding="utf-8")]


def setup_openmpi() -> Setup:
    paths = sorted(
        {str(p.relative_to(REPOSITORY)) for w in OPENMPI_FILES for p in REPOSITORY.glob(f"tests/**/test_{w}*.py")}
    )
    python = REPOSITORY / ".venv-openmpi" / "bin" / "python"
    return Setup("openmpi", str(python), ENVIRONMENT | OPENMPI_ENVIRONMENT, OPENMPI_SHARES, tuple(paths))


def unit_parts(options: argparse.Namespace) -> list[Part]:
    """Return the parts of the unit tests, files dealt out in turn; not of these those on a real Slurm, if all run."""
    if options.paths or options.k:
        return [Part("unit tests")]
    files = sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("tests/**/test_*.py"))
    return [
        Part(f"unit tests, part {n + 1} of {PARTS}", "not mpi and not slurm", files[n::PARTS]) for n in range(PARTS)
    ]


def share_of(setup: Setup, ranks: int, options: argparse.Namespace) -> str | None:
    """Return which share of the cases so many ranks run, None: all, as where somebody asks for some tests or ranks."""
    is_whole = not (options.ranks or options.paths or options.k)
    return "{}/{}".format(*setup.shares[ranks]) if is_whole and ranks in setup.shares else None


def patience(ranks: int) -> dict[str, str]:
    """Return what makes MPICH's ranks sleep while they wait, where there are more than cores.

    They yield anyway, but Linux then comes back to them before all others have had a turn: six ranks on two cores took
    three times as long in time loops. With 0 ranks: those that tests start, beside other lanes.
    """
    return {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"} if not 0 < ranks <= (os.cpu_count() or 1) else {}


def launcher(setup: Setup) -> list[str]:
    """Return the command that starts ranks: $MPIBATCH_MPIEXEC, or the environment's own mpiexec."""
    given = (os.environ | setup.environment).get("MPIBATCH_MPIEXEC")
    own = Path(setup.python).parent / "mpiexec"
    if not given and not own.exists():
        sys.exit(f"no {own}: install the extra mpich into this environment (scripts/test.sh does)")
    return shlex.split(given) if given else [str(own)]
