#!/usr/bin/env bash
# Guess: TFDS takes a reversed slice, train[90%:10%], for an empty one or refuses it, as it refuses train[5:5].
# What happened (tensorflow-datasets 4.9.10, array-record 0.8.6): as_data_source returns a source of a negative
# number of records, -80 of 100. len() of it is a ValueError; its file instructions say take=-80.
# Exits 0 while that is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow-datasets==4.9.10 array-record==0.8.6 \
  importlib-resources==7.1.0 pillow==13.0.0
"$folder/venv/bin/python" - "$folder/data" <<'PYTHON'
import io
import sys

import tensorflow_datasets as tfds
from PIL import Image

print("tensorflow_datasets", tfds.__version__)
builder = tfds.builder("mnist", data_dir=sys.argv[1])
file = io.BytesIO()
Image.new("L", (28, 28)).save(file, "PNG")
examples = ((number, {"image": file.getvalue(), "label": number % 10}) for number in range(100))
builder._split_generators = lambda _: {"train": examples}
builder.download_and_prepare(
  file_format="array_record",
  download_config=tfds.download.DownloadConfig(try_download_gcs=False),
)
try:
  builder.as_data_source(split="train[5:5]")
except ValueError as error:
  print("train[5:5]:", error)
source = builder.as_data_source(split="train[90%:10%]")
print("train[90%:10%]:", builder.info.splits["train[90%:10%]"].file_instructions)
try:
  length = len(source)
except ValueError as error:
  length = str(error)
print("length:", length)
sys.exit(length != "__len__() should return >= 0")
PYTHON
