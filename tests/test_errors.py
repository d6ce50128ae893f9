"""What an unknown name is answered with."""

import pytest

from resnet_jax import errors
from resnet_jax.config.settings import SETTINGS

AFTER_ADD = SETTINGS["model.after_add"].choices
SHORTCUTS = SETTINGS["model.shortcut"].choices


@pytest.mark.parametrize(
  ("value", "known", "hint"),
  [
    ("gating", SHORTCUTS, "; did you mean 'shortcut_gating' or 'exclusive_gating'? choose from"),
    ("preact", AFTER_ADD, "; did you mean 'full_preact' or 'relu_only_preact'? choose from"),
    ("identiti", SHORTCUTS, "; did you mean 'identity'? choose from"),
    ("stage", ["stem", "stage1", "stage2"], "; did you mean 'stage1' or 'stage2'? choose from"),
    ("cifar-10", ["cifar10", "cifar100", "cifar10_1"], "'cifar10' or 'cifar100' or 'cifar10_1'?"),
    ("xyz", SHORTCUTS, "unknown; choose from"),
    (7, SHORTCUTS, "unknown; choose from"),
  ],
)
def test_all_names_that_are_near_are_offered(value, known, hint):
  assert hint in str(errors.unknown("shortcut", value, known))
