"""Prepared TFDS image-classification sets by name, read whole, with no TensorFlow."""

import io
import math
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf import json_format
from PIL import Image

from resnet_jax.data import cifar, splits
from resnet_jax.data.dataset import Dataset, Info, Split, assemble, describe
from resnet_jax.data.download import Unreachable
from resnet_jax.errors import UserError, unknown

PHOTOGRAPHS = False
MEMORY = 8 * 2**30  # bytes of images that are read whole
_CHUNK = 1024  # examples that are decoded at a time
# What TFDS raises for names, versions and folders it cannot make sense of, or not without more
# packages than are here.
_UNUSABLE = (ValueError, TypeError, AssertionError, OSError, ImportError, json_format.ParseError)
# What damage was seen to raise: of the file IndexError, ValueError or RuntimeError, the others of
# an image.
DAMAGE = (IndexError, ValueError, RuntimeError, OSError, SyntaxError, Image.DecompressionBombError)
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # trying all that Pillow has is slow
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by the channels of the feature


def info(config: Any) -> Info:
  """The `Info` of a TFDS set, from what TFDS knows of it, prepared or not."""
  _, image, label = _known(config)
  if None in image.shape or image.np_dtype != np.uint8:
    what = f"has images of shape {image.shape} and type {image.np_dtype.__name__}"
    raise _error(config, f"{what}, which are not supported; cifar10 is a set that fits")
  return describe(config, image.shape, tuple(label.names))


def differ_in_size(config: Any) -> bool:
  """Whether the images of a set have no size in common: photographs."""
  return None in _known(config)[1].shape[:2]


def class_names(config: Any) -> tuple[str, ...]:
  """The names of a set's labels, prepared or not."""
  return tuple(_known(config)[2].names)


def load(config: Any) -> Dataset:
  """Both splits, decoded; CIFAR-10 and CIFAR-100 are prepared first where they are not.

  Raises:
    UserError: the set is not prepared, a split does not exist, or an example is damaged.
  """
  info(config)  # what cannot be used need not be prepared
  builder = opened(config)
  train, test = (_read(builder, config, key) for key in ("train_split", "test_split"))
  return assemble(info(config), train, test)


def opened(config: Any) -> Any:
  """The TFDS builder of an image-classification set, once the set is prepared.

  Raises:
    UserError: there is no such set, it is none of images and labels, or it is not prepared.
  """
  builder, _, _ = _known(config)
  return builder if pathlib.Path(builder.data_dir).is_dir() else _prepared(config, builder)


def _known(config: Any) -> tuple[Any, Any, Any]:
  """The builder of an image-classification set, prepared or not, its image and its label."""
  try:
    if not re.fullmatch(r"\w+(/[\w.-]+)*(:[\d.*]+)?", config.name):
      raise tfds.core.registered.DatasetNotFoundError
    builder: Any = tfds.builder(config.name, data_dir=config.dir or None)
  except tfds.core.registered.DatasetNotFoundError:
    names = ["digits", *tfds.list_builders(with_community_datasets=False)]
    error = unknown("config.data.name", config.name, names)
    short = str(error).split("choose from")[0] + "choose digits or an image set of TFDS"
    raise UserError(short) from None
  except _UNUSABLE as error:
    raise _error(config, f"cannot be opened: {_first_line(error)}") from None
  features = dict(builder.info.features or {})
  keys = builder.info.supervised_keys or (None, None)
  image, label = (features.get(key) for key in keys[:2])
  if not (isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel)):
    raise _error(config, "is no image-classification set; cifar10 is one")
  return builder, image, label


def _prepared(config: Any, builder: Any) -> Any:
  place = pathlib.Path(builder.data_dir).parents[builder.info.full_name.count("/")]
  elsewhere = (
    "set TFDS_DATA_DIR or --config.data.dir to a folder where it is prepared, or take the bundled "
    "digits (--config=...:digits, config.data.name=digits)"
  )
  if builder.name not in cifar.NAMES:
    build = f"tfds build {config.name} --file_format=array_record --data_dir={place}"
    prepare = f"prepare it: pip install -e '.[prepare]' && {build}"
    raise _error(config, f"is not prepared in {place}; {elsewhere}, or {prepare}")
  try:
    cifar.prepare(builder)
  except Unreachable as error:
    raise _error(config, f"is not prepared: {error}; {elsewhere}") from None
  except OSError as error:
    raise _error(config, f"cannot be prepared: {error}") from None
  return _known(config)[0]


def data_source(builder: Any, config: Any, key: str) -> Any:
  """Random access to the records of the split `config[key]`, whose images stay encoded.

  Raises:
    UserError: the set has no such split, or is prepared in another format.
  """
  name, image_key = config[key], builder.info.supervised_keys[0]
  _check_split(builder, f"config.data.{key}", name)
  decoders = {image_key: tfds.decode.SkipDecoding()}  # see _FORMATS
  try:
    return builder.as_data_source(split=name, decoders=decoders)
  except NotImplementedError:
    instead = "name another folder by --config.data.dir, or delete it and prepare it again"
    what = f"in {builder.data_dir} is not prepared as array_record; {instead}"
    raise _error(config, what) from None
  except DAMAGE as error:
    raise _error(config, f"in {builder.data_dir} is damaged: {_first_line(error)}") from None


def _check_split(builder: Any, key: str, text: str) -> None:
  """Raises a UserError for a split string that TFDS does not know, or that selects nothing.

  TFDS itself makes a source of negative length of a reversed slice.
  """
  sizes = {part: known.num_examples for part, known in builder.info.splits.items()}
  try:
    found = tfds.core.ReadInstruction.from_spec(text).to_absolute(builder.info.splits)
  except (*_UNUSABLE, NotImplementedError, KeyError, RuntimeError) as error:
    # The first line is about the documentation.
    why = str(error).strip().rpartition("\n")[2][:200] or type(error).__name__
    raise splits.wrong(key, text, sizes, why) from None
  spans = [
    (part.splitname, part.from_ or 0, sizes[part.splitname] if part.to is None else part.to)
    for part in found
  ]
  splits.check(key, text, spans, sizes)


def _read(builder: Any, config: Any, key: str) -> Split:
  source, name = data_source(builder, config, key), config[key]
  image_key, label_key = builder.info.supervised_keys[:2]
  total = len(source)
  shape = builder.info.features[image_key].shape
  if total * math.prod(shape) > MEMORY:
    raise UserError(
      f"config.data.{key}={name!r} has {total} images of shape {shape}, more than the "
      f"{MEMORY // 2**30} GiB that are held in memory; take a part, such as "
      f"{splits.part(name)}[:10%]"
    )
  place = f"{config.name} in {builder.data_dir}"
  images, labels = np.empty((total, *shape), np.uint8), np.empty(total, np.int32)
  for first in range(0, total, _CHUNK):
    numbers = range(first, min(first + _CHUNK, total))
    examples = _examples(source, numbers)
    for number in numbers:
      try:
        example = next(examples)
        images[number], labels[number] = _decoded(example[image_key], shape), example[label_key]
      except DAMAGE as error:
        what = f"is damaged: {_first_line(error)}"
        raise UserError(f"example {number} of split {name!r} of {place} {what}") from None
  return Split(images, labels)


def _decoded(encoded: bytes, shape: tuple[int, int, int]) -> np.ndarray:
  """An image in the channels of its feature, as `tf.image.decode_image` gives it: uint8 [H, W, C].

  Grey, palette and CMYK become RGB, or any of them grey; alpha is dropped, or all opaque; 16 bits
  become 8.
  """
  with Image.open(io.BytesIO(encoded), formats=_FORMATS) as opened:
    image: Image.Image = opened
    if image.size != (shape[1], shape[0]):
      raise ValueError(f"it has {image.width} x {image.height} pixels")
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip
      image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode != _MODES[shape[2]]:
      image = image.convert(_MODES[shape[2]])
    return np.asarray(image).reshape(shape)


def _examples(source: Any, numbers: range) -> Iterator[dict[str, Any]]:
  try:
    return iter(source.__getitems__(numbers))  # much faster than one by one
  except DAMAGE:
    return map(source.__getitem__, numbers)  # up to the damaged one


def _error(config: Any, what: str) -> UserError:
  return UserError(f"config.data.name={config.name!r} {what}")


def _first_line(error: Exception) -> str:
  return str(error).strip().partition("\n")[0][:300] or type(error).__name__
