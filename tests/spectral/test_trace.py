"""Traces by products against the truth, and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.linear_operators import products
from lalm.spectral import trace
from tests.spectral import conftest as made

pytestmark = pytest.mark.slow

_ALL = (trace.hutchinson, trace.hutch_plus_plus, trace.xtrace, trace.xnystrace)
_SHARP = _ALL[1:]
_SIZE = 300


def _operator(values):
  return products.dense(jnp.asarray(made.symmetric(values), jnp.float32))


@pytest.mark.parametrize("estimator", _SHARP)
def test_few_eigenvalues_are_found_exactly(estimator):
  values = np.zeros(_SIZE)
  values[:4] = (5, 3, 2, 1)
  found = estimator(_operator(values), jax.random.key(0), _SIZE, 30)
  assert found.value == pytest.approx(11, rel=1e-4)


@pytest.mark.parametrize("estimator", _ALL)
def test_the_mean_over_keys_is_the_trace(estimator):
  """Unbiased: (4) but for what it adds to the diagonal."""
  values = 1 / np.arange(1, _SIZE + 1)
  operator = _operator(values)
  one = jax.jit(lambda key: estimator(operator, key, _SIZE, 24).value)
  each = jax.lax.map(one, jax.random.split(jax.random.key(3), 400))
  error = float(jnp.std(each)) / 20
  assert abs(float(each.mean()) - values.sum()) < 4 * error
  assert error > 1e-6  # or nothing would have been shown


def test_a_matrix_need_not_be_symmetric():
  """But for (4)."""
  drawn = np.random.default_rng(0).normal(size=(40, 40))
  operator = products.dense(jnp.asarray(drawn, jnp.float32))
  for estimator in _ALL[:3]:
    one = lambda key: estimator(operator, key, 40, 18).value
    each = jax.lax.map(one, jax.random.split(jax.random.key(1), 2000))
    error = float(jnp.std(each)) / 2000**0.5
    assert abs(float(each.mean()) - np.trace(drawn)) < 4 * error


def test_the_error_told_is_the_spread_of_estimates():
  values = 1 / np.arange(1, _SIZE + 1)
  operator = _operator(values)
  for estimator in (trace.xtrace, trace.xnystrace):
    one = lambda key: estimator(operator, key, _SIZE, 24)
    each = jax.lax.map(one, jax.random.split(jax.random.key(5), 200))
    ratio = float(each.error.mean()) / float(jnp.std(each.value))
    assert 0.4 < ratio < 2.5


def test_exchangeable_estimators_are_the_better_ones():
  """A spectrum of 0.7^i, 25 products, as in published comparisons."""
  values = 0.7 ** np.arange(1000)
  operator = _operator(values)
  errors = {}
  for estimator in _ALL:
    one = lambda key: estimator(operator, key, 1000, 25).value
    each = jax.lax.map(one, jax.random.split(jax.random.key(0), 200))
    errors[estimator] = float(jnp.sqrt(jnp.mean((each - values.sum()) ** 2)))
  hutchinson, plus, xtrace, xnystrace = errors.values()
  assert xnystrace < xtrace < plus < hutchinson


@pytest.mark.parametrize(
    "estimator, least", tuple(zip(_ALL, (1, 3, 4, 2), strict=True))
)
def test_too_few_products_are_refused(estimator, least):
  operator = products.diagonal(jnp.ones(8))
  with pytest.raises(ValueError, match="products: expected"):
    estimator(operator, jax.random.key(0), 8, least - 1)
  found = estimator(operator, jax.random.key(0), 8, least)
  assert jnp.isfinite(found.value)
