"""Open MPI on a real Slurm: ranks started by srun and by mpirun, a chain of two lives, the same bytes as one rank."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts._run_tests import OPENMPI_ENVIRONMENT
from tests.slurm_cluster import Cluster, missing

REPOSITORY = Path(__file__).resolve().parent.parent
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.mpio,  # in scripts/test.sh the mark of the set-up that has Open MPI
    pytest.mark.skipif(
        not (Path(sys.prefix) / "parallel").exists(),  # what scripts/_openmpi.sh leaves in it when it is complete
        reason="needs the environment with Open MPI, which scripts/test.sh --setup openmpi makes",
    ),
]

JOB = """\
[simulation]
program = "heat"
shape = [96, 96]
steps = 24000

[output]
path = "{name}.h5"
every_steps = 8000
record = false  # which would tell when and where it ran

[checkpoint]
every_steps = 2000
"""
# Open MPI leaves out the loopback device, which is all that the nodes have, and warns of root.
PROFILE = """\
venv = "{folder}/venv"
{launcher}

[variables]
PYTHONPATH = "{repository}"
MPI4PY_MPIABI = "openmpi"
OMPI_ALLOW_RUN_AS_ROOT = "1"
OMPI_ALLOW_RUN_AS_ROOT_CONFIRM = "1"
OMPI_MCA_btl_tcp_if_include = "lo"
OMPI_MCA_oob_tcp_if_include = "lo"
OMPI_MCA_mpi_yield_when_idle = "1"
"""
LAUNCHERS = {"pmix": 'mpi = "pmix"', "mpirun": 'launcher = "mpirun"\nbinding = ["--bind-to", "none"]'}
