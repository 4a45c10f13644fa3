"""Singular values of what is large, against LAPACK's in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.spectral import similarity
from lalm.spectral import singular
from tests.spectral import conftest as made

pytestmark = pytest.mark.slow

_KEY = jax.random.key(0)


def _rebuilt(found):
  return (found.left * found.values) @ found.right.T


@pytest.mark.parametrize("shape", ((7, 7), (50, 12), (12, 50), (3, 20, 9)))
def test_values_are_those_of_lapack(shape):
  drawn = np.random.default_rng(0).normal(size=shape)
  expected = np.linalg.svd(drawn, compute_uv=False)
  found = singular.values(jnp.asarray(drawn, jnp.float32))
  np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("condition", (1e1, 1e3, 1e5))
def test_a_tall_matrix_is_taken_apart(condition):
  values = np.geomspace(1, 1 / condition, 30)
  matrix = made.prescribed((500, 30), values)
  found = singular.tall(jnp.asarray(matrix, jnp.float32))
  np.testing.assert_allclose(found.values, values, atol=3e-6)
  np.testing.assert_allclose(_rebuilt(found), matrix, atol=3e-6)
  for side in (found.left, found.right):
    np.testing.assert_allclose(side.T @ side, np.eye(30), atol=1e-5)


def test_small_values_survive_the_square():
  """Those of a Gram matrix alone would be rounding below sqrt(eps)."""
  values = np.geomspace(1, 1e-5, 20)
  matrix = jnp.asarray(made.prescribed((300, 20), values), jnp.float32)
  found = singular.tall(matrix).values
  np.testing.assert_allclose(found, values, rtol=0.05)


@pytest.mark.parametrize("scale", (1e-30, 1e30))
def test_a_scale_neither_overflows_nor_vanishes(scale):
  values = np.array([3, 2, 1.0])
  matrix = made.prescribed((40, 3), values) * scale
  found = singular.tall(jnp.asarray(matrix, jnp.float32)).values
  np.testing.assert_allclose(found, values * scale, rtol=1e-5)


def test_of_a_tall_matrix_some_are_as_all():
  matrix = jnp.asarray(
      np.random.default_rng(0).normal(size=(200, 40)), jnp.float32
  )
  some, all_ = singular.tall(matrix, 5), singular.tall(matrix)
  np.testing.assert_allclose(some.values, all_.values[:5], rtol=1e-5)
  assert some.left.shape == (200, 5) and some.right.shape == (40, 5)


def test_nothing_has_values_of_nothing():
  found = singular.tall(jnp.zeros((20, 4)))
  np.testing.assert_array_equal(found.values, 0)
  assert all(np.isfinite(x).all() for x in found)


@pytest.mark.parametrize("shape", ((200, 80), (80, 200)))
def test_a_random_space_finds_the_first(shape):
  values = 1 / np.arange(1, 81) ** 1.5
  matrix = made.prescribed(shape, values)
  found = singular.randomised(jnp.asarray(matrix, jnp.float32), _KEY, 8)
  np.testing.assert_allclose(found.values, values[:8], rtol=1e-4)
  right = np.linalg.svd(matrix)[2][:8].T
  apart = similarity.angles(found.right, jnp.asarray(right, jnp.float32))
  assert apart.max() < 0.02


def test_powers_make_it_better():
  values = 1 / np.arange(1, 81) ** 0.5
  matrix = jnp.asarray(made.prescribed((200, 80), values), jnp.float32)
  errors = [
      abs(singular.randomised(matrix, _KEY, 8, powers=q).values - values[:8])
      for q in (0, 4)
  ]
  assert errors[1].max() < 0.2 * errors[0].max()


def test_what_has_the_rank_asked_for_is_found_exactly():
  matrix = made.prescribed((60, 50), [4, 3, 2.0])
  found = singular.randomised(jnp.asarray(matrix, jnp.float32), _KEY, 3)
  np.testing.assert_allclose(_rebuilt(found), matrix, atol=1e-5)


@pytest.mark.parametrize(
    "call, words",
    (
        (lambda: singular.tall(np.ones((2, 3))), "M >= N"),
        (lambda: singular.tall(np.ones((3, 2)), 3), "count: expected 1 to 2"),
        (lambda: singular.tall(np.ones((3, 0))), "none empty"),
        (lambda: singular.tall(np.full((3, 2), np.nan)), "finite"),
        (lambda: singular.values(np.ones(3)), r"\[..., M, N\]"),
        (lambda: singular.values(np.ones((3, 2)) * 1j), "real"),
        (lambda: singular.randomised(np.ones((3, 2)), _KEY, 0), "count"),
        (
            lambda: singular.randomised(np.ones((3, 2)), _KEY, 1, powers=-1),
            "powers: expected 0 or more",
        ),
    ),
)
def test_what_cannot_be_taken_apart_is_refused(call, words):
  with pytest.raises(ValueError, match=words):
    call()
