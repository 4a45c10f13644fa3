"""What rounding does, foreseen and measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.spectral import rounding


def _drawn(shape, seed=0):
  return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("dtype", rounding.DTYPES)
def test_what_is_foreseen_is_what_comes(dtype):
  matrix, x = _drawn((3, 200, 150)), _drawn((3, 40, 150), 1)
  foreseen = rounding.foreseen(matrix, x, dtype)
  measured = rounding.measured(matrix, x, dtype)
  assert foreseen.shape == measured.shape == (3, 40)
  ratio = jnp.sqrt(jnp.mean(measured**2) / jnp.mean(foreseen**2))
  assert ratio == pytest.approx(1, abs=0.05)


def test_cancellation_is_foreseen():
  """The vectors are nearly in the matrix's null space."""
  drawn = np.linalg.qr(np.asarray(_drawn((60, 60))))[0]
  matrix = jnp.asarray((drawn * np.geomspace(1, 1e-3, 60)) @ drawn.T)
  x = jnp.asarray(drawn.T)
  foreseen = rounding.foreseen(matrix, x, "bfloat16")
  measured = rounding.measured(matrix, x, "bfloat16")
  assert foreseen[-1] > 50 * foreseen[0]
  assert np.corrcoef(np.log(foreseen), np.log(measured))[0, 1] > 0.98


def test_a_unit_is_half_the_distance_to_the_next_number():
  assert rounding.unit("bfloat16") == 2**-8
  assert rounding.unit("float16") == 2**-11


def test_what_is_not_rounded_has_no_error():
  matrix, x = jnp.eye(4), jnp.ones((2, 4))
  np.testing.assert_array_equal(rounding.measured(matrix, x, "float16"), 0)
