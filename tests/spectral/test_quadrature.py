"""Lanczos quadrature against traces that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.linear_operators import products
from lalm.spectral import quadrature
from tests.spectral import conftest as made

pytestmark = pytest.mark.slow

_VALUES = np.linspace(0.5, 3, 200)


def _operator(values=_VALUES):
  return products.dense(jnp.asarray(made.symmetric(values), jnp.float32))


@pytest.mark.parametrize(
    "function", (jnp.log, jnp.sqrt, lambda x: 1 / x, lambda x: x**2)
)
def test_a_trace_is_within_its_error(function):
  found = quadrature.density(_operator(), jax.random.key(0), 200, 30, 40)
  estimate = quadrature.trace(found, 200, function)
  truth = float(np.sum(function(_VALUES)))
  assert abs(estimate.value - truth) < 4 * estimate.error + 1e-3 * abs(truth)
  assert estimate.error < 0.05 * abs(truth)


def test_weights_are_a_distribution():
  found = quadrature.density(_operator(), jax.random.key(1), 200, 20, 5)
  assert found.nodes.shape == found.weights.shape == (5, 20)
  np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-5)
  assert (found.weights >= 0).all()


def test_the_density_is_where_eigenvalues_are():
  values = np.repeat([1.0, 4.0], (150, 50))
  found = quadrature.density(_operator(values), jax.random.key(0), 200, 4, 50)
  high = np.asarray(jnp.where(found.nodes > 2.5, found.weights, 0).sum(1))
  assert high.mean() == pytest.approx(0.25, abs=0.03)


def test_one_probe_tells_no_error():
  found = quadrature.density(_operator(), jax.random.key(0), 200, 5, 1)
  assert jnp.isnan(quadrature.trace(found, 200, jnp.log).error)


@pytest.mark.parametrize("order, probes", ((201, 1), (0, 1), (3, 0)))
def test_numbers_out_of_range_are_refused(order, probes):
  with pytest.raises(ValueError, match="order|probes"):
    quadrature.density(_operator(), jax.random.key(0), 200, order, probes)
