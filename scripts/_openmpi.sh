#!/usr/bin/env bash
# The second set-up of the tests, .venv-openmpi: Debian's Open MPI, and h5py built against its parallel HDF5. All else
# it takes from .venv, behind its own packages on the path.
# Exit status 3, with the reason as the last line, if this machine cannot have it. The built h5py is kept outside of
# the repository; nothing is done if all is there already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/_env.sh

impossible() {
    printf '%s\n' "$*"
    exit 3
}

venv=.venv-openmpi

# --- Debian's packages ---
install_packages openmpi-bin libopenmpi-dev libhdf5-openmpi-dev gcc libc6-dev pkg-config || impossible "$why"
install_packages iproute2 || echo "$why" # for the test on a real Slurm alone, which says so if it is absent
find_python
if ! "$python" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null; then
    install_packages python3-dev || impossible "$why" # right for Debian's own Python; any other comes with its headers
fi

# --- Python's packages ---
prepare_venv mpich,test
export MPI4PY_MPIABI=openmpi
if ! cmp -s .venv/ready-mpich-test "$venv/behind"; then
    .venv/bin/python -m venv --clear "$venv"
    packages() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
    packages .venv >"$(packages "$venv")/behind.pth"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --force-reinstall --editable .
    cp .venv/ready-mpich-test "$venv/behind"
fi
installed() {
    "$venv/bin/python" -c 'import importlib.metadata as m, sys; print(*(f"{n}-{m.version(n)}" for n in sys.argv[1:]), sep="_")' "$@"
}
key="$(installed h5py mpi4py)_hdf5-$(pkg-config --modversion hdf5-openmpi)_openmpi-$(pkg-config --modversion ompi)_$(
    "$venv/bin/python" -c 'import sysconfig, sys; print(sys.implementation.cache_tag, sysconfig.get_platform(), sep="_")'
)"
[ -f "$venv/parallel" ] && [ "$(cat "$venv/parallel")" = "$key" ] && exit 0

wheels="${XDG_CACHE_HOME:-$HOME/.cache}/mpibatch/wheels/$key"
pip() { "$venv/bin/python" -m pip "$@" -qq --disable-pip-version-check; }
if ! compgen -G "$wheels/*.whl" >/dev/null; then
    echo "building h5py against parallel HDF5 (some 2 minutes, once)"
    # In this environment: an isolated one would build mpi4py from source first, which takes over 10 minutes.
    pip install --upgrade 'setuptools>=77' wheel cython pkgconfig
    mkdir -p "$(dirname "$wheels")"
    fresh=$(mktemp -d "$(dirname "$wheels")/new-XXXXXX")
    version=$(installed h5py)
    # Not optimized, which takes half as long: values go through HDF5, not through what is compiled here.
    PATH="$PWD/$venv/bin:$PATH" CFLAGS="-O0 -g0" CC=mpicc.openmpi HDF5_MPI=ON HDF5_PKGCONFIG_NAME=hdf5-openmpi \
        pip wheel --no-build-isolation --no-deps --no-binary=h5py --no-cache-dir -w "$fresh" "h5py==${version#h5py-}" || {
        rm -rf "$fresh"
        fail "h5py could not be built against parallel HDF5"
    }
    mv -T "$fresh" "$wheels" 2>/dev/null || rm -rf "$fresh" # another run may have been faster
fi
pip install --no-deps --force-reinstall "$wheels"/*.whl
"$venv/bin/python" -c 'import h5py; assert h5py.get_config().mpi'
printf '%s\n' "$key" >"$venv/parallel"
