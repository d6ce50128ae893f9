#!/usr/bin/env bash
# ImageNet in miniature, from photographs to a net of your own: trains ResNet-18 on a folder of class
# folders, kills it and goes on, tests it in the papers' four ways, classifies a photograph, writes
# features and fine-tunes. Half an hour on two cores; stopped and given again it goes on.
#   bash launch/miniature.sh FOLDER [WORKDIR [flags of resnet_jax.main for the training]]
# FOLDER holds train/<label>/*.jpg and val/<label>/*.jpg.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -eq 0 ] || [ ! -d "$1/train" ] || [ ! -d "$1/val" ]; then
  echo "error: name a folder that holds train/<label>/*.jpg and val/<label>/*.jpg" >&2
  exit 1
fi
folder=$1 workdir=${2:-runs/miniature}
shift $(($# > 2 ? 2 : $#))
source launch/setup.sh
set_up
python=.venv/bin/python
train=("$python" -m resnet_jax.main --config="configs/imagenet/miniature.py:dir=$folder"
  --workdir="$workdir" "$@")

# A kill -9 as soon as there is a checkpoint, whose folder bears its step alone, unlike one that is
# being written; what is done already is not killed again.
shopt -s extglob
if [ ! -e "$workdir/result.json" ]; then
  "${train[@]}" &
  run=$!
  until compgen -G "$workdir/checkpoints/+([0-9])/position" >/dev/null || ! kill -0 $run 2>/dev/null; do
    sleep 0.2
  done
  kill -9 $run 2>/dev/null && echo "killed; going on"
  wait $run 2>/dev/null || true
fi
"${train[@]}"

for test in single 320 10-crop multi-scale; do
  echo "$test:"
  "$python" -m resnet_jax.main --mode=eval --workdir="$workdir" --test=$test
done
echo "single, BN statistics of 40 training batches:"
"$python" -m resnet_jax.main --mode=eval --workdir="$workdir" --precise_bn=40

photograph=$(find -L "$folder/val" -type f | sort | head -n 1)
"$python" -m resnet_jax.classify --model="$workdir" "$photograph"
"$python" -m resnet_jax.features --model="$workdir" --dir="$folder/val" --out="$workdir-features.npz"
"$python" -m resnet_jax.main --workdir="$workdir-finetuned" \
  --config="configs/finetune.py:weights=$workdir,dir=$folder" --config.finetune.frozen=stem,stage1 \
  --config.train.steps="2 epochs"
