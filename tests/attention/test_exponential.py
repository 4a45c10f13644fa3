"""The exponential of softmax weights is that of its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import exponential

_EPS = float(np.finfo(np.float32).eps)


def _points():
  """Numbers that are not positive, of all sizes that leave a float32."""
  sizes = np.concatenate([np.logspace(-9, np.log10(87.0), 20_001), [0.0]])
  return -sizes.astype(np.float32)


@pytest.mark.parametrize("compiled", (True, False))
def test_it_is_within_three_roundings_of_the_largest_weight(compiled):
  exp = jax.jit(exponential.exp) if compiled else exponential.exp
  x = _points()
  exact = np.exp(x.astype(np.float64))
  got = np.asarray(exp(x), np.float64)
  assert np.max(np.abs(got - exact)) <= 1.5 * _EPS
  # Relative to itself it loses what the product x log2(e) rounds away.
  assert np.all(np.abs(got / exact - 1) <= (1.5 + np.abs(x)) * _EPS)


def test_special_numbers_are_exact():
  x = np.float32([0.0, -0.0, -np.inf, -1e30, -89.0, np.nan])
  np.testing.assert_array_equal(
      np.asarray(jax.jit(exponential.exp)(x)), [1, 1, 0, 0, 0, np.nan]
  )


def test_it_does_not_fall_as_its_argument_grows():
  x = np.sort(_points())
  got = np.asarray(jax.jit(exponential.exp)(x))
  steps = np.diff(got) / got[1:]
  assert np.all(steps >= -2 * _EPS) and got[0] < got[-1] == 1


def test_its_derivatives_are_itself():
  x = jnp.float32(-1.25)
  derivative = exponential.exp
  for _ in range(3):
    derivative = jax.grad(derivative)
    assert abs(float(derivative(x)) - np.exp(-1.25)) <= 2 * _EPS


def test_float64_keeps_its_precision():
  with jax.enable_x64(True):
    x = jnp.asarray(_points(), jnp.float64)
    np.testing.assert_allclose(exponential.exp(x), np.exp(x), rtol=1e-15)
