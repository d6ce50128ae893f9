#!/usr/bin/env bash
# All that needs a GPU, in some ten minutes of one H100 or H200; tables on the terminal, JSON in OUT.
#   OUT=results/gpu bash benchmarks/gpu.sh
# It takes JAX and PyTorch for CUDA: pip install -e '.[cuda,torch]'. Without CIFAR-10 (TFDS_DATA_DIR)
# and no network the whole epochs are left out.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
out=${OUT:-results/gpu}
python=${PYTHON:-python}
mkdir -p "$out"

# NAME SECONDS SCRIPT [flags]: one that fails or takes too long leaves the others alone.
measure() {
  local name=$1 seconds=$2 script=$3
  shift 3
  echo "== $name: $script $*"
  timeout "$seconds" "$python" "benchmarks/$script" "$@" --json="$out/$name.json" 2>"$out/$name.err" ||
    { echo "no result (exit code $?); the last of $out/$name.err:"; tail -n 3 "$out/$name.err"; }
}

bf16=(--dtype=bfloat16 --repeats=3)
any=--xla_gpu_exclude_nondeterministic_ops=false  # what the package leaves out
measure bits 60 processes.py bits
XLA_FLAGS=$any measure bits-any-kernel 60 processes.py bits
measure checkpoints 120 processes.py checkpoints --net=preact1001 --batch=128 "${bf16[@]}" --steps=20
peers=channels_last,channels_last+graph
measure step-resnet110 80 step.py --nets=resnet110 --batch=128 "${bf16[@]}" --steps=50 \
  --ways="ours,eager,$peers"
measure step-resnet50 80 step.py --nets=resnet50 --batch=256 "${bf16[@]}" --steps=10 \
  --ways="ours,$peers"
measure step-preact1001 80 step.py --nets=preact1001 --batch=128 "${bf16[@]}" --steps=5 \
  --ways="ours,$peers"
for net in "resnet110 128 50" "resnet50 256 10" "preact1001 128 5"; do
  read -r name batch steps <<<"$net"
  XLA_FLAGS=$any measure "any-kernel-$name" 60 step.py --nets="$name" --batch="$batch" "${bf16[@]}" \
    --steps="$steps" --ways=ours
done
measure compile-resnet110 180 step.py --nets=resnet110 --batch=128 "${bf16[@]}" --steps=50 \
  --ways="ours,ours:unroll=17,channels_last+compile"
measure seeds 60 seeds.py --config=configs/resnet.py:depth=20,digits --repeats=3
measure epoch 120 epoch.py --net=resnet110 --dtype=bfloat16 --steps=2000 --repeats=1 \
  --peer=channels_last+graph+amp
