#!/usr/bin/env bash
# Guess: ml_collections.ConfigDict(frozen), of a FrozenConfigDict that was made of a config, is a copy: the frozen one
# cannot change, so neither can what it was made of.
# What happened (ml-collections 1.1.0): the groups of the new ConfigDict are the very objects of the first config. A
# change to them changes that config, while the frozen one between them stays as it was. ConfigDict(config) shares its
# groups too; copy_and_resolve_references() and ConfigDict(frozen.to_dict()) do not. So a function that thawed a
# network's frozen config, to compute statistics with another decay, changed the config of the caller.
# Exits 0 while that is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ml-collections==1.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import sys

from ml_collections import ConfigDict, FrozenConfigDict

print("ml_collections", importlib.metadata.version("ml-collections"))
config = ConfigDict({"norm": {"decay": 0.9}})
frozen = FrozenConfigDict(config)
thawed = ConfigDict(frozen)
print("frozen.norm is config.norm:", frozen.norm is config.norm)
print("thawed.norm is config.norm:", thawed.norm is config.norm)
thawed.norm.decay = 0.0
print("decay of config, frozen, thawed:", config.norm.decay, frozen.norm.decay, thawed.norm.decay)
apart = ConfigDict(frozen.to_dict())
apart.norm.decay = 0.5
found = config.norm.decay, frozen.norm.decay, thawed.norm.decay, apart.norm.decay
sys.exit(found != (0.0, 0.9, 0.0, 0.5))
PYTHON
