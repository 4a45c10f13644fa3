"""Entropy and rank of attention maps, and tokens that become equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lalm.spectral import maps


def _weights(*shape):
  return jax.nn.softmax(2 * jax.random.normal(jax.random.key(0), shape))


def test_entropy_is_that_of_scipy():
  weights = _weights(2, 3, 7, 9)
  expected = stats.entropy(np.asarray(weights, np.float64), axis=-1).mean(-1)
  np.testing.assert_allclose(maps.entropy(weights), expected, rtol=1e-5)


def test_entropy_is_from_one_key_to_all():
  assert maps.entropy(jnp.eye(5)) == 0
  assert maps.entropy(jnp.full((5, 8), 1 / 8)) == pytest.approx(np.log(8))
  assert jnp.isfinite(jax.grad(lambda w: maps.entropy(w))(jnp.eye(3))).all()


def test_what_is_captured_grows_to_one():
  found = maps.captured(jnp.array([[4.0, 3, 2, 1], [5, 0, 0, 0]]))
  np.testing.assert_allclose(found, [[0.4, 0.7, 0.9, 1], [1, 1, 1, 1]])


def test_the_residual_is_of_what_differs_between_tokens():
  x = jax.random.normal(jax.random.key(0), (2, 6, 4))
  assert jnp.all(maps.residual(jnp.ones((3, 6, 4))) < 1e-6)
  centred = x - x.mean(1, keepdims=True)
  np.testing.assert_allclose(maps.residual(centred), 1, rtol=1e-5)
  rest = np.asarray(centred[0])
  size = lambda z: np.sqrt(np.linalg.norm(z, 1) * np.linalg.norm(z, np.inf))
  expected = size(rest) / size(np.asarray(x[0]))
  assert maps.residual(x)[0] == pytest.approx(expected, rel=1e-5)


def test_averaging_brings_tokens_together():
  x = jax.random.normal(jax.random.key(0), (6, 4))
  weights = _weights(6, 6)
  one, two = maps.residual(weights @ x), maps.residual(weights @ weights @ x)
  assert two < one < maps.residual(x)


def test_what_is_no_map_is_refused():
  with pytest.raises(ValueError, match="0 or more"):
    maps.entropy(-jnp.eye(2))
  with pytest.raises(ValueError, match="finite"):
    maps.residual(jnp.full((2, 2), jnp.nan))
