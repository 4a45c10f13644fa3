"""Softmax attention through all its scores: one product, weights, another.

    out_t = sum_s w_ts v_s / sum_s w_ts,   w_ts = exp(scale q_t . k_s - top_t)

with top the largest score of a query; masked keys have weight 0. Mechanisms
that see few keys at a time (windows, buckets, landmarks) are made of it.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm import shapes
from lalm.attention import contract


def over_matrix(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    mask: jax.Array | None,
    scale: Any = None,
    bias: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Returns (1) through the T x S scores, and their logsumexp.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`.
    v: values `[B, S, G, V]`.
    mask: True = attend, broadcasts to `[B, H, T, S]`; None attends to all.
    scale: multiplies the scores; 1 / sqrt(K) if None.
    bias: added to the scores, broadcasts to `[B, H, T, S]`.

  Returns:
    out `[B, T, H, V]` in v's dtype; logsumexp `[B, T, H]`, 0 where a query
    sees no key.
  """
  out, total, top = sums_over_matrix(q, k, v, mask, scale, bias)
  lse = jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)) + top, 0)
  # Dividing here, not the weights, keeps one square less for the gradient.
  out = contract.divide(out, total)
  return jnp.swapaxes(out, 1, 2).astype(v.dtype), jnp.swapaxes(
      lse[..., 0], 1, 2
  )


class Sums(NamedTuple):
  """What (1) is the quotient of, `[B, H, T, ...]`: out / total.

  Attributes:
    out: sum of weights and values, `[..., V]`.
    total: of the weights, `[..., 1]`.
    top: the largest score, of which weights are exp(score - top), `[..., 1]`.
  """

  out: jax.Array
  total: jax.Array
  top: jax.Array


def sums_over_matrix(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    mask: jax.Array | None,
    scale: Any = None,
    bias: jax.Array | None = None,
    shares: jax.Array | None = None,
) -> Sums:
  """Returns the sums of (1) through the T x S scores.

  Arguments as in `over_matrix`.

  Args:
    shares: factors of the weights, broadcasts to `[B, H, T, S]`.
  """
  batch, queries, heads, width = q.shape
  groups = k.shape[2]
  dtype, product = _arithmetic(q, k, v)
  # Heads first: any other order would have XLA transpose the T x S scores.
  q = (q.astype(dtype) * factor(scale, width)).transpose(0, 2, 1, 3)
  q = q.reshape(batch, groups, -1, queries, width)
  k, v = (y.astype(dtype).transpose(0, 2, 1, 3) for y in (k, v))
  x = product("bgrtk,bgsk->bgrts", q, k)
  x = x.reshape(batch, heads, queries, -1)
  if bias is not None:
    x = x + bias.astype(dtype)
  if mask is not None:
    x = jnp.where(mask, x, -jnp.inf)
  top = lax.stop_gradient(x.max(axis=-1, keepdims=True))
  top = jnp.where(top == -jnp.inf, 0, top)
  p = jnp.exp(x - top)
  if shares is not None:
    p = p * shares.astype(dtype)
  total = p.sum(axis=-1, keepdims=True)
  out = product(
      "bgrts,bgsv->bgrtv", p.reshape(batch, groups, -1, *p.shape[2:]), v
  )
  return Sums(out.reshape(batch, heads, queries, -1), total, top)


def factor(scale: Any, width: int) -> Any:
  """The scale, a plain float by default: NumPy's would promote to float64."""
  shapes.check_scalar("scale", scale)
  return 1 / math.sqrt(width) if scale is None else scale


def _arithmetic(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[Any, Any]:
  """Returns the dtype of scores and sums, and the product of two arrays."""
  dtypes = (q.dtype, k.dtype, v.dtype)
  precision = contract.precision(*dtypes)
  product = functools.partial(jnp.einsum, precision=precision)
  return contract.accumulator(*dtypes), product
