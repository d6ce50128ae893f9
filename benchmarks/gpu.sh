#!/usr/bin/env bash
# All that needs a GPU, in ten minutes of one H100 or H200; tables on the terminal, JSON in OUT.
#   OUT=results/gpu bash benchmarks/gpu.sh
# It takes JAX and PyTorch for CUDA: pip install -e '.[cuda,torch]'. Without CIFAR-10 (TFDS_DATA_DIR)
# and no network the whole epochs are left out.
set -uo pipefail
cd "$(dirname "$0")/.."
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

torch=eager,channels_last,channels_last+compile
bf16="--dtype=bfloat16 --repeats=3"
measure resnet110 100 step.py --nets=resnet110 --batch=128 $bf16 --steps=50 --ways="ours,$torch"
measure resnet50 100 step.py --nets=resnet50 --batch=256 $bf16 --steps=10 --ways="ours,$torch"
measure preact1001 150 step.py --nets=preact1001 --batch=128 $bf16 --steps=5 \
  --ways=ours,ours:remat=unit,eager,channels_last
measure paths 60 step.py --nets=resnet110 --batch=128 $bf16 --steps=50 \
  --ways="ours:remat=none,ours:remat=unit,ours:unroll=6,ours:unroll=18"
# XLA's command buffers, without any and with whole loops in them.
XLA_FLAGS=--xla_gpu_enable_command_buffer= \
  measure no-command-buffers 40 step.py --nets=resnet110 --batch=128 $bf16 --steps=50 --ways=ours
XLA_FLAGS=--xla_gpu_enable_command_buffer=FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,CONDITIONAL,WHILE \
  measure while-command-buffers 40 step.py --nets=resnet110 --batch=128 $bf16 --steps=50 --ways=ours
measure epoch 120 epoch.py --net=resnet110 --dtype=bfloat16 --steps=2000 --repeats=1 \
  --peer=channels_last+compile+amp
