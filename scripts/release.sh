#!/usr/bin/env bash
# Makes what a release consists of, in dist/: wheel, sdist, bill of materials, checksums. Options: scripts/release.sh --help
# Needs Python >= 3.11, git and a package index.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/_env.sh

prepare_venv release .venv-release
exec .venv-release/bin/python -m scripts._release "$@"
