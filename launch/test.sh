#!/usr/bin/env bash
# Sets up .venv with what the tests need, then lint, format, types and tests.
#   bash launch/test.sh [flags of pytest, such as -m "not slow"]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
set_up 1
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
exec .venv/bin/python -m pytest -n 2 --dist=worksteal "$@"
