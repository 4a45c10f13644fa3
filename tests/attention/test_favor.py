"""FAVOR+: means and variances of its estimators, by Monte Carlo."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import features
from tests.attention.bounds import forward
from tests.oracles import maps
from tests.oracles.compare import assert_close

WIDTH, COUNT = 16, 16
DRAWS = 200_000
KINDS = tuple(maps.FAVOR)


def _pair():
  """x and y, and y turned from x, of which |x' + y'|^2 is about 1."""
  x, y = np.random.default_rng(4).standard_normal((2, WIDTH))
  scale = WIDTH**0.25
  return 0.45 * scale * x / np.linalg.norm(
      x
  ), 0.55 * scale * y / np.linalg.norm(y)


@functools.cache
def _estimates(kind, orthogonal):
  """Products of the features of a pair for many random matrices."""
  x, y = (jnp.asarray(z, jnp.float32) for z in _pair())

  def one(key):
    phi = features.favor(key, WIDTH, COUNT, kind=kind, orthogonal=orthogonal)
    return jnp.sum(phi(x) * phi(y))

  keys = jax.random.split(jax.random.key(7), DRAWS)
  run = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=2000))
  return np.asarray(run(keys), np.float64)


@pytest.mark.parametrize(
    ("orthogonal", "kind"),
    [
        pytest.param(
            orthogonal,
            kind,
            marks=pytest.mark.slow if orthogonal and kind != "positive" else (),
        )
        for orthogonal in (False, True)
        for kind in KINDS
    ],
)
def test_products_of_features_are_the_kernel_on_average(kind, orthogonal):
  x, y = (maps.scaled(z) for z in _pair())
  estimates = _estimates(kind, orthogonal)
  error = np.std(estimates) / np.sqrt(DRAWS)
  assert abs(np.mean(estimates) - np.exp(x @ y)) < 4 * error


@pytest.mark.parametrize("kind", KINDS)
def test_variances_of_independent_features_are_the_closed_form(kind):
  x, y = (maps.scaled(z) for z in _pair())
  expected = maps.favor_variance(kind, x, y, COUNT)
  got = np.var(_estimates(kind, False))
  assert abs(got / expected - 1) < 0.02


def test_orthogonal_rows_lower_the_variance_by_the_bound_or_more():
  x, y = (maps.scaled(z) for z in _pair())
  positive = maps.favor_variance("positive", x, y, COUNT)
  gain = maps.orthogonal_gain(x, y, COUNT)
  assert np.var(_estimates("positive", True)) < 1.02 * (positive - gain)


@pytest.mark.parametrize("count", (5, 16, 40))
def test_rows_of_a_block_are_at_right_angles(count):
  (w,) = features.favor(jax.random.key(1), WIDTH, count).args
  assert w.shape == (count, WIDTH)
  for start in range(0, count, WIDTH):
    assert maps.orthogonality(w[start : start + WIDTH]) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_favor_equals_its_equations(kind):
  x = np.random.default_rng(2).standard_normal((3, 5, WIDTH))
  phi = features.favor(jax.random.key(1), WIDTH, 24, kind=kind)
  expected = maps.FAVOR[kind](x, np.asarray(phi.args[0], np.float64))
  assert_close(phi(jnp.float32(x)), expected, forward("float32", WIDTH))


@pytest.mark.parametrize(
    ("phi", "oracle"),
    (
        (features.taylor, maps.taylor),
        (features.unit, maps.unit),
        (features.dpfp(), maps.dpfp),
        (features.dpfp(3), functools.partial(maps.dpfp, nu=3)),
        (features.hedgehog(jnp.eye(WIDTH)), maps.hedgehog),
    ),
    ids=("taylor", "unit", "dpfp", "dpfp of 3", "hedgehog"),
)
def test_maps_equal_their_equations(phi, oracle):
  x = np.random.default_rng(2).standard_normal((3, 5, WIDTH))
  x[0, 0] = 0
  expected = oracle(x)
  got = phi(jnp.float32(x))
  assert_close(got, expected, forward("float32", WIDTH))
  assert features.feature_width(phi, WIDTH) == expected.shape[-1]
  gradient = jax.grad(lambda x: jnp.sum(jnp.sin(phi(x))))(jnp.float32(x))
  assert np.all(np.isfinite(gradient))


def test_taylor_scores_are_the_first_terms_of_the_exponential():
  q, k = np.random.default_rng(3).standard_normal((2, 9, WIDTH))
  got = np.asarray(features.taylor(q)) @ np.asarray(features.taylor(k)).T
  s = q @ k.T / np.sqrt(WIDTH)
  assert_close(got, 1 + s + s**2 / 2, forward("float32", WIDTH))


@pytest.mark.parametrize(
    ("call", "words"),
    (
        (lambda: features.favor(jax.random.key(0), 4, 8, kind="sine"), "kind"),
        (lambda: features.favor(jax.random.key(0), 0, 8), "width"),
        (lambda: features.favor(jax.random.key(0), 4, 0), "count"),
        (lambda: features.dpfp(0), "nu"),
        (lambda: features.hedgehog(jnp.ones(4)), "weights"),
    ),
)
def test_what_a_map_cannot_be_is_named(call, words):
  with pytest.raises(ValueError, match=f"{words}: expected .* got"):
    call()
