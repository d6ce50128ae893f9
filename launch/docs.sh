#!/usr/bin/env bash
# Builds the documentation into docs/build, with warnings as errors.
#   bash launch/docs.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
set_up 1
.venv/bin/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/build
echo "docs/build/index.html"
