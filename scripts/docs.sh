#!/usr/bin/env bash
# Builds the site of guide and reference into out/docs: to be read and searched from the disk, without a server.
# Needs Python >= 3.11 and a package index. Warnings are errors: a docstring or a link that Sphinx cannot read.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/_env.sh

prepare_venv docs
.venv/bin/python scripts/_docs.py out/docs-sources
rm -rf out/docs
.venv/bin/python -m sphinx -q -W --keep-going -b html -c scripts/docs out/docs-sources out/docs
echo "the site is out/docs/index.html"
