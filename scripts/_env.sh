# Sourced by the other scripts: finds a Python and keeps .venv at the repository's root up to date.
# shellcheck shell=bash

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Sets `python` to the first Python that is new enough: $PYTHON if given, else what the PATH has.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.14 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            python=$candidate
            return
        fi
    done
    fail "mpibatch needs Python 3.11 or newer; found: $(python3 --version 2>&1 || echo none)." \
        "Install one, or name it: PYTHON=/path/to/python3.12 $0"
}

# prepare_venv EXTRAS: .venv with this package (editable) and these extras. Re-used as long as neither
# pyproject.toml nor the place of the repository has changed: a stamp of both is left in it.
prepare_venv() {
    local extras=$1 stamp=".venv/ready-${1//,/-}" wanted
    wanted=$(pwd && cat pyproject.toml)
    if [ -x .venv/bin/python ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    if ! [ -x .venv/bin/python ] || ! grep -qF "$(pwd)/.venv" .venv/bin/activate; then
        find_python
        echo "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv || {
            rm -rf .venv
            fail "'$python -m venv' failed (Debian and Ubuntu need the package python3-venv)."
        }
    fi
    echo "installing mpibatch[$extras] into .venv"
    .venv/bin/python -m pip install -qq --disable-pip-version-check --editable ".[$extras]" ||
        fail "pip could not install mpibatch[$extras]: is a package index within reach?"
    printf '%s\n' "$wanted" >"$stamp"
}
