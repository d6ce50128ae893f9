#!/usr/bin/env bash
# Sets up .venv where needed, runs sweeps of configs/sweeps one after another and makes one page of
# all; with no names, both of the papers' sets on the digits. Given again, it goes on.
#   bash launch/sweeps.sh [shortcuts:digits after_add:digits depth:digits depth ...]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
set_up
if [ $# -eq 0 ]; then set -- shortcuts:digits after_add:digits; fi
failed=0 folders=()
for sweep in "$@"; do
  file=configs/sweeps/${sweep%%:*}.py folder=runs/${sweep//:/-} code=0
  .venv/bin/python -m resnet_jax.sweep --config="$file${sweep#"${sweep%%:*}"}" \
    --workdir="$folder" || code=$?
  case $code in
    0) ;;
    1) [ -e "$folder/sweep.json" ] || exit 1 # bad input; else a run failed, and the page says so
      failed=1 ;;
    *) exit $code ;; # stopped
  esac
  folders+=(--workdir="$folder")
done
.venv/bin/python -m resnet_jax.report "${folders[@]}" --out=runs/report
exit $failed
