"""Feature maps equal their NumPy definitions, and are differentiable data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import features
from tests.attention.bounds import forward
from tests.oracles import differences
from tests.oracles import features as oracles
from tests.oracles import maps
from tests.oracles.compare import assert_close

NAMES = tuple(oracles.MAPS)
MAPS = pytest.mark.parametrize("name", NAMES)


def _points():
  generator = np.random.default_rng(0)
  return 3 * generator.standard_normal((4, 5, 7))


@MAPS
def test_a_feature_map_equals_its_definition(name):
  x = _points()
  with jax.enable_x64(True):
    got = getattr(features, name)(jnp.asarray(x))
    assert got.dtype == jnp.float64
  assert_close(got, oracles.MAPS[name](x), forward("float64", 1))
  x = x.astype(np.float32)
  got = getattr(features, name)(jnp.asarray(x))
  assert_close(got, oracles.MAPS[name](x), forward("float32", 1))


@pytest.mark.parametrize("nu", (1, 3))
def test_dpfp_equals_its_definition_feature_by_feature(nu):
  x = _points()
  with jax.enable_x64(True):
    got = features.dpfp(nu)(jnp.asarray(x))
  assert_close(got, maps.dpfp(x, nu), forward("float64", 1))


@MAPS
def test_a_feature_map_has_the_derivatives_of_its_definition(name):
  x = _points()
  (along,) = differences.directions(1, [x])
  phi = getattr(features, name)
  with jax.enable_x64(True):
    tangent = jax.jvp(phi, (jnp.asarray(x),), (jnp.asarray(along),))[1]
  expected = differences.tangent(oracles.MAPS[name], [x], [along], 1e-4)
  assert_close(tangent, expected, 1e-9)


@MAPS
def test_a_feature_map_is_finite_with_its_gradient_at_extremes(name):
  x = np.array([[-1e4, 0, 1e4, -100, 100], [0, 0, 0, 0, 0]], np.float32)
  phi = getattr(features, name)
  value, pull = jax.vjp(phi, jnp.asarray(x))
  (gradient,) = pull(jnp.ones_like(value))
  assert_close(value, oracles.MAPS[name](x), forward("float32", 1))
  assert np.all(np.isfinite(gradient))


@MAPS
def test_a_feature_map_is_not_negative(name):
  value = np.asarray(getattr(features, name)(jnp.asarray(_points())))
  assert np.all(value >= 0) == (name != "identity")


@MAPS
def test_a_feature_map_is_a_pytree_of_its_arrays_with_static_code(name):
  phi = getattr(features, name)
  assert isinstance(phi, jax.tree_util.Partial)
  count = 0

  @jax.jit
  def apply(phi, x):
    nonlocal count
    count += 1
    return phi(x)

  x = jnp.asarray(_points())
  for _ in range(2):
    apply(getattr(features, name), x)
  assert count == 1


def test_exponential_features_sum_to_one():
  x = jnp.asarray(_points() * 100, jnp.float32)
  sums = jnp.sum(features.exponential(x), axis=-1)
  assert_close(sums, np.ones(sums.shape), forward("float32", 7))


def test_elu_plus_one_is_continuous_with_slope_one_at_zero():
  slope = jax.grad(lambda x: features.elu_plus_one(x[None])[0])
  assert float(slope(jnp.float32(0))) == 1
  assert float(slope(jnp.float32(-1e4))) == 0
  assert float(slope(jnp.float32(1e4))) == 1
