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
  folder=runs/${sweep/:/-} code=0
  data=${sweep#"${sweep%%:*}"}
  .venv/bin/python -m resnet_jax.sweep --config="configs/sweeps/${sweep%%:*}.py$data" \
    --workdir="$folder" || code=$?
  if [ $code -gt 1 ]; then exit $code; fi # stopped; 1 is a run that failed, which is on the page
  if [ $code -eq 1 ]; then failed=1; fi
  [ -e "$folder/sweep.json" ] || exit $code # nothing was begun
  folders+=(--workdir="$folder")
done
.venv/bin/python -m resnet_jax.report "${folders[@]}" --out=runs/report
exit $failed
