"""The devices of a run as a mesh, and what of a run lies where."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from resnet_jax.errors import UserError


def build() -> Mesh:
  """A mesh of all devices along `data`, over which each batch is spread."""
  return Mesh(np.asarray(jax.devices()), ("data",))


def check(batch_size: int) -> None:
  """Raises a UserError where the devices cannot share a batch of that size."""
  devices = jax.device_count()
  if batch_size % devices:
    below = batch_size - batch_size % devices
    near = [size for size in (below, below + devices) if size]
    raise UserError(
      f"config.data.batch_size={batch_size} cannot be shared by {devices} devices; "
      f"the nearest: {' and '.join(map(str, near))}"
    )


def replicated(mesh: Mesh) -> NamedSharding:
  """Everything on every device: parameters, statistics, the data set."""
  return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh) -> NamedSharding:
  """The leading axis spread over the devices: a batch."""
  return NamedSharding(mesh, PartitionSpec("data"))
