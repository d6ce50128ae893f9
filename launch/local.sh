#!/usr/bin/env bash
# Sets up .venv where needed and runs resnet_jax; with no flags, ResNet-1001 on the digits.
#   bash launch/local.sh [--config=... --workdir=... flags of resnet_jax.main]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
set_up
if [ $# -eq 0 ]; then
  set -- --config=configs/preact1001.py:digits --workdir=runs/preact1001-digits
fi
# exec, so that signals reach the run and its exit code comes back (75: run me again).
exec .venv/bin/python -m resnet_jax.main "$@"
