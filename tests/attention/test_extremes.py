"""Extreme inputs: equal keys, huge logits, zeros, one token, no key."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import forward
from tests.oracles.compare import assert_close

# With scale 1 logits of whole numbers are whole numbers.
SHAPES = (
    cases.Case("causal", length=67, chunk=16, scale=1.0, dtype="float32"),
    cases.Case(
        "full", length=67, chunk=16, scale=1.0, causal=False, dtype="float32"
    ),
    cases.Case("one token", length=1, scale=1.0, dtype="float32"),
)


@functools.cache
def _compiled(name, form, case):
  """Output and gradient of sum(cotangent * out), compiled as one."""
  weights = subject.cotangent(case).astype(np.float32)

  def loss(place):
    out = subject.apply(name, form, case, (*place, None))[0]
    return jnp.sum(out * weights), out

  return subject.jit(jax.value_and_grad(loss, has_aux=True), case)


def _check(name, form, case, change):
  """The form on changed inputs against the oracle, and finite gradients."""
  inputs = cases.make(name, case)
  arrays = tuple(x.astype(np.float32) for x in change(*inputs.arrays))
  run = _compiled(name, form, case)
  (_, out), gradient = run((arrays, inputs.gates))
  expected = subject.oracle(name, case, (arrays, inputs.gates, None))
  assert_close(out, expected, forward(case.dtype, case.length))
  for leaf in jax.tree.leaves(gradient):
    assert np.all(np.isfinite(leaf))
  return out, gradient


@pytest.mark.leading("causal")
@pytest.mark.cases(*SHAPES)
def test_equal_keys_weigh_equally(mechanism, form, case):
  _check(
      mechanism,
      form,
      case,
      lambda q, k, v: (q, np.broadcast_to(k[:, :1], k.shape), v),
  )


@pytest.mark.leading("causal", "one token")
@pytest.mark.cases(*SHAPES)
def test_zeros_give_finite_values_and_gradients(mechanism, form, case):
  _check(mechanism, form, case, lambda q, k, v: (0 * q, 0 * k, v))
  out, _ = _check(mechanism, form, case, lambda q, k, v: (0 * q, 0 * k, 0 * v))
  np.testing.assert_array_equal(out, 0)


@pytest.mark.leading("causal", "full")
@pytest.mark.cases(*SHAPES)
@pytest.mark.parametrize("sign", (1, -1), ids=("large", "very negative"))
def test_logits_of_ten_thousand_are_exact(mechanism, form, case, sign):
  """Whole numbers up to 2^24 make every float32 product here exact."""
  if mechanism in ("linformer", "nystromformer"):
    pytest.skip(f"{mechanism} mixes keys to numbers that are not whole")
  generator = np.random.default_rng(7)

  def change(q, k, v):
    whole = [generator.integers(10, 60, x.shape) for x in (q, k)]
    return whole[0], sign * whole[1], v

  _check(mechanism, form, case, change)


@pytest.mark.leading("causal")
@pytest.mark.cases(*SHAPES)
def test_one_key_takes_all_the_weight(mechanism, form, case):
  def change(q, k, v):
    k = 0 * k
    k[:, 0] = 1e4
    return np.abs(q) + 1, k, v

  _check(mechanism, form, case, change)
