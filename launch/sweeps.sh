#!/usr/bin/env bash
# Sets up .venv where needed, runs sweeps of configs/sweeps one after another and makes one page of
# all; with no names, both of the papers' sets on the digits. Given again, it goes on.
#   bash launch/sweeps.sh [shortcuts:digits after_add:digits depth:digits depth ...]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
set_up
if [ $# -eq 0 ]; then set -- shortcuts:digits after_add:digits; fi

# Signals reach the run, as bash alone would wait for its end to heed them.
pass_signals_to() {
  "$@" &
  local child=$! code=0
  trap 'kill -TERM $child 2>/dev/null' TERM INT
  wait $child || code=$?
  if [ $code -gt 128 ]; then code=0; wait $child || code=$?; fi # it was the trap that ended the wait
  trap - TERM INT
  return $code
}

failed=0 folders=()
for sweep in "$@"; do
  file=configs/sweeps/${sweep%%:*}.py folder=runs/${sweep//:/-} code=0
  pass_signals_to .venv/bin/python -m resnet_jax.sweep --workdir="$folder" \
    --config="$file${sweep#"${sweep%%:*}"}" || code=$?
  case $code in
    0) ;;
    2) failed=2 ;; # some runs failed, and the page says so
    *) exit $code ;; # bad input, or stopped
  esac
  folders+=(--workdir="$folder")
done
.venv/bin/python -m resnet_jax.report "${folders[@]}" --out=runs/report
exit $failed
