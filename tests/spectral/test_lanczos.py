"""Krylov spaces: orthogonal, right about eigenvalues, and about themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.linear_operators import products
from lalm.spectral import lanczos
from tests.spectral import conftest as made

pytestmark = pytest.mark.slow


def _start(size, width, seed=0):
  drawn = np.random.default_rng(seed).normal(size=(size, width))
  return jnp.asarray(drawn, jnp.float32)


@pytest.mark.parametrize("width, order", ((1, 1), (1, 40), (3, 13), (5, 8)))
def test_the_basis_is_orthonormal_and_the_quotient_is_of_it(width, order):
  matrix = made.symmetric(np.linspace(-1, 2, 40))
  operator = products.dense(jnp.asarray(matrix, jnp.float32))
  found = lanczos.basis(operator, _start(40, width), order)
  Q = np.asarray(found.vectors, np.float64)
  np.testing.assert_allclose(Q.T @ Q, np.eye(width * order), atol=3e-6)
  np.testing.assert_allclose(found.quotient, Q.T @ matrix @ Q, atol=3e-6)
  # What is left is of the last block alone: equation (1).
  rest = matrix @ Q - Q @ np.asarray(found.quotient)
  np.testing.assert_allclose(rest[:, :-width], 0, atol=1e-5)
  left = np.linalg.norm(rest[:, -width:])
  assert left == pytest.approx(float(jnp.linalg.norm(found.left)), abs=1e-5)


def test_the_whole_space_has_all_eigenvalues():
  values = np.sort(np.random.default_rng(1).normal(size=24))
  operator = products.dense(jnp.asarray(made.symmetric(values), jnp.float32))
  found = lanczos.largest(operator, _start(24, 2), 12, 24)
  np.testing.assert_allclose(found.values, values[::-1], atol=1e-5)
  assert found.converged.all() and found.iterations == 12


def test_it_finds_the_largest_of_many_and_their_vectors():
  values = np.concatenate([[10, 9, 7, 7, 6], np.linspace(0, 3, 295)])
  matrix = made.symmetric(values)
  operator = products.dense(jnp.asarray(matrix, jnp.float32))
  found = lanczos.largest(operator, _start(300, 2), 20, 5)
  np.testing.assert_allclose(found.values, values[:5], rtol=1e-5)
  vectors = np.asarray(found.vectors, np.float64)
  rest = np.linalg.norm(matrix @ vectors - vectors * found.values, axis=0)
  np.testing.assert_allclose(found.residual, rest, atol=2e-5)
  assert found.converged.all()


def test_what_has_not_converged_says_so():
  values = np.linspace(0, 1, 500)
  operator = products.dense(jnp.asarray(made.symmetric(values), jnp.float32))
  found = lanczos.largest(operator, _start(500, 1), 5, 2)
  assert not found.converged.any() and (found.residual > 1e-3).all()


@pytest.mark.parametrize("width", (1, 3))
def test_an_invariant_space_is_gone_on_from(width):
  """The start is of eigenvectors: what is left is nothing at once."""
  values = np.arange(1, 21.0)
  operator = products.diagonal(jnp.asarray(values, jnp.float32))
  start = jnp.eye(20, width)
  found = lanczos.largest(operator, start, 18 // width, 3)
  assert np.isfinite(found.values).all()
  Q = lanczos.basis(operator, start, 18 // width).vectors
  np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=3e-6)


def test_nothing_is_an_operator_too():
  operator = products.diagonal(jnp.zeros(12))
  found = lanczos.largest(operator, _start(12, 1), 6, 2)
  np.testing.assert_array_equal(found.values, 0)
  assert found.converged.all()


def test_one_program_serves_all_matrices_of_a_shape():
  size = lanczos._basis._cache_size
  one = products.dense(jnp.eye(30))
  lanczos.basis(one, _start(30, 1), 7)
  before = size()
  lanczos.basis(products.dense(2 * jnp.eye(30)), _start(30, 1), 7)
  assert size() == before


def test_the_program_is_as_long_whatever_the_order():
  operator = products.dense(jnp.eye(200))
  lengths = [
      len(lanczos._basis.lower(operator, _start(200, 1), order).as_text())
      for order in (10, 100)
  ]
  assert lengths[1] < 1.05 * lengths[0]


def test_values_can_be_differentiated():
  """d lambda = v^T dA v."""
  values = np.array([5, 3, 2, 1.0])
  matrix = jnp.asarray(made.symmetric(values), jnp.float32)

  def greatest(matrix):
    found = lanczos.basis(products.dense(matrix), jnp.ones((4, 1)), 4)
    return jnp.linalg.eigvalsh(found.quotient)[-1]

  v = np.linalg.eigh(np.asarray(matrix))[1][:, -1]
  change = np.asarray(jax.grad(greatest)(matrix))
  np.testing.assert_allclose((change + change.T) / 2, np.outer(v, v), atol=1e-4)


@pytest.mark.parametrize(
    "start, order, words",
    (
        (np.ones(5), 2, r"expected \[..., M, N\]"),
        (np.ones((5, 1, 1)), 2, r"expected \[N, b\]"),
        (np.full((5, 1), np.nan), 2, "expected finite"),
        (np.ones((5, 1)), 6, "order: expected 1 to 5, got 6"),
        (np.ones((5, 2)), 3, "order: expected 1 to 2, got 3"),
        (np.ones((5, 1)), 0, "order: expected 1 to 5, got 0"),
        (np.ones((5, 1)) * 1j, 2, "expected real"),
    ),
)
def test_what_cannot_start_is_refused(start, order, words):
  with pytest.raises(ValueError, match=words):
    lanczos.basis(products.dense(jnp.eye(5)), start, order)
