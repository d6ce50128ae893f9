"""What a study is given: a network, its variables, and a batch of its training images."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ml_collections

from resnet_jax import api, models
from resnet_jax.data.batch import Batch
from resnet_jax.errors import UserError
from resnet_jax.models import resnet
from resnet_jax.models.units import ResidualUnit
from resnet_jax.study import watch
from resnet_jax.study.words import require_units
from resnet_jax.training import evaluation, feed, steps
from resnet_jax.training import setup as setup_lib


@dataclasses.dataclass(frozen=True, eq=False)
class Net:
  """A network to be studied. What is expensive is made when it is first asked for.

  Attributes:
    config: of the run, which may have been trained or not.
    folder: of the run, whose last checkpoint is studied; None: the network as it is initialized.
    examples: how many training images `batch` has.
  """

  config: Any
  folder: pathlib.Path | None = None
  examples: int = 32

  @functools.cached_property
  def setup(self) -> setup_lib.Setup:
    """Data, network and task, with batches of `examples`."""
    config = ml_collections.ConfigDict(self.config.to_dict())
    config.data.batch_size = self.examples
    return setup_lib.setup(config)

  @property
  def learner(self) -> steps.Learner:
    """The network and its task."""
    return self.setup.learner

  @functools.cached_property
  def variables(self) -> dict[str, Any]:
    """`params` and `batch_stats`.

    Raises:
      UserError: the run has no whole checkpoint.
    """
    setup = self.setup  # it cannot be made within a trace, where `loss` would first ask for it
    if self.folder is not None:
      _, _, state, _ = api.restore(self.folder, "last", self.config)
    else:
      state = jax.jit(steps.init, static_argnums=(0, 1))(setup.learner, setup.dataset.info.shape)
    return state.variables

  @functools.cached_property
  def batch(self) -> Batch:
    """The first training images, of a run with such batches: normalized, not augmented."""
    batches = contextlib.closing(feed.build(self.setup).batches())
    with jax.ensure_compile_time_eval(), batches as all_of_them:  # it may be asked for in a trace
      return self.learner.task.normalize(next(all_of_them))

  @functools.cached_property
  def tested(self) -> Batch:
    """The first test images, 512 at most, normalized; `valid` is False for padding."""
    with jax.ensure_compile_time_eval():
      first = next(evaluation.groups(self.setup.own()))
      return self.learner.task.normalize(first.batch)

  @property
  def key(self) -> jax.Array:
    """The random key of the step: of dropout, and whatever a study draws."""
    return self.learner.key(2)

  def loss(
    self, variables: Mapping[str, Any], keep: Sequence[str] = (), batch: Batch | None = None
  ) -> tuple[jax.Array, Mapping[str, Any]]:
    """The loss of a batch in training mode, and what the network leaves in the collections `keep`.

    Args:
      variables: of the network; further collections, such as `perturbations`, reach the units.
      keep: such as "intermediates", where units sow.
      batch: another than `batch`.
    """
    batch = self.batch if batch is None else batch
    outputs, kept = self.learner.model.apply(
      variables,
      batch.images,
      train=True,
      mutable=["batch_stats", *keep],
      rngs={"dropout": self.key},
    )
    loss = self.learner.task.loss(outputs, batch)[0]
    return loss, {name: kept.get(name, {}) for name in keep}

  def test(self, variables: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of the test split, by name, in evaluation mode."""
    here = self.setup.own()
    found = evaluation.evaluate(here, variables, evaluation.groups(here))
    assert found is not None
    evaluation.check_read(found, here)
    return found.metrics

  def units(self, tree: Mapping[str, Any]) -> list[Any]:
    """Each unit's share of a tree of parameters, statistics, or of what units have sown.

    Raises:
      UserError: the network has no units, or they have sown nothing.
    """
    self.require_units()
    if not tree:
      raise UserError("no unit has sown anything; sow in the function that watch.units is given")
    return models.by_unit(self.config.model, tree)

  def require_units(self) -> None:
    """Raises a UserError unless the network consists of residual units, or plain ones."""
    require_units(self.config)

  @functools.cached_property
  def modules(self) -> list[ResidualUnit]:
    """The units by themselves, to be applied to their share of the variables: `alone`."""
    found: dict[tuple[str, ...], ResidualUnit] = {}

    def call(unit: ResidualUnit, following: Any, *given: Any) -> Any:
      found[unit.path] = unit.clone(parent=None)
      return following(*given)

    with watch.units(call):
      jax.eval_shape(self.loss, self.variables)
    counts = resnet.units_per_stage(self.config.model)
    return [
      found[f"stage{stage + 1}", "rest" if number else "first"]
      for stage, count in enumerate(counts)
      for number in range(count)
    ]

  @functools.cached_property
  def dropout_key(self) -> jax.Array:
    """What the network hands to its units, which fold in their numbers, when its key is `key`."""
    key: Any = self.learner.model.apply(
      {}, rngs={"dropout": self.key}, method=lambda model: model.make_rng("dropout")
    )
    return key  # type: ignore[no-any-return]

  def alone(self, number: int) -> Callable[[Any, jax.Array, Any], jax.Array]:
    """A unit as a function of its share of the variables, its input, and its number, from 0."""
    module, key = self.modules[number], self.dropout_key

    def unit(variables: Any, x: jax.Array, number: Any) -> jax.Array:
      y: Any = module.apply(variables, x, number, key, mutable=["batch_stats"])
      return watch.written(y[0])

    return unit


def of_each(function: Callable[[Any], Any], tree: Mapping[str, Any]) -> dict[str, Any]:
  """`function` of each unit's share of a tree, in a tree that `Net.units` takes apart.

  The units of a stage's loop are stacked: they are mapped at once, however many there are.
  """
  return {
    stage: {
      name: (jax.vmap(function) if name == "rest" else function)(share)
      for name, share in shares.items()
    }
    for stage, shares in tree.items()
  }
