"""Angles of subspaces and CKA, against SciPy and the definitions."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from lalm.spectral import similarity

pytestmark = pytest.mark.slow


def _drawn(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


def _single(x):
  return jnp.asarray(x, jnp.float32)


@pytest.mark.parametrize("columns", ((3, 3), (2, 7), (7, 2)))
def test_angles_are_those_of_scipy(columns):
  x, y = _drawn(20, columns[0]), _drawn(20, columns[1], seed=1)
  expected = np.sort(linalg.subspace_angles(x, y))
  found = similarity.angles(_single(x), _single(y))
  np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("angle", (0.0, 1e-5, 1e-3, 1.0, np.pi / 2))
def test_small_angles_are_told(angle):
  basis = np.linalg.qr(_drawn(30, 4))[0]
  moved = np.cos(angle) * basis[:, 1] + np.sin(angle) * basis[:, 2]
  x, y = basis[:, :2], np.stack([basis[:, 0], moved], 1)
  found = similarity.angles(_single(x), _single(y))
  np.testing.assert_allclose(found, [0, angle], atol=1e-6)


def test_angles_do_not_depend_on_the_basis():
  x, y = _drawn(2, 20, 3), _drawn(2, 20, 3, seed=1)
  mixed = similarity.angles(_single(x @ _drawn(3, 3, seed=2)), _single(y))
  found = similarity.angles(_single(x), _single(y))
  np.testing.assert_allclose(mixed, found, atol=1e-5)


def _hsic(x, y, debiased):
  """By Gram matrices, as it is defined."""
  n = len(x)
  K, L, one = x @ x.T, y @ y.T, np.ones(n)
  if not debiased:
    H = np.eye(n) - 1 / n
    return np.trace(K @ H @ L @ H) / (n - 1) ** 2
  K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
  parts = np.trace(K @ L)
  parts += (one @ K @ one) * (one @ L @ one) / (n - 1) / (n - 2)
  parts -= 2 / (n - 2) * one @ K @ L @ one
  return parts / n / (n - 3)


def _cka(x, y, debiased):
  h = lambda a, b: np.mean([_hsic(*p, debiased) for p in zip(a, b)])
  return h(x, y) / np.sqrt(h(x, x) * h(y, y))


@pytest.mark.parametrize("debiased", (False, True))
@pytest.mark.parametrize("batches", (1, 3))
def test_cka_is_that_of_gram_matrices(debiased, batches):
  x, y = _drawn(2, batches, 30, 5), _drawn(3, batches, 30, 8, seed=1)
  y[0, :, :, :5] += 2 * x[1]
  y += 3  # a mean that is not 0
  found = similarity.cka(_single(x), _single(y), debiased=debiased)
  expected = [[_cka(a, b, debiased) for b in y] for a in x]
  np.testing.assert_allclose(found, expected, atol=2e-5)
  if batches == 1:
    alone = similarity.cka(
        _single(x[:, 0]), _single(y[:, 0]), debiased=debiased
    )
    np.testing.assert_allclose(alone, found, atol=1e-6)


def test_cka_of_what_is_turned_scaled_and_moved_is_one():
  x = _drawn(1, 40, 6)
  y = 5 * x @ np.linalg.qr(_drawn(6, 6))[0] + 2
  assert similarity.cka(_single(x), _single(y))[0, 0] == pytest.approx(1)


def test_the_debiased_one_is_nothing_of_what_is_unrelated():
  x, y = _drawn(20, 64, 200), _drawn(20, 64, 200, seed=1)
  biased = similarity.cka(_single(x), _single(y), debiased=False)
  found = similarity.cka(_single(x), _single(y))
  assert float(biased.mean()) > 0.5 and abs(float(found.mean())) < 0.01


def test_what_does_not_vary_is_like_nothing():
  x = _drawn(1, 20, 3)
  found = similarity.cka(_single(x), _single(np.ones((1, 20, 3))))
  np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize(
    "call, words",
    (
        (lambda: similarity.angles(np.ones((2, 3)), np.ones((2, 1))), "x: "),
        (lambda: similarity.angles(np.ones((4, 1)), np.ones((5, 1))), "y: "),
        (lambda: similarity.cka(np.ones((9, 3)), np.ones((9, 3))), "x: "),
        (lambda: similarity.cka(np.ones((1, 3, 2)), np.ones((1, 3, 2))), "4"),
        (lambda: similarity.cka(np.ones((1, 5, 2)), np.ones((1, 6, 2))), "y: "),
    ),
)
def test_what_cannot_be_compared_is_refused(call, words):
  with pytest.raises(ValueError, match=words):
    call()
