"""Inverses of unit lower triangular matrices, by products of matrices only.

The inverse of I + N, N strictly lower triangular, is made from the inverses of
diagonal blocks of 1, 2, 4, ... rows. With B what N holds below them,

    [[A, 0], [B, D]]^-1 = [[A^-1, 0], [-D^-1 B A^-1, D^-1]],              (1)

which is forward substitution in blocks: where rows of N are equal (all keys the
same), the series (I - N) (I + N^2) (I + N^4) ... would cancel instead.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def inverse(N: jax.Array, precision: lax.Precision) -> jax.Array:
  """Returns (I + N)^-1 by (1).

  Args:
    N: `[L, C, C]`, zero on and above the diagonal.
    precision: of the products.
  """
  t = jnp.arange(N.shape[-1])
  T = jnp.broadcast_to(jnp.eye(N.shape[-1], dtype=N.dtype), N.shape)
  size = 1
  while size < N.shape[-1]:
    block, half = t // (2 * size), t // size % 2
    below = (block[:, None] == block) & (half[:, None] > half)
    B = jnp.where(below, N, 0)
    # T is the identity before the first step.
    T = T - (
        B if size == 1 else _product(T, _product(B, T, precision), precision)
    )
    size *= 2
  return T


@inverse.defjvp
def _inverse_jvp(precision, primals, tangents):
  T = inverse(*primals, precision)
  dT = _product(T, _product(tangents[0], T, precision), precision)
  return T, -dT


def _product(a: jax.Array, b: jax.Array, precision: lax.Precision) -> jax.Array:
  return jnp.einsum("lts,lsv->ltv", a, b, precision=precision)
