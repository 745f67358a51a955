#!/usr/bin/env bash
# All checks and tests, from a bare checkout and Python >= 3.11 alone. Options: scripts/test.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/_env.sh

prepare_venv mpich,test
# What needs these is skipped, and named, where they cannot be had: other readers of EDF, age and MetaImage, scores of
# proteins and sketches of genomes; of the next five only a brain, proteins, a flow, nuclei and prices of shares; a real
# Slurm, other programs' readers of our files, a browser, containers, Lua for a recipe, access lists, keys of SSH,
# firewalls, tunnels, a frame of Hubble's, a phage's genome.
install_peers crypt4gh fabio parasail pyrage simpleitk sourmash tensorstore || echo "$why"
install_peers --no-deps nilearn pyhmmer pyro-hydro skfolio stardist || echo "$why"
install_packages slurmctld slurmd slurm-client munge util-linux hdf5-tools netcdf-bin chromium \
    charliecloud-runtime squashfs-tools lua5.4 acl age openssh-client nftables wireguard-go \
    wireguard-tools python-drizzle-testdata bowtie2-examples || echo "$why"
export PATH="$PATH:/usr/sbin:/sbin" # daemons, which the PATH of a user often lacks
unset MPI4PY_MPIABI MPI4PY_LIBMPI # mpi4py then takes the MPI in .venv
exec .venv/bin/python -m scripts._run_tests "$@" </dev/null
