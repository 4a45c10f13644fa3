"""Condition numbers, exact and by products, against prescribed spectra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.linear_operators import products
from lalm.spectral import condition
from tests.spectral import conftest as made

pytestmark = pytest.mark.slow


def test_it_is_the_quotient_of_prescribed_values():
  matrices = np.stack(
      [made.prescribed((9, 6), np.geomspace(1, 1 / k, 6)) for k in (3, 300)]
  )
  found = condition.exact(jnp.asarray(matrices, jnp.float32))
  np.testing.assert_allclose(found, [3, 300], rtol=1e-3)


def test_what_is_singular_has_a_condition_of_infinity():
  assert condition.exact(jnp.diag(jnp.array([1.0, 0]))) == jnp.inf
  assert condition.one_norm(np.diag([1.0, 0])) == np.inf
  assert condition.exact(jnp.zeros((2, 2))) == jnp.inf


@pytest.mark.parametrize("kappa", (1e1, 1e3, 1e4))
def test_thirty_products_tell_it_within_five_percent(kappa):
  values = np.geomspace(1, 1 / kappa, 200)
  matrix = made.prescribed((200, 200), values)
  inverse = np.linalg.inv(matrix)
  with jax.enable_x64(True):
    found = condition.by_products(
        products.gram(jnp.asarray(matrix)),
        products.gram(jnp.asarray(inverse.T)),
        jax.random.key(0),
        200,
    )
  assert found.value == pytest.approx(kappa, rel=0.05)
  assert found.value <= kappa * (1 + 1e-6) and found.iterations == 30
  assert found.converged
  assert found.value == pytest.approx(float(found.largest / found.smallest))


def test_too_few_products_say_that_they_are():
  values = np.linspace(0.9, 1, 300)
  matrix = jnp.asarray(made.prescribed((300, 300), values), jnp.float32)
  gram = products.gram(matrix)
  found = condition.by_products(
      gram, gram, jax.random.key(0), 300, 2, tolerance=1e-4
  )
  assert not found.converged and (found.residual > 1e-4).any()


def test_the_one_norm_is_near_what_numpy_says():
  for seed in range(5):
    matrix = np.random.default_rng(seed).normal(size=(80, 80))
    exact = np.linalg.cond(matrix, 1)
    assert exact / 3 <= condition.one_norm(matrix) <= exact * (1 + 1e-9)


@pytest.mark.parametrize(
    "call, words",
    (
        (lambda: condition.exact(np.ones((0, 3))), "none empty"),
        (lambda: condition.one_norm(np.ones((2, 3))), "N, N"),
        (lambda: condition.one_norm(np.ones((2, 2, 2))), r"expected \[N, N\]"),
        (
            lambda: condition.by_products(
                products.gram(jnp.eye(3)),
                products.gram(jnp.eye(3)),
                jax.random.key(0),
                3,
                1,
            ),
            "order|products",
        ),
    ),
)
def test_what_has_no_condition_is_refused(call, words):
  with pytest.raises(ValueError, match=words):
    call()
