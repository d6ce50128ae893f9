#!/usr/bin/env bash
# One run on several hosts, a process on each, begun anew until it is done. Ctrl-C has it saved.
#   HOSTS="node1 node2" bash launch/ssh.sh --config=configs/preact1001.py --workdir=runs/preact1001
# ssh must reach the hosts without asking, and the checkout lie at the same path on all; the first
# host alone reads and writes the workdir.
#
# what to edit | default   | what it is
# -------------|-----------|------------------------------------------------------------------
# HOSTS        |           | as ssh takes them, the first the coordinator, which others reach by it
# FOLDER       | this one  | of the checkout on the hosts
# PORT         | 8476      | free on the first host
# EXTRA        | cuda      | or cpu, tpu: the JAX that they get
# RESTARTS     | 100       | how often at most
set -euo pipefail
cd "$(dirname "$0")/.."
read -ra hosts <<<"${HOSTS:?"name the hosts: HOSTS=\"node1 node2\" bash launch/ssh.sh ..."}"
folder=${FOLDER:-$PWD} port=${PORT:-8476} extra=${EXTRA:-cuda}
coordinator=${hosts[0]#*@}:$port pidfile=/tmp/resnet_jax-$port stopped=""

start() { # of process $1 with the flags behind; the remote shell becomes the run
  local number=$1 command
  shift
  command=$(printf '%q ' bash launch/local.sh "$@" --coordinator="$coordinator" \
    --process_id="$number" --num_processes="${#hosts[@]}")
  # shellcheck disable=SC2029 # the variables are this side's
  ssh -n -o ServerAliveInterval=30 "${hosts[$number]}" \
    "cd $(printf %q "$folder") && echo \$\$ >$pidfile-$number && EXTRA=$extra exec $command"
}

stop() {
  stopped=yes
  for number in "${!hosts[@]}"; do
    # shellcheck disable=SC2029
    ssh -n "${hosts[$number]}" "kill -TERM \$(cat $pidfile-$number)" 2>/dev/null || true
  done
}
trap stop TERM INT

for ((attempt = 0; attempt <= ${RESTARTS:-100}; attempt++)); do
  processes=() worst=0
  for number in "${!hosts[@]}"; do
    start "$number" "$@" &
    processes+=($!)
  done
  for process in "${processes[@]}"; do
    code=0
    wait "$process" || code=$?
    while kill -0 "$process" 2>/dev/null; do # it was a signal that ended the wait
      code=0
      wait "$process" || code=$?
    done
    # Bad input (1) goes before what another start mends: 75, a kill or a host that is gone (255).
    if [ $code = 1 ] || { [ $worst != 1 ] && [ $code -gt $worst ]; }; then worst=$code; fi
  done
  if [ "$worst" -le 1 ] || [ -n "$stopped" ]; then exit "$worst"; fi
  echo "exit code $worst: again"
  sleep 5
done
exit "$worst"
