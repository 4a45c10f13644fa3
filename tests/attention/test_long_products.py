"""Few rows times many terms: as exact as by the thousand."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import contract
from lalm.attention import softmax
from lalm.measure import tolerances
from tests.oracles.compare import assert_close

_PRODUCT = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
# Processors of eight lanes add up twice as many terms in each as those of 16.
_BOUND = 2 * tolerances.forward("float32", contract.LONG, "cpu")


@pytest.mark.parametrize("count", (1, 64, 1000, 4099, 5000, 4161, 1 << 16))
def test_a_long_product_is_that_of_float64(count):
  rng = np.random.default_rng(count)
  rows = rng.random((2, 3, count), np.float32)
  columns = rng.standard_normal((2, count, 5)).astype(np.float32)
  found = contract.long_product(_PRODUCT, rows, columns)
  expected = rows.astype(np.float64) @ columns
  assert found.shape == expected.shape
  assert_close(found, expected, _BOUND)


def test_a_step_reads_a_long_cache_to_rounding():
  length, width = 1 << 15, 16
  rng = np.random.default_rng(0)
  q, k, v = rng.standard_normal((3, 1, length, 1, width)).astype(np.float32)

  @jax.jit
  def cache(k, v):
    blank = softmax.init(1, 1, width, width, capacity=length)
    return softmax.blockwise(k, k, v, state=blank).state

  state = cache(k[:, :-1], v[:, :-1])
  out, _ = softmax.step(q[:, -1:], k[:, -1:], v[:, -1:], state=state)
  q, k, v = (x[0, :, 0].astype(np.float64) for x in (q, k, v))
  p = np.exp(k @ q[-1] / width**0.5)
  expected = p @ v / p.sum()
  assert_close(out[0, 0, 0], expected, _BOUND)
