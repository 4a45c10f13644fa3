"""What rounding to 16 bits does to a product, foreseen and measured.

Each entry w of W and x_j of x becomes w (1 + d), d of variance s^2 and mean 0,
so that the error e of W x has

    E |e|^2 = 2 s^2 sum_ij (w_ij x_j)^2,   s^2 = 0.18 u^2                   (1)

with u half the distance of 1 to the next number, and 0.18 = 1/3 times 0.54, the
mean of 1 / m^2 where a mantissa m from 1 to 2 is spread as 1 / m (Benford). Its
share of |W x| is what cancellation makes of s; kappa(W) u bounds it.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from lalm.linear_operators.products import matmul
from lalm.spectral import checks

_SPREAD = (1 / (8 * math.log(2))) ** 0.5  # s / u
DTYPES = ("bfloat16", "float16")


def unit(dtype: Any) -> float:
  """Returns u."""
  return float(jnp.finfo(dtype).eps) / 2


def foreseen(matrix: jax.Array, x: jax.Array, dtype: Any) -> jax.Array:
  """Returns sqrt(E |e|^2) / |W x| by (1), `[..., T]`; 0 where W x is.

  Entries too small for a mantissa of their own are rounded to a multiple of
  the dtype's least number, an error more that is uniform. What is too great
  for the dtype is not foreseen.

  Args:
    matrix: W, `[..., M, N]`.
    x: `[..., T, N]`, vectors as rows.
    dtype: of 16 bits.

  Raises:
    ValueError: as of `checks.matrices`.
  """
  matrix, x, greatest = _scaled(matrix, x)
  step = float(jnp.finfo(dtype).smallest_subnormal) / 12**0.5
  floors = [(step / g) ** 2 for g in greatest]
  relative = (_SPREAD * unit(dtype)) ** 2
  squares, vectors = matrix**2, x**2
  spread = 2 * relative * matmul(vectors, jnp.sum(squares, -2)[..., None])
  spread += floors[0] * matrix.shape[-2] * jnp.sum(vectors, -1)[..., None]
  spread += floors[1] * jnp.sum(squares, axis=(-2, -1))[..., None, None]
  return _over(jnp.sqrt(spread[..., 0]), matmul(x, matrix.mT))


def measured(matrix: jax.Array, x: jax.Array, dtype: Any) -> jax.Array:
  """Returns |e| / |W x| of rounded entries, summed in float32, `[..., T]`.

  It is infinite where an entry is too great for the dtype.

  Args:
    matrix: as of `foreseen`.
    x: as of `foreseen`.
    dtype: of 16 bits.

  Raises:
    ValueError: as of `checks.matrices`.
  """
  *own, greatest = _scaled(matrix, x)
  exact = matmul(own[1], own[0].mT)
  low = [
      (z * g).astype(dtype).astype(z.dtype) / g for z, g in zip(own, greatest)
  ]
  found = _over(
      jnp.linalg.norm(matmul(low[1], low[0].mT) - exact, axis=-1), exact
  )
  return jnp.where(jnp.isfinite(found), found, jnp.inf)


def _scaled(
    matrix: jax.Array, x: jax.Array
) -> tuple[jax.Array, jax.Array, list[jax.Array]]:
  """W and x, each over its greatest entry, and these."""
  matrix = jnp.asarray(checks.matrices("matrix", matrix))
  x = jnp.asarray(checks.matrices("x", x))
  pairs = [checks.scaled(z) for z in (matrix, x)]
  return pairs[0][0], pairs[1][0], [g for _, g in pairs]


def _over(error: jax.Array, exact: jax.Array) -> jax.Array:
  size = jnp.linalg.norm(exact, axis=-1)
  return jnp.where(size > 0, error / jnp.where(size > 0, size, 1), 0)
