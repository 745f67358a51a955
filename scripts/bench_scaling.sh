#!/usr/bin/env bash
# A strong and a weak scaling study of a gaussian pipeline and of the heat program on 1 and 2 ranks of this machine,
# with their reports, and one picture of all four: scripts/bench_scaling.sh [--quick] [FOLDER]
# FOLDER (default: a new temporary one) takes up to 2 GB while it runs, for about 6 minutes; what an earlier call with
# the same FOLDER has finished is not run again. --quick, one study of a tiny array, tests the script and
# measures nothing.
# Needs Python >= 3.11 and a package index; no root, no compiler, no MPI.
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/_env.sh

quick='' folder=''
for word in "$@"; do
    case $word in
    --quick) quick=yes ;;
    -*) fail "bench_scaling.sh has no option $word; it takes --quick and a folder" ;;
    *) [ -z "$folder" ] || fail "one folder, please: $folder or $word" && folder=$word ;;
    esac
done
root=$PWD
# The tests, which run --quick, go on in the .venv that is there: it stays as it is.
[ -n "$quick" ] && [ -x .venv/bin/mpibatch ] || prepare_venv mpich,report
PATH="$root/.venv/bin:$PATH"
unset MPI4PY_MPIABI MPI4PY_LIBMPI # mpi4py then takes the MPI in .venv, to which this mpiexec belongs
if [ "$(nproc)" -ge 2 ]; then
    # Each rank stays on a core of its own: less spread.
    export MPIBATCH_MPIEXEC=${MPIBATCH_MPIEXEC:-mpiexec -bind-to core}
else
    echo "note: this machine has one core; 2 ranks on it say nothing of two" >&2
fi

folder=${folder:-$(mktemp -d -t mpibatch-scaling-XXXXXX)}
# Sizes: seconds of work in each run, so that starting Python and loading compiled code is little beside them.
side=400 cells='[288, 288, 288]' steps=160 repeat=5 seconds=8
studies=(gaussian-strong gaussian-weak heat-strong heat-weak)
if [ -n "$quick" ]; then
    side=24 cells='[24, 24, 24]' steps=4 repeat=1 seconds=0.2
    studies=(gaussian-weak) # the heat program is probed
fi
cd "$here"
mkdir -p "$folder/$side" # each size has its own volume, profile and studies
cd "$folder/$side"

# A volume of noise: what is in it does not matter for the time.
[ -f volume.npy ] || python - "$side" <<'END'
import sys
import numpy as np

side = int(sys.argv[1])
np.save("part.npy", np.random.default_rng(2026).random((side, side, side), "f4"))
END
[ ! -f part.npy ] || mv part.npy volume.npy

# Three scales of smoothing, the finest from the input and each from the one before.
cat >gaussian.toml <<END
[input]
path = "volume.npy"

[[step]]
filter = "gaussian_filter"
name = "fine"
sigma = 2

[[step]]
filter = "gaussian_filter"
name = "middle"
sigma = 4

[[step]]
filter = "gaussian_filter"
name = "coarse"
sigma = 8
save = true

[output]
path = "gaussian.h5"
END
cat >heat.toml <<END
[simulation]
program = "heat"
steps = $steps
shape = $cells
initial = "box"
mode = [1, 1, 1]
check_every = 0

[output]
path = "heat.h5"
END

study() { # study JOB-MODE
    local name=$1 job=${1%-*} mode=${1#*-}
    echo
    echo "\$ mpibatch scale $job.toml --mode $mode --ranks 1,2 --repeat $repeat --folder $name"
    mpibatch scale "$job.toml" --mode "$mode" --ranks 1,2 --repeat "$repeat" --folder "$name" --machine machine.json </dev/null
    echo
    echo "\$ mpibatch report $name"
    mpibatch report "$name"
}

echo "\$ mpiexec -n 2 mpibatch probe gaussian.toml heat.toml"
[ -f machine.json ] || mpiexec -n 2 mpibatch probe gaussian.toml heat.toml --output machine.json --seconds "$seconds" </dev/null
for name in "${studies[@]}"; do
    study "$name"
done
python "$root/scripts/_scaling_picture.py" scaling.png "${studies[@]}"
[ -n "$quick" ] || cp scaling.png "$root/scripts/scaling.png" # which the README shows
echo
echo "The studies and their reports are in $PWD:"
for picture in "$PWD"/scaling.png "$PWD"/*/report/index.html; do echo "  $picture"; done
