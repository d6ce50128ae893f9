"""The distributions of the random crops, and boxes that lie inside."""

import numpy as np
import pytest

from resnet_jax.data.photos import crops
from resnet_jax.errors import UserError

SIZES = [(375, 500), (500, 375), (224, 224), (1, 1), (3, 2000), (97, 60)]


@pytest.mark.parametrize("kind", crops.KINDS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_boxes_lie_inside_and_are_not_empty(kind, height, width):
  rng = np.random.default_rng(0)
  for _ in range(300):
    left, top, right, bottom = crops.draw(kind, height, width, 224, rng)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


@pytest.mark.parametrize("size", [224, 64])
def test_scale_resizes_the_shorter_side_to_256_to_480(size):
  rng = np.random.default_rng(0)
  boxes = np.array([crops.scale(2000, 3000, size, rng) for _ in range(4000)])
  sides = boxes[:, 2] - boxes[:, 0]
  np.testing.assert_array_equal(sides, boxes[:, 3] - boxes[:, 1])
  shorter = 2000 * 224 / sides
  assert 255 < shorter.min() < 259
  assert 474 < shorter.max() < 481
  assert abs(shorter.mean() - 368) < 4
  places = boxes[:, 0] / (3000 - sides)
  assert abs(places.mean() - 0.5) < 0.02
  assert places.min() < 0.01 < 0.99 < places.max()


def test_scale_aspect_takes_8_to_100_percent_with_aspects_of_three_quarters_to_four_thirds():
  rng = np.random.default_rng(0)
  boxes = np.array([crops.scale_aspect(3000, 3000, 224, rng) for _ in range(4000)])
  wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
  areas, aspects = wide * high / 9e6, wide / high
  assert 0.079 < areas.min() < 0.09
  assert areas.max() < 1.001
  assert 0.74 < aspects.min() < 0.76
  assert 1.32 < aspects.max() < 1.34
  assert abs(np.median(np.log(aspects))) < 0.02
  assert abs(areas[areas < 0.5].mean() - 0.29) < 0.01  # uniform where every aspect fits


def test_what_never_fits_is_the_square_in_the_centre():
  assert crops.scale_aspect(10, 1000, 224, np.random.default_rng(0)) == (495, 0, 505, 10)


def test_an_unknown_kind_is_named():
  with pytest.raises(UserError, match=r"config.data.crop='scales'.*did you mean 'scale'"):
    crops.check("scales")
