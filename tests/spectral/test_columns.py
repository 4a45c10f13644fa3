"""Pivoted QR and interpolation, against SciPy and prescribed rank."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from lalm.spectral import columns
from tests.spectral import conftest as made

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("shape", ((12, 7), (7, 12), (2, 9, 9)))
def test_pivots_are_those_of_scipy(shape):
  drawn = np.random.default_rng(0).normal(size=shape)
  triangle, order = columns.pivoted(jnp.asarray(drawn, jnp.float32))
  for i in np.ndindex(shape[:-2]):
    R, P = linalg.qr(drawn[i], mode="r", pivoting=True)
    np.testing.assert_array_equal(order[i], P)
    R = R[: min(shape[-2:])]
    np.testing.assert_allclose(abs(triangle[i]), abs(R), atol=1e-5)
  diagonal = abs(np.diagonal(triangle, axis1=-2, axis2=-1))
  assert (np.diff(diagonal) <= 1e-6).all()


@pytest.mark.parametrize("shape", ((30, 20), (20, 30)))
def test_columns_of_a_rank_tell_of_all(shape):
  matrix = made.prescribed(shape, [5, 4, 3, 2.0])
  found = columns.interpolative(jnp.asarray(matrix, jnp.float32), 4)
  rebuilt = matrix[:, found.columns] @ found.coefficients
  np.testing.assert_allclose(rebuilt, matrix, atol=1e-5)
  np.testing.assert_array_equal(found.coefficients[:, found.columns], np.eye(4))


def test_matrices_of_one_shape_are_taken_together():
  drawn = jnp.asarray(
      np.random.default_rng(0).normal(size=(3, 8, 6)), jnp.float32
  )
  found = columns.interpolative(drawn, 3)
  alone = columns.interpolative(drawn[1], 3)
  np.testing.assert_array_equal(found.columns[1], alone.columns)
  np.testing.assert_allclose(
      found.coefficients[1], alone.coefficients, atol=1e-5
  )


@pytest.mark.parametrize("count", (0, 4, True))
def test_counts_out_of_range_are_refused(count):
  with pytest.raises(ValueError, match="count: expected 1 to 3"):
    columns.interpolative(np.ones((3, 5)), count)
