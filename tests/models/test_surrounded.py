"""Convolutions with what stands around them, by kernels of our own, against plain operations."""

import functools
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hessian import check, forward_over_reverse, products
from jax import lax

from resnet_jax import native
from resnet_jax.models import surrounded as definition
from resnet_jax.models.convolution import NHWC, Geometry
from resnet_jax.models.operation import KEPT
from resnet_jax.models.surrounded import surrounded
from resnet_jax.native import library
from tests.hurry import FLAGS, OPTIONS, evaluate


@pytest.fixture(scope="module", autouse=True)
def compiles():
  if not library.available():
    pytest.skip("there is no C++ compiler")


def plain(x, kernel, affine=None, add=None, *, relu=False, at):
  z = x
  if affine is not None:
    z = z * affine[0][:, None, None, :] + affine[1][:, None, None, :]
  if relu:
    z = jnp.maximum(z, 0)
  y = lax.conv_general_dilated(
    z, kernel, at.strides, at.padding, rhs_dilation=at.dilation, dimension_numbers=NHWC
  )
  if add is not None:
    y = y + add
  mean = jnp.mean(y, (1, 2))
  return y, mean, jnp.sum((y - mean[:, None, None]) ** 2, (1, 2)), x


def defined(x, kernel, affine=None, add=None, **static):
  return definition._defined(x, kernel, affine, add, **static)


def case(shape, kernel, vectors, stride=1, dilation=1, has="affine relu add", dtype="float64"):
  """Values for x of that shape and so many vectors of outputs, and the static arguments."""
  random = np.random.default_rng(0)
  outputs, has = vectors * native.lanes(dtype), has.split()
  at = Geometry((stride,) * 2, ((kernel // 2 * dilation,) * 2,) * 2, (dilation,) * 2)
  size = kernel, kernel, shape[-1], outputs

  def draw(*shape, around=0.0, by=1.0):
    return (around + by * random.standard_normal(shape)).astype(dtype)

  x, w = draw(*shape), draw(*size, by=1 / (kernel * np.sqrt(shape[-1])))
  of_images = shape[0], shape[-1]
  affine = draw(*of_images, around=1, by=0.3), draw(*of_images, by=0.3)
  add = draw(shape[0], *at.size(shape, size), outputs)
  values = x, w, affine if "affine" in has else None, add if "add" in has else None
  return values, {"relu": "relu" in has, "at": at}


def loss(operation, static, *values, moments=True):
  """To which every result counts, each of its values otherwise; and the results."""
  results = operation(*values, **static)
  weights = [jnp.cos(jnp.arange(one.size, dtype=one.dtype)).reshape(one.shape) for one in results]
  counted = results if moments else (results[0], results[3])
  weights = weights if moments else (weights[0], weights[3])
  return sum(jnp.vdot(w, one) for w, one in zip(weights, counted, strict=True)), results


def everything(operation, values, static, moments=True):
  """The results of an operation, and the gradients of all of its values."""
  of = functools.partial(loss, operation, static, moments=moments)
  (_, results), gradients = evaluate(jax.value_and_grad(of, (0, 1, 2, 3), has_aux=True), *values)
  return list(results), gradients


def close(found, expected, tolerance):
  """Each array to a part of its largest value."""
  for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


CASES = {
  "odd": ((4, 9, 7, 16), 3, 4),
  "odd, stride 2": ((4, 9, 7, 16), 3, 2, 2),
  "even, stride 2": ((4, 8, 8, 16), 3, 2, 2),
  "1x1": ((5, 8, 8, 16), 1, 4),
  "1x1, stride 2": ((5, 8, 7, 16), 1, 2, 2),
  "grey": ((3, 8, 8, 1), 3, 4, 1, 1, "add"),
  "colours, 7x7": ((3, 17, 17, 3), 7, 4, 2, 1, ""),
  "dilated": ((2, 12, 11, 16), 3, 2, 1, 2),
  "dilated, stride 2": ((2, 9, 8, 16), 3, 2, 2, 2),
  "blocks": ((3, 6, 6, 64), 3, 4),
  "channels that are no block": ((3, 6, 6, 48), 3, 2),
  "small maps": ((100, 2, 2, 16), 3, 2),
  "small maps, stride 2": ((100, 2, 2, 16), 3, 2, 2),
  "single values": ((200, 1, 1, 16), 3, 2),
  "one image": ((1, 8, 8, 16), 3, 2),
  "strips": ((2, 41, 40, 16), 3, 4),
  "strips, stride 2": ((2, 83, 41, 16), 3, 4, 2),
  "one vector": ((4, 5, 5, 16), 3, 1),
  "one block and a half": ((4, 5, 5, 16), 3, 3),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(x64, name):
  singles, static = case(*CASES[name], dtype="float32")
  values = jax.tree.map(np.float64, singles)
  expected = everything(plain, values, static)
  close(everything(surrounded, values, static), expected, 1e-12)
  close(everything(defined, values, static), expected, 1e-12)
  in_float32 = everything(surrounded, singles, static)
  assert {a.dtype for a in jax.tree.leaves(in_float32)} == {jnp.dtype("float32")}
  close(in_float32, expected, 3e-5)


@pytest.mark.parametrize("has", ["", "add", "affine", "affine add", "affine relu"])
@pytest.mark.parametrize(("moments", "vectors"), [(False, 1), (True, 3)])
def test_with_and_without(x64, has, moments, vectors):
  values, static = case((4, 5, 5, 16), 3, vectors, has=has)
  expected = everything(plain, values, static, moments)
  close(everything(surrounded, values, static, moments), expected, 1e-12)


def test_a_nan_stays_one():
  (x, kernel, affine, add), static = case((2, 6, 6, 16), 3, 2, dtype="float32")
  in_x, in_kernel = x.copy(), kernel.copy()
  in_x[0, 3, 3, 5] = in_kernel[1, 1, 2, 7] = np.nan
  y, mean, squares, _ = surrounded(in_x, kernel, affine, add, **static)
  near = np.zeros(y.shape, bool)
  near[0, 2:5, 2:5] = True
  np.testing.assert_array_equal(np.isnan(y), near)
  assert np.isnan(mean[0]).all() and np.isnan(squares[0]).all() and np.isfinite(mean[1]).all()
  y = surrounded(x, in_kernel, affine, add, **static)[0]
  assert np.isnan(y[..., 7]).all() and np.isfinite(np.delete(y, 7, -1)).all()
  gradients = everything(surrounded, (in_x, kernel, affine, add), static)[1]
  assert np.isnan(gradients[1][..., 5, :]).all()


@pytest.mark.parametrize("has", ["", "affine relu add"])
def test_second_derivatives(x64, has):
  values, static = case((2, 5, 4, 16), 3, 1, 2, has=has)
  values = tuple(value for value in values if value is not None)
  random = np.random.default_rng(1)
  tangents = jax.tree.map(lambda a: random.standard_normal(a.shape), values)

  def of(operation, *values):
    return jnp.sin(loss(operation, static, *values)[0] / 100)

  expected = evaluate(
    functools.partial(forward_over_reverse, functools.partial(of, plain)), values, tangents
  )
  found = evaluate(functools.partial(products, functools.partial(of, surrounded)), values, tangents)
  check(found, expected, tangents)


def test_forward_mode(x64):
  values, static = case((3, 5, 5, 16), 3, 2)
  some = values[1], values[2]  # the others stay
  tangents = jax.tree.map(np.cos, some)

  def changes(operation):
    def of(kernel, affine):
      return list(operation(values[0], kernel, affine, values[3], **static))

    return evaluate(functools.partial(jax.jvp, of), some, tangents)

  close(changes(surrounded), changes(plain), 1e-12)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 3)])
def test_many_at_once(x64, axes):
  (x, kernel, affine, add), static = case((2, 5, 5, 16), 3, 2)
  x, kernel = (
    a if axis is None else np.stack([a, a[::-1] + 1], axis)
    for a, axis in zip((x, kernel), axes, strict=True)
  )

  def both(operation):
    def of(x, kernel):
      return loss(operation, static, x, kernel, affine, add)

    gradients = jax.vmap(jax.grad(lambda *a: of(*a)[0], (0, 1)), axes)
    of_all = jax.grad(lambda *a: jax.vmap(of, axes)(*a)[0].sum(), (0, 1))
    return evaluate(lambda *a: [jax.vmap(of, axes)(*a), gradients(*a), of_all(*a)], x, kernel)

  close(both(surrounded), both(plain), 1e-12)


def test_in_a_loop(x64):
  """Each turn reads what the one before made, and its own kernel and factors."""
  (x, kernel, affine, _), static = case((2, 5, 5, 16), 3, 16 // native.lanes("float64"))
  kernels, affines = jax.tree.map(lambda a: np.stack([a, a[::-1], -a]), (kernel, affine))

  def of(operation, x, kernels, affines):
    def turn(x, given):
      y, mean, squares, source = operation(x, *given, x, **static)
      return y + 0.1 * source, (mean, squares)

    y, moments = lax.scan(turn, x, (kernels, affines))
    return jnp.sum(jnp.sin(y)) + sum(jnp.sum(jnp.sin(one)) for one in moments)

  found, expected = (
    evaluate(jax.grad(functools.partial(of, operation), (0, 1, 2)), x, kernels, affines)
    for operation in (surrounded, plain)
  )
  close(found, expected, 1e-11)


@pytest.mark.parametrize(("names", "times"), [((KEPT,), 1), ((), 2)])
def test_what_is_kept_is_not_computed_again(names, times):
  values, static = case((2, 5, 5, 16), 3, 2, dtype="float32")
  policy = jax.checkpoint_policies.save_only_these_names(*names)

  def of(*values):
    return jnp.sin(loss(surrounded, static, *values)[0])

  gradient = jax.grad(jax.checkpoint(of, policy=policy), (0, 1, 2, 3))
  assert str(jax.make_jaxpr(gradient)(*values)).count("surrounded_convolution[") == times


# Of as many cores as it is told, which JAX counts when it is imported.
BITS = """
import functools, hashlib, os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
import jax, numpy as np
from tests.models import test_surrounded as here
for given in here.BITS_OF:
  values, static = here.case(*given, dtype="float32")
  gradient = functools.partial(here.loss, here.surrounded, static)
  gradient = jax.jit(jax.value_and_grad(gradient, (0, 1, 2, 3), has_aux=True))
  for _ in range(2):
    leaves = jax.tree.leaves(gradient(*values))
    print(*(hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest() for leaf in leaves[1:]))
"""
BITS_OF = [
  ((1, 4, 4, 256), 3, 32),  # as many tasks as threads: by outputs
  ((3, 8, 8, 64), 3, 8),
  ((32, 8, 8, 16), 3, 2),
  ((100, 2, 2, 64), 3, 8, 2),
  ((3, 50, 50, 16), 1, 8),
  ((9, 17, 17, 3), 7, 4, 2, 1, ""),
]


def test_neither_another_run_nor_another_core_changes_a_bit(repository):
  if len(os.sched_getaffinity(0)) < 2:
    pytest.skip("there is one core")
  path = os.pathsep.join([str(repository / "tests" / "models"), *sys.path])
  environment = os.environ | {"PYTHONPATH": path, "XLA_FLAGS": FLAGS}  # one device
  running = [
    subprocess.Popen(
      [sys.executable, "-c", BITS, str(cores)],
      cwd=repository,
      env=environment,
      stdout=subprocess.PIPE,
      text=True,
    )
    for cores in (1, 2)
  ]
  one, two = (process.communicate(timeout=300)[0].splitlines() for process in running)
  assert len(one) == 2 * len(BITS_OF)
  assert one[::2] == one[1::2] == two[::2] == two[1::2]


def test_devices_share_the_examples():
  """They send each other what they sum for the kernel's gradient, once, and no map."""
  values, static = case((16, 6, 5, 16), 3, 2, dtype="float32")
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("data",))
  shared, whole = (jax.sharding.NamedSharding(mesh, jax.P(*axes)) for axes in (("data",), ()))
  gradient = jax.value_and_grad(functools.partial(loss, surrounded, static), (0, 1, 2, 3), True)
  program = jax.jit(gradient, in_shardings=(shared, whole, (shared, shared), shared))
  compiled = program.lower(*values).compile(OPTIONS)
  found = compiled(*values)
  close(found, evaluate(gradient, *values), 1e-5)
  assert all(one.sharding.spec[:1] == ("data",) for one in found[0][1])
  text = compiled.as_text()
  assert not re.search("all-gather|all-to-all|collective-permute", text)
  summed = [line.split(" all-reduce(")[0] for line in text.splitlines() if " all-reduce(" in line]
  arrays = [size for line in summed for size in re.findall(r"f32\[([\d,]+)\]", line)]
  assert arrays == [",".join(map(str, values[1].shape))]


@pytest.mark.parametrize("others", [1, 2])
def test_within_a_shard_map(others):
  """Each kernel has its devices, of which it shares the examples out over those of another axis."""
  (x, kernel, affine, add), static = case((8, 6, 5, 16), 3, 2, dtype="float32")
  devices = np.asarray(jax.devices()[: 2 * others]).reshape(2, others)
  mesh = jax.sharding.Mesh(devices, ("seed", "data"))

  def gradients(kernels, *arrays):
    def of(kernel):
      return loss(surrounded, static, x, kernel, *arrays)

    return lax.map(jax.grad(of, has_aux=True), kernels)

  places = {"in_specs": (jax.P("seed"), jax.P(), jax.P()), "out_specs": jax.P("seed")}
  shared = jax.shard_map(gradients, mesh=mesh, axis_names={"seed"}, check_vma=False, **places)
  values = np.stack([kernel, kernel[::-1]]), affine, add
  close(evaluate(shared, *values), evaluate(gradients, *values), 1e-5)


def test_arrays_that_do_not_fit_are_refused():
  """Rather than read beyond their ends."""
  (x, kernel, affine, add), static = case((2, 5, 5, 16), 3, 2, dtype="float32")
  with pytest.raises(ValueError, match="axis n of .* is 2 long and 1"):
    surrounded(x, kernel, affine, add[:1], **static)
