"""Norms of matrices by their singular values: Schatten's.

    (sum_i s_i^p)^(1/p):  p = 1 nuclear, 2 Frobenius, infinity spectral

They are batched over leading axes, and differentiable where the values differ.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lalm.spectral import checks
from lalm.spectral import singular


def schatten(matrix: jax.Array, order: float) -> jax.Array:
  """Returns Schatten norms of matrices.

  Args:
    matrix: `[..., M, N]`.
    order: p, from 1 to infinity.

  Raises:
    ValueError: as of `checks.matrices`, or another order.
  """
  return of_values(singular.values(matrix), order)


def of_values(values: Any, order: float) -> Any:
  """Returns the norm from singular values, `[..., N]`.

  Args:
    values: singular values, in any order.
    order: as of `schatten`.

  Raises:
    ValueError: another order.
  """
  if not order >= 1:
    raise ValueError(f"order: expected 1 or more, got {order}")
  values = checks.array("values", values, least=1)
  xp = jnp if isinstance(values, jax.Array) else np
  greatest = xp.max(values, axis=-1, keepdims=True)
  if order == float("inf"):
    return greatest[..., 0]
  # Powers of what is far from 1 would overflow, or vanish.
  shares = values / xp.where(greatest > 0, greatest, 1)
  return greatest[..., 0] * xp.sum(shares**order, axis=-1) ** (1 / order)
