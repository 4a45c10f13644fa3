"""Every form and its gradient, on this platform and lowered for the others."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest

from lalm.attention import catalogue
from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import backward
from tests.attention.bounds import forward
from tests.oracles import differences
from tests.oracles.compare import assert_close

pytestmark = pytest.mark.portable

SHAPE = cases.Case("causal", length=19, dtype="float32", margin=0.1)
FULL = cases.Case(
    "full, grouped heads",
    length=19,
    heads=4,
    kv_heads=2,
    causal=False,
    dtype="float32",
)
PLATFORMS = ("cpu", "cuda", "tpu")


def _shape(name):
  """The shape, not causal where the mechanism cannot be."""
  return dataclasses.replace(SHAPE, causal=catalogue.get(name).causal)


def _loss(name, form):
  weights = subject.cotangent(SHAPE).astype("float32")

  def loss(place):
    out, state = subject.apply(name, form, _shape(name), (*place, None))
    return jnp.sum(out * weights), (out, state)

  return jax.value_and_grad(loss, has_aux=True)


@functools.cache
def _reference(name):
  """The output and directional derivatives of the oracle."""
  inputs = cases.make(name, SHAPE)
  leaves, structure = jax.tree.flatten((inputs.arrays, inputs.gates))
  leaves = [x.astype("float64") for x in leaves]
  weights = subject.cotangent(SHAPE)

  def out(*leaves):
    return subject.oracle(
        name, _shape(name), (*structure.unflatten(leaves), None)
    )

  directions = [differences.directions(seed, leaves) for seed in range(8)]
  slopes = [
      differences.tangent(lambda *x: (out(*x) * weights).sum(), leaves, d)
      for d in directions
  ]
  return inputs, out(*leaves), directions, slopes


def test_value_and_gradient_equal_the_oracle(mechanism, form):
  inputs, expected, directions, slopes = _reference(mechanism)
  run = jax.jit(_loss(mechanism, form))
  (_, (out, _)), gradient = run((inputs.arrays, inputs.gates))
  assert_close(out, expected, forward("float32", SHAPE.length))
  leaves = [jnp.asarray(x) for x in jax.tree.leaves(gradient)]
  got = [
      sum(float((x * y).sum()) for x, y in zip(leaves, d, strict=True))
      for d in directions
  ]
  assert_close(got, slopes, backward("float32", SHAPE.length))


@pytest.mark.cases(SHAPE, FULL)
def test_value_and_gradient_lower_for_every_platform(mechanism, form, case):
  inputs = cases.make(mechanism, case)
  place = (inputs.arrays, inputs.gates)

  def loss(place):
    out, _ = subject.apply(mechanism, form, case, (*place, None))
    return jnp.sum(out)

  for function in (loss, jax.grad(loss)):
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(place)
    assert exported.platforms == PLATFORMS
