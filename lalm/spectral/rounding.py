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

_SPREAD = (1 / (8 * math.log(2))) ** 0.5  # s / u
DTYPES = ("bfloat16", "float16")


def unit(dtype: Any) -> float:
  """Returns u."""
  return float(jnp.finfo(dtype).eps) / 2


def foreseen(matrix: jax.Array, x: jax.Array, dtype: Any) -> jax.Array:
  """Returns sqrt(E |e|^2) / |W x| by (1), `[..., T]`.

  Args:
    matrix: W, `[..., M, N]`.
    x: `[..., T, N]`, vectors as rows.
    dtype: of 16 bits.
  """
  columns = jnp.sum(matrix**2, axis=-2)
  spread = 2 * jnp.einsum("...tn,...n->...t", x**2, columns)
  size = jnp.linalg.norm(matmul(x, matrix.mT), axis=-1)
  return _SPREAD * unit(dtype) * jnp.sqrt(spread) / size


def measured(matrix: jax.Array, x: jax.Array, dtype: Any) -> jax.Array:
  """Returns |e| / |W x| of rounded entries, summed in float32, `[..., T]`.

  Args:
    matrix: as of `foreseen`.
    x: as of `foreseen`.
    dtype: of 16 bits.
  """
  exact = matmul(x, matrix.mT)
  low = [z.astype(dtype).astype(z.dtype) for z in (matrix, x)]
  error = matmul(low[1], low[0].mT) - exact
  return jnp.linalg.norm(error, axis=-1) / jnp.linalg.norm(exact, axis=-1)
