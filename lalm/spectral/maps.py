"""What attention maps say: entropy, rank, and how far tokens are from equal.

    entropy(A)    -sum_s A_ts log A_ts, mean over queries t                 (1)
    captured(A)   (s_1 + ... + s_k) / (s_1 + ... + s_T)                     (2)
    residual(X)   |X - 1 x^T| / |X|, |Y| = sqrt(|Y|_1 |Y|_inf)              (3)

(2) Wang et al. 2020 (arXiv 2006.04768, figure 1); (3) Dong, Cordonnier and
Loukas 2021 (arXiv 2103.03404, section 2), x the mean over tokens. All are
batched over leading axes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lalm.spectral import checks


def entropy(weights: jax.Array) -> jax.Array:
  """Returns (1) in nats, from 0 to log T.

  Args:
    weights: A, `[..., T, S]`, rows of which sum to 1.

  Raises:
    ValueError: as of `checks.matrices`, or an entry below 0.
  """
  weights = jnp.asarray(checks.matrices("weights", weights))
  if not isinstance(weights, jax.core.Tracer) and jnp.any(weights < 0):
    raise ValueError("weights: expected 0 or more, got some below")
  logs = jnp.log(jnp.where(weights > 0, weights, 1))
  return -jnp.mean(jnp.sum(weights * logs, axis=-1), axis=-1)


def captured(values: Any) -> Any:
  """Returns (2) for each k, `[..., T]`.

  Args:
    values: singular values, `[..., T]`, the largest first; 0 of zeros.
  """
  values = checks.array("values", values, least=1)
  xp = jnp if isinstance(values, jax.Array) else np
  sums = xp.cumsum(values, axis=-1)
  return sums / xp.where(sums[..., -1:] > 0, sums[..., -1:], 1)


def residual(x: jax.Array) -> jax.Array:
  """Returns (3), 0 where all tokens are equal.

  Args:
    x: `[..., T, D]`, a token a row; 0 of zeros.

  Raises:
    ValueError: as of `checks.matrices`.
  """
  x, _ = checks.scaled(jnp.asarray(checks.matrices("x", x)))
  size = _size(x)
  apart = _size(x - x.mean(axis=-2, keepdims=True))
  return apart / jnp.where(size > 0, size, 1)


def _size(x: jax.Array) -> jax.Array:
  x = jnp.abs(x)
  rows, columns = jnp.sum(x, axis=-1), jnp.sum(x, axis=-2)
  return jnp.sqrt(jnp.max(rows, axis=-1) * jnp.max(columns, axis=-1))
