#!/usr/bin/env bash
# All checks and tests, from a bare checkout and Python >= 3.11 alone. Options: scripts/test.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/_env.sh

prepare_venv mpich,test
unset MPI4PY_MPIABI MPI4PY_LIBMPI # mpi4py then takes the MPI in .venv
exec .venv/bin/python scripts/_run_tests.py "$@" </dev/null
