"""Schatten norms against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.spectral import norms


def _drawn(*shape):
  return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize(
    "order, name", ((1, "nuc"), (2, "fro"), (float("inf"), 2))
)
def test_three_have_names(order, name):
  matrices = _drawn(3, 7, 5)
  expected = np.linalg.norm(matrices, name, axis=(1, 2))
  found = norms.schatten(jnp.asarray(matrices, jnp.float32), order)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("order", (1.5, 3, 40))
def test_the_others_are_sums_of_powers(order):
  values = np.array([[3.0, 2, 1], [1, 0, 0]])
  expected = (values**order).sum(1) ** (1 / order)
  np.testing.assert_allclose(norms.of_values(values, order), expected)


def test_scales_neither_overflow_nor_vanish():
  for scale in (1e-30, 1e30):
    found = norms.of_values(np.array([3.0, 4]) * scale, 20)
    assert found == pytest.approx(scale * (3**20 + 4**20) ** 0.05)
  assert norms.of_values(np.zeros(3), 2) == 0


def test_the_gradient_of_the_spectral_norm_is_of_its_vectors():
  matrix = jnp.asarray(_drawn(4, 6), jnp.float32)
  found = jax.grad(lambda m: norms.schatten(m, float("inf")))(matrix)
  left, _, right = np.linalg.svd(matrix)
  np.testing.assert_allclose(found, np.outer(left[:, 0], right[0]), atol=1e-5)


@pytest.mark.parametrize("order", (0.5, float("nan")))
def test_what_is_no_norm_is_refused(order):
  with pytest.raises(ValueError, match="order: expected 1 or more"):
    norms.schatten(np.eye(2), order)
