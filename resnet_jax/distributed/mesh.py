"""The devices of a run as a mesh, how its processes come together, and what lies where.

A run may be one process or several, on one host or many: JAX runs the same program in each, and
every array of the training spans the devices of all.
"""

import collections
import contextlib
import importlib.util
import os
import sys
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from resnet_jax.errors import UserError

HEARTBEAT_SECONDS = 110  # without one JAX itself ends a process; peers.Lookout is to be earlier


def start(
  coordinator: str | None = None,
  process_id: int | None = None,
  num_processes: int | None = None,
  devices: int | None = None,
) -> None:
  """Joins the other processes of the run, before anything is computed.

  With no arguments the others are those of the SLURM step or of the TPU slice, if there are any.

  Args:
    coordinator: host:port of process 0, a port that is free there.
    process_id: which of the processes this is, from 0.
    num_processes: how many there are.
    devices: how many all processes together must have; None is as many as there are.

  Raises:
    UserError: the arguments do not fit together, or the devices are not those expected.
  """
  given = _explicit(coordinator, process_id, num_processes)
  jax.config.update("jax_enable_preemption_service", False)  # signals are ours, see preemption.py
  if given:
    _initialize(cluster_detection_method="deactivate", **given)
  elif int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
    _initialize(cluster_detection_method="slurm")
  elif importlib.util.find_spec("libtpu") and os.environ.get("JAX_PLATFORMS", "tpu")[:3] == "tpu":
    with contextlib.suppress(ValueError):  # this host is alone
      _initialize()
  if devices is not None and devices != jax.device_count():
    raise UserError(
      f"--devices={devices}: there are {jax.device_count()} ({jax.devices()[0].device_kind}), "
      f"{jax.local_device_count()} of them in process {jax.process_index()} of "
      f"{jax.process_count()}"
    )
  each = collections.Counter(device.process_index for device in jax.devices())
  if len(set(each.values())) > 1:
    raise UserError(f"the processes have different numbers of devices: {dict(each)}")


def _explicit(coordinator, process_id, num_processes) -> dict[str, Any]:
  """What the three flags say, as JAX takes it; nothing where none is given."""
  given = dict(coordinator_address=coordinator, process_id=process_id, num_processes=num_processes)
  missing = [f"--{name.removesuffix('_address')}" for name in given if given[name] is None]
  if len(missing) == len(given):
    return {}
  if missing:
    raise UserError(
      f"{' and '.join(missing)} must be given too: --coordinator=HOST:PORT of process 0, "
      "--process_id=0, 1, ... and --num_processes"
    )
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdecimal():
    raise UserError(f"--coordinator={coordinator!r} is no HOST:PORT, such as node1:8476")
  if not 0 <= process_id < num_processes:
    raise UserError(f"--process_id={process_id} must be 0 to {num_processes - 1}")
  return given


def _initialize(**given: Any) -> None:
  # If they do not come, JAX aborts after that time with words that do not say whom it waited for.
  where = f" at {given['coordinator_address']}" if given.get("coordinator_address") else ""
  print(f"waiting for the other processes{where}, for five minutes at most", file=sys.stderr)
  jax.distributed.initialize(
    heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    shutdown_timeout_seconds=HEARTBEAT_SECONDS,
    **given,
  )


def build() -> Mesh:
  """A mesh of all devices along `data`, over which each batch is spread."""
  return Mesh(np.asarray(jax.devices()), ("data",))


def own() -> Mesh:
  """A mesh of the devices of this process alone."""
  return Mesh(np.asarray(jax.local_devices()), ("data",))


def check(batch_size: int, seeds: int = 1) -> None:
  """Raises a UserError where seeds cannot share the devices, or a seed's devices its batch."""
  devices, rest = divmod(jax.device_count(), seeds)
  if rest or not devices:
    count = jax.device_count()
    more = f"XLA_FLAGS=--xla_force_host_platform_device_count={seeds} makes {seeds} of a CPU; "
    raise UserError(
      f"--seeds={seeds}: {count} device{'s' * (count > 1)} cannot be shared equally by so many; "
      f"{more if jax.default_backend() == 'cpu' else ''}"
      "a sweep without --together gives each seed a process"
    )
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


def place(tree: Any, sharding: Any) -> Any:
  """Arrays of the host on the devices, of which each process gives its share: all of what is
  replicated, and of a batch what its own devices are to hold.
  """
  return jax.tree.map(
    lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), tree
  )


def local(tree: Any) -> Any:
  """What is replicated, as arrays of this process's devices alone; nothing is copied."""
  if jax.process_count() == 1:
    return tree
  here = replicated(own())

  def mine(array: jax.Array) -> jax.Array:
    shards = [shard.data for shard in array.addressable_shards]
    return jax.make_array_from_single_device_arrays(array.shape, here, shards)

  return jax.tree.map(mine, tree)
