"""Variances of FAVOR+ are those of the paper, and those that are drawn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import favor_variances
from lalm.attention import features
from lalm.attention import linear
from lalm.attention import reference
from tests.oracles import maps

WIDTH = 8
KINDS = tuple(maps.VARIANCES)
_DRAWN = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow)
        if kind == "hyperbolic"
        else kind
        for kind in KINDS
    ],
)


def _arrays(*shape, size=1.0, seed=0):
  return size * np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("kind", KINDS)
def test_variances_are_those_of_the_lemma(kind):
  x, y = _arrays(2, 50, WIDTH, size=0.7)
  expected = maps.favor_variance(kind, x, y, 3)
  got = favor_variances.variance(kind, x, y, 3)
  np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ("positive", "hyperbolic"))
def test_estimates_of_opposite_vectors_are_exact(kind):
  x = _arrays(WIDTH)
  assert favor_variances.variance(kind, x, -x, 1) == 0


def test_sines_and_cosines_of_equal_vectors_are_exact():
  x = _arrays(WIDTH)
  assert favor_variances.variance("trigonometric", x, x, 1) == 0


@pytest.mark.parametrize("count", (1, 3, WIDTH))
def test_the_gain_of_right_angles_is_that_of_the_theorem(count):
  x, y = _arrays(2, 50, WIDTH)
  expected = maps.orthogonal_gain(x, y, count)
  got = favor_variances.orthogonal_gain(x, y, count)
  np.testing.assert_allclose(got, expected)


def test_blocks_at_right_angles_gain_as_means_of_independent_ones():
  x, y = _arrays(2, 50, WIDTH)
  count = 2 * WIDTH + 3
  shares = ((WIDTH, 2), (3, 1))
  expected = sum(
      blocks * (m / count) ** 2 * maps.orthogonal_gain(x, y, m)
      for m, blocks in shares
  )
  got = favor_variances.orthogonal_gain(x, y, count)
  np.testing.assert_allclose(got, expected)


@functools.cache
def _drawn(kind, count, draws):
  """Estimates for a query of two keys, by many feature maps."""
  q, k, z = (jnp.float32(x) for x in _arrays(3, WIDTH, size=0.7))

  def one(key):
    phi = features.favor(key, WIDTH, count, kind=kind, orthogonal=False)
    return phi(q) @ phi(k), phi(q) @ phi(z)

  keys = jax.random.split(jax.random.key(2), draws)
  run = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=5000))
  return np.asarray(run(keys), np.float64)


@_DRAWN
def test_two_keys_of_one_query_covary_as_the_closed_form(kind):
  count, draws = 4, 40_000
  q, k, z = map(favor_variances.scaled, _arrays(3, WIDTH, size=0.7))
  expected = favor_variances.covariance(kind, q, k, z, count)
  estimates = _drawn(kind, count, draws)
  apart = estimates - estimates.mean(axis=1, keepdims=True)
  products = apart[0] * apart[1]
  assert abs(products.mean() - expected) < 4 * products.std() / draws**0.5
  assert abs(expected) > 6 * products.std() / draws**0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", (False, True))
def test_the_variance_of_outputs_is_the_double_sum(kind, causal):
  q, k, v = _arrays(3, 7, WIDTH, size=0.7)
  rows = np.array([2, 6])
  got = favor_variances.output_variance(kind, q, k, v, rows, 5, causal=causal)
  for t, found in zip(rows, got):
    keys = range(t + 1 if causal else 7)
    x, y = favor_variances.scaled(q[t]), favor_variances.scaled(k)
    Z = sum(np.exp(x @ y[j]) for j in keys)
    o = sum(np.exp(x @ y[j]) / Z * v[j] for j in keys)
    expected = sum(
        favor_variances.covariance(kind, x, y[j], y[l], 5)
        * ((v[j] - o) @ (v[l] - o)) / Z**2
        for j in keys for l in keys
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@_DRAWN
def test_outputs_vary_so_where_features_are_many(kind):
  count, draws, length = 512, 600, 16
  q, k, v = _arrays(3, length, WIDTH, size=0.35)
  exact = reference.softmax_rows(q, k, v, np.arange(length), causal=True)

  def one(key):
    phi = features.favor(key, WIDTH, count, kind=kind, orthogonal=False)
    single = [jnp.float32(x)[None, :, None] for x in (q, k, v)]
    return linear.parallel(*single, feature_map=phi).out[0, :, 0]

  keys = jax.random.split(jax.random.key(5), draws)
  out = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=100))(keys)
  got = np.sum((np.float64(out) - exact) ** 2, axis=-1).mean(axis=0).sum()
  expected = favor_variances.output_variance(
      kind, q, k, v, np.arange(length), count, causal=True
  )
  assert expected[0] == 0  # one key: its estimate divides itself
  assert abs(got / expected.sum() - 1) < 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    (
        (lambda x: favor_variances.variance("sine", x, x, 1), "kind"),
        (lambda x: favor_variances.variance("positive", x, x, 0), "count"),
        (lambda x: favor_variances.orthogonal_gain(x, x, 0), "count"),
    ),
)
def test_what_has_no_variance_is_named(call, words):
  with pytest.raises(ValueError, match=f"{words}: expected .* got"):
    call(np.ones(4))
