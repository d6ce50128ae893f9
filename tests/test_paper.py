"""The published numbers are found by what a net is."""

import pytest

from resnet_jax import config as config_lib
from resnet_jax import paper


def first(data="cifar10", **model):
  found = paper.find(config_lib.default_config().model.to_dict() | model, data)
  return found[0] if found else None


SET_1 = [
  ({}, "6.61", "a"),
  ({"shortcut": "none"}, "fail (> 20)", "b"),
  ({"shortcut": "scaling", "shortcut_scale": 0.0}, "fail (> 20)", "b"),
  ({"shortcut": "scaling", "shortcut_scale": 0.5}, "fail (> 20)", "b"),
  ({"shortcut": "scaling", "shortcut_scale": 0.5, "residual_scale": 0.5}, "12.35", "b"),
  *(({"shortcut": "exclusive_gating", "gate_bias": -b}, "fail (> 20)", "c") for b in range(6)),
  ({"shortcut": "exclusive_gating"}, "8.70", "c"),
  ({"shortcut": "exclusive_gating", "gate_bias": -7.0}, "9.81", "c"),
  ({"shortcut": "shortcut_gating", "gate_bias": 0.0}, "12.86", "d"),
  ({"shortcut": "shortcut_gating"}, "6.91", "d"),
  ({"shortcut": "conv"}, "12.22", "e"),
  ({"shortcut": "dropout"}, "fail (> 20)", "f"),
]


@pytest.mark.parametrize(("model", "text", "letter"), SET_1)
def test_set_1_is_found_by_its_settings(model, text, letter):
  found = first(**model)
  assert (found.text, found.letter, found.measured_on) == (text, letter, "CIFAR-10")
  assert found.remark == "median of 5 runs"


@pytest.mark.parametrize(
  ("after_add", "resnet110", "resnet164"),
  [
    ("original", "6.61", "5.93"),
    ("bn_after_add", "8.17", "6.50"),
    ("relu_before_add", "7.84", "6.14"),
    ("relu_only_preact", "6.71", "5.91"),
    ("full_preact", "6.37", "5.46"),
  ],
)
def test_set_2_at_both_depths(after_add, resnet110, resnet164):
  assert first(after_add=after_add).text == resnet110
  deep = {"depth": 164, "unit": "bottleneck", "projection": "B", "after_add": after_add}
  assert first(**deep).text == resnet164


def test_its_own_data_set_comes_first_and_another_is_named():
  deep = {"depth": 1001, "unit": "bottleneck", "projection": "B", "after_add": "full_preact"}
  assert first("cifar100", **deep).text == "22.71 (22.68 ± 0.22)"
  assert first("cifar10", **deep).text == "4.92 (4.89 ± 0.14)"
  assert first("digits", **deep).measured_on == "CIFAR-10"
  found = paper.find(deep, "cifar10")
  assert [entry.remark for entry in found[:2]] == ["median of 5 runs", "median of 5 runs, batch 64"]


@pytest.mark.parametrize(
  "model",
  [
    {"shortcut": "exclusive_gating", "gate_bias": -6.5},
    {"shortcut": "dropout", "dropout_rate": 0.3},
    {"depth": 38},
    {"projection": "B"},
    {"shortcut": "conv", "after_add": "full_preact"},
    {"depth": 164, "unit": "bottleneck"},
    {"shortcut": "of_my_own"},
  ],
)
def test_what_was_not_published_is_not_found(model):
  assert first(**model) is None


def test_settings_that_the_shortcut_does_not_read_are_ignored():
  assert first(gate_bias=-3.0, dropout_rate=0.1, shortcut_scale=0.5).text == "6.61"
  assert first(shortcut="none", projection="C").text == "fail (> 20)"
  assert first(shortcut="conv", projection="B", dtype="bfloat16", init="xavier").text == "12.22"


def test_depths_of_r():
  assert [first(depth=d).text for d in (20, 32, 44, 56)] == ["8.75", "7.51", "7.17", "6.97"]
  assert first(depth=1202).text == "7.93"
  assert [e.text for e in paper.find({}, "cifar10")] == ["6.61", "6.43 (6.61 ± 0.16)"]
  assert [e.error for e in paper.find({"shortcut": "none"}, "cifar10")] == [20, 60]


def test_imagenet_by_way_of_testing():
  net = {"family": "imagenet", "depth": 152, "unit": "bottleneck", "projection": "B"}
  found = {(e.source, e.test): (e.text, e.top5) for e in paper.find(net, "imagenette")}
  assert found[("release", "single crop 224")] == ("23.0", 6.7)
  assert found[("[R] table 4", "multi-scale")] == ("19.38", 4.49)
  assert found[("[I] table 5", "single crop 320")] == ("21.3", 5.5)
  assert first("imagenet", **net, stride_on="3x3").text == "22.16"
  thirty_four = {"family": "imagenet", "depth": 34}
  assert [first(**thirty_four, projection=p).error for p in "AB"] == [25.03, 24.52]
