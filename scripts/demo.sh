#!/usr/bin/env bash
# The main job on a real picture, on 2 ranks, then the proof that 1 and 3 ranks give the same bits.
# Needs Python >= 3.11 and a package index; no root, no compiler, no MPI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/_env.sh

prepare_venv demo
PATH="$PWD/.venv/bin:$PATH"
unset MPI4PY_MPIABI MPI4PY_LIBMPI # mpi4py then takes the MPI in .venv, to which this mpiexec belongs
out=out/demo
mkdir -p "$out"
# The Hubble Deep Field (NASA, public domain) as scikit-image ships it; found without importing anything.
picture=$(python -c 'from importlib.metadata import distribution as d
print(d("scikit-image").locate_file("skimage/data/hubble_deep_field.jpg"))')
[ -f "$picture" ] || fail "scikit-image ships no $(basename "$picture") here; another version may: pip install scikit-image==0.26.0"
cp "$picture" "$out/"

run_on() { # run_on RANKS FILE [OPTION...]
    local ranks=$1 file=$2
    shift 2
    echo
    echo "\$ mpiexec -n $ranks mpibatch run scripts/demo.toml --set output.path=$file $*"
    mpiexec -n "$ranks" mpibatch run scripts/demo.toml --set "output.path=$file" "$@" </dev/null
    mpibatch info "$file" --digest --json >"$out/ranks-$ranks.json"
}

run_on 2 "$out/result.h5"
echo
mpibatch view "$out/result.h5::filtered" "$out/filtered.png"
mpibatch view "$out/result.h5::edges" "$out/edges.png"
mpibatch view "$out/result.h5::labels" "$out/galaxies.png" --over gray
mpibatch view "$out/result.h5::galaxies" --rows 5
run_on 1 "$out/on-1-rank.h5" --quiet
run_on 3 "$out/on-3-ranks.h5" --quiet
python scripts/_demo_table.py "$out"/ranks-*.json
echo "Look at $out/galaxies.png and $out/edges.png; the data are in $out/result.h5."
echo "To go on yourself: source $(printf %q "$PWD/.venv/bin/activate") && mpibatch info $out/result.h5"
