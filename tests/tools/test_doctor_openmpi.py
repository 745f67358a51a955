"""`mpibatch doctor` where h5py brings an MPI of its own: in the second set-up of scripts/test.sh."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.tools.test_doctor_setups import REPOSITORY, Report

if TYPE_CHECKING:
    from pathlib import Path

MPICH = REPOSITORY / ".venv" / "lib"  # of the first set-up
pytestmark = pytest.mark.mpio


def doctor(folder: Path, **variables: str) -> Report:
    done = subprocess.run(
        [sys.executable, "-m", "mpibatch", "doctor", "--json"], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | variables, timeout=60,
    )  # fmt: skip
    return Report(done)


@pytest.mark.skipif(not (MPICH / "libmpi.so.12").exists(), reason="needs the wheel mpich in the first set-up")
def test_h5py_of_another_mpi(tmp_path):
    report = doctor(tmp_path, LD_LIBRARY_PATH=str(MPICH), MPI4PY_MPIABI="mpich")
    report.names(
        "one MPI", "error", "mpi4py has loaded", "libmpi.so.12", "but h5py brings", "export MPI4PY_MPIABI=openmpi"
    )
    assert report.code == 2


def test_open_mpis_own_file_layer(tmp_path):
    report = doctor(tmp_path, OMPI_MCA_io="ompio", MPI4PY_MPIABI="openmpi")
    report.names("known faults", "error", "Open MPI 4", "OMPIO", "OMPI_MCA_io=^ompio")
    report.names("variables", "warning", "OMPI_MCA_io=ompio", "unset OMPI_MCA_io")
    assert report.finding("parallel HDF5")["level"] == "ok"
