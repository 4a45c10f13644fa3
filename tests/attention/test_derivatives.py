"""First and second derivatives of every form are those of its definition.

Gradients meet two references. The oracle's central differences along seeded
directions know nothing of JAX; the definition in float64 checks every element.
"""

import functools

import jax
import numpy as np
import pytest

from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import backward
from tests.oracles import differences
from tests.oracles.compare import assert_close

# `portable` tests try the gradient of every form; in the quick suite final
# states have those of a delta rule.
_QUICK = pytest.mark.quick(
    "two halves, packed",
    forms=("chunkwise",),
    names=("mamba2", "loglinear"),
)
_LEADING = pytest.mark.leading(
    "two halves, packed", "full, fewer queries than keys"
)

SINGLE = cases.Case(
    "causal, float32",
    length=100,
    dtype="float32",
    chunk=16,
    margin=0.1,
)
EVERY = (*cases.DERIVATIVES, SINGLE)
# Central differences lose about three (first) and six (second) digits.
FIRST, SECOND = 3e-9, 1e-6


@functools.cache
def _differences(name: str, case: cases.Case):
  """Tangent, directional gradients and second differences of the oracle."""
  with subject.precision(case):
    inputs = cases.make(name, case)
  leaves, structure = jax.tree.flatten((inputs.arrays, inputs.gates))
  leaves = [np.asarray(x, np.float64) for x in leaves]
  weights = subject.cotangent(case)

  def out(*leaves):
    place = jax.tree.unflatten(structure, leaves)
    return subject.oracle(name, case, (*place, inputs.segment_ids))

  def loss(*leaves):
    return np.sum(weights * out(*leaves))

  # One direction in each array alone, so that none hides behind another.
  alone = []
  for seed in range(len(leaves)):
    direction = [np.zeros_like(x) for x in leaves]
    direction[seed] = subject.directions(name, case, 10 + seed)[seed]
    alone.append(direction)
  along = subject.directions(name, case, case.seed + 2)
  return (
      alone,
      differences.tangent(out, leaves, along),
      [differences.tangent(loss, leaves, d) for d in alone],
      [differences.second(loss, leaves, along, d) for d in alone],
  )


def _leaves(tree) -> list[np.ndarray]:
  return [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]


def _inner(tree, direction) -> float:
  pairs = zip(_leaves(tree), direction, strict=True)
  return sum(np.sum(x * d) for x, d in pairs)


def _assert_along(tree, directions, expected, bound, what, among):
  """Inner products with each direction, relative to |x| for that array.

  An array that hardly matters is compared with a thousandth of the arrays of
  `among`: differences of an oracle that does not depend on it are not exactly
  zero. A direction shorter than a standard normal one asks for as much.
  """
  norms = [np.linalg.norm(x) for x in _leaves(tree)]
  most = max(np.linalg.norm(x) for x in _leaves(among))
  for direction, value in zip(directions, expected, strict=True):
    got = _inner(tree, direction)
    lengths = [min(1.0, np.sqrt(np.mean(np.square(d)))) for d in direction]
    moved = [n * s for n, s in zip(norms, lengths, strict=True)]
    size = max(*moved, 1e-3 * most * max(lengths), abs(value))
    error = abs(got - value) / size
    assert error <= bound, f"{what}: {got} for {value}, error {error:.1e}"


@_LEADING
@_QUICK
@pytest.mark.cases(*EVERY)
def test_gradients_equal_central_differences_of_the_oracle(
    mechanism, form, case
):
  got = subject.derivatives(mechanism, form, case)
  alone, _, gradients, _ = _differences(mechanism, case)
  bound = max(backward(case.dtype, case.length), FIRST)
  _assert_along(got.gradient, alone, gradients, bound, "gradient", got.gradient)


@_LEADING
@_QUICK
@pytest.mark.cases(*EVERY)
def test_tangents_equal_central_differences_of_the_oracle(
    mechanism, form, case
):
  got = subject.derivatives(mechanism, form, case)
  tangent = _differences(mechanism, case)[1]
  bound = max(backward(case.dtype, case.length), FIRST)
  assert_close(got.tangent, tangent, bound, "tangent")


@_LEADING
@_QUICK
@pytest.mark.cases(*EVERY)
def test_hessian_products_equal_second_differences_of_the_oracle(
    mechanism, form, case
):
  got = subject.derivatives(mechanism, form, case)
  alone, _, _, seconds = _differences(mechanism, case)
  bound = max(backward(case.dtype, case.length), SECOND)
  _assert_along(
      got.hessian, alone, seconds, bound, "Hessian product", got.gradient
  )


@_LEADING
@pytest.mark.besides_itself
@pytest.mark.cases(*EVERY)
def test_derivatives_equal_those_of_the_definition_in_float64(
    mechanism, form, case
):
  got = subject.derivatives(mechanism, form, case)
  definition = subject.definition(mechanism)
  exact = subject.derivatives(mechanism, definition, case, exact=True)
  bound = backward(case.dtype, case.length)
  for name, mine, theirs in subject.pairs(got, exact):
    assert_close(mine, theirs, bound, name)
