#!/usr/bin/env bash
# One run on a Cloud TPU, a process on each of its hosts; made again when it is taken away.
#   TPU=resnet ZONE=us-west4-a TYPE=v5litepod-256 DEVICES=256 bash launch/tpu-vm.sh \
#     --config=configs/imagenet/preact200.py:torch,imagenet2012 --workdir=/shared/runs/preact200
# gcloud must be signed in. The workdir lies on a file system that outlives the TPU and that its
# first host at least has mounted, such as Filestore.
#
# what to edit | default                | what it is
# -------------|------------------------|------------------------------------------------------
# TPU          |                        | the name it gets, or has
# ZONE         |                        | where
# TYPE         | v5litepod-8            | the accelerator type
# DEVICES      | 8                      | chips of that type; other numbers are refused
# VERSION      | v2-alpha-tpuv5-lite    | the software of its hosts
# CREATE       | --spot                 | more flags for its creation, such as --network
# RESTARTS     | 100                    | how often at most
set -euo pipefail
cd "$(dirname "$0")/.."
tpu=(gcloud compute tpus tpu-vm) at=("${TPU:?name the TPU}" --zone="${ZONE:?name its zone}")
read -ra create <<<"${CREATE---spot}"

ready() {
  [ "$("${tpu[@]}" describe "${at[@]}" --format='value(state)' 2>/dev/null)" = READY ]
}

make() { # a TPU that was taken away stays in the list until it is deleted
  "${tpu[@]}" delete "${at[@]}" --quiet 2>/dev/null || true
  "${tpu[@]}" create "${at[@]}" --accelerator-type="${TYPE:-v5litepod-8}" \
    --version="${VERSION:-v2-alpha-tpuv5-lite}" "${create[@]}" --quiet
}

code=1
for ((attempt = 0; attempt <= ${RESTARTS:-100}; attempt++)); do
  if ready || make; then
    git archive --prefix=resnet_jax/ --output=/tmp/resnet_jax.tgz HEAD
    "${tpu[@]}" scp /tmp/resnet_jax.tgz "${TPU}:" --zone="$ZONE" --worker=all --quiet
    code=0 # JAX finds the other hosts by itself
    "${tpu[@]}" ssh "${at[@]}" --worker=all --quiet --command="tar xzf resnet_jax.tgz &&
      cd resnet_jax && EXTRA=tpu bash launch/local.sh $(printf '%q ' --devices="${DEVICES:-8}" "$@")" ||
      code=$?
    if [ $code -le 1 ]; then exit $code; fi # done, or bad input
  fi
  echo "exit code $code: again"
  sleep "${PAUSE:-60}"
done
exit $code
