# Sourced by the other scripts: finds a Python and keeps .venv, or another environment, at the repository's root up to date.
# shellcheck shell=bash

# What the scripts start again and again is compiled once.
unset PYTHONDONTWRITEBYTECODE

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

# prepare_venv EXTRAS [FOLDER]: FOLDER (.venv) with this package (editable) and these extras. Re-used as long as neither
# pyproject.toml nor the place of the repository has changed: a stamp of both is left in it.
prepare_venv() {
    local extras=$1 venv=${2:-.venv} wanted
    local stamp="$venv/ready-${1//,/-}"
    wanted=$(pwd && cat pyproject.toml)
    if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    if ! [ -x "$venv/bin/python" ] || ! grep -qF "$(pwd)/$venv" "$venv/bin/activate"; then
        find_python
        echo "making $venv with $("$python" --version)"
        "$python" -m venv --clear "$venv" || {
            rm -rf "$venv"
            fail "'$python -m venv' failed (Debian and Ubuntu need the package python3-venv)."
        }
    fi
    echo "installing mpibatch[$extras] into $venv"
    # What is imported is compiled then; most of what is installed never is.
    "$venv/bin/python" -m pip install -qq --no-compile --disable-pip-version-check --editable ".[$extras]" ||
        fail "pip could not install mpibatch[$extras]: is a package index within reach?"
    printf '%s\n' "$wanted" >"$stamp"
}

# install_peers [--no-deps] NAME...: into .venv, ready-made, what tests compare with. Sets `why` and fails where not.
install_peers() {
    local options=() missing
    [ "$1" != --no-deps ] || { options=("$1") && shift; }
    mapfile -t missing < <(.venv/bin/python -c '
import importlib.metadata, sys
there = {str(package.metadata["Name"]).lower() for package in importlib.metadata.distributions()}
for name in sys.argv[1:]:
    name in there or print(name)' "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installing ${missing[*]}"
    .venv/bin/python -m pip install -qq --no-compile --only-binary :all: --disable-pip-version-check \
        "${options[@]}" "${missing[@]}" || {
        # shellcheck disable=SC2034  # whoever called reads it
        why="'pip install ${options[*]} ${missing[*]}' failed"
        return 1
    }
}

# install_packages NAME...: Debian's packages, where this user may install them. Sets `why` and fails where not.
install_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null || {
        why="no Debian or Ubuntu, whose packages are needed: $*"
        return 1
    }
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || {
        why="not root, and these are missing: apt-get install ${missing[*]}"
        return 1
    }
    echo "installing ${missing[*]}"
    # Two runs at once wait for one another.
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && apt-get -qq -o DPkg::Lock::Timeout=120 install --no-install-recommends "${missing[@]}" >/dev/null; } || {
        # shellcheck disable=SC2034  # whoever called reads it
        why="'apt-get install ${missing[*]}' failed"
        return 1
    }
}
