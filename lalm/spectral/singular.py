"""Singular values and vectors of what is large: tall, or wanted in part.

    tall:       A^T A = V S^2 V^T,  A V = Q R,  R = U' S V'^T,              (1)
    randomised: Y = (A A^T)^q A G,  Y = Q R,  Q^T A = U' S V^T,             (2)

U = Q U'. By (1) a second, small decomposition repairs what squaring lost, for
the columns of A V are nearly orthogonal whatever the condition (Drmac and
Veselic 2008 do so for Jacobi). (2) is Halko, Martinsson and Tropp 2011 (arXiv
0909.4061, algorithms 4.4 and 5.1).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lalm.linear_operators.products import matmul
from lalm.spectral import checks


class Svd(NamedTuple):
  """A ~ left diag(values) right^T, the largest value first.

  Attributes:
    left: `[M, k]`.
    values: `[k]`.
    right: `[N, k]`.
  """

  left: jax.Array
  values: jax.Array
  right: jax.Array


def values(matrix: jax.Array) -> jax.Array:
  """Returns singular values of matrices, the largest first.

  Args:
    matrix: `[..., M, N]`.

  Returns:
    `[..., min(M, N)]`.

  Raises:
    ValueError: as of `checks.matrices`.
  """
  matrix = jnp.asarray(checks.matrices("matrix", matrix))
  return _values(matrix)


_values = jax.jit(functools.partial(jnp.linalg.svd, compute_uv=False))


def tall(matrix: jax.Array, count: int | None = None) -> Svd:
  """Returns (1), in about four products M N^2.

  Args:
    matrix: `[M, N]` with M >= N.
    count: k, all N if None.

  Raises:
    ValueError: a matrix that is not tall, or another count.
  """
  matrix = jnp.asarray(checks.matrices("matrix", matrix))
  if matrix.ndim != 2 or matrix.shape[0] < matrix.shape[1]:
    raise ValueError(f"matrix: expected [M, N], M >= N, got {matrix.shape}")
  size = matrix.shape[1]
  return _tall(
      matrix, checks.count("count", size if count is None else count, size)
  )


@functools.partial(jax.jit, static_argnames="count")
def _tall(matrix: jax.Array, count: int) -> Svd:
  # Their scale would overflow, or vanish, when it is squared.
  scale = jnp.max(jnp.abs(matrix))
  scaled = matrix / jnp.where(scale > 0, scale, 1)
  _, vectors = jnp.linalg.eigh(matmul(scaled.T, scaled))
  vectors = vectors[:, ::-1][:, :count]
  turned = matmul(scaled, vectors)
  # Of columns that are nearly orthogonal Cholesky's factor is as good as QR's,
  # but not of those that are nothing.
  left, triangle = jnp.linalg.qr(turned)
  own, found, right = jnp.linalg.svd(triangle, full_matrices=False)
  return Svd(
      matmul(left, own),
      found * scale,
      matmul(vectors, right.T),
  )


def randomised(
    matrix: jax.Array,
    key: jax.Array,
    count: int,
    *,
    beyond: int = 10,
    powers: int = 2,
) -> Svd:
  """Returns (2).

  Args:
    matrix: `[M, N]`.
    key: a `jax.random.key`.
    count: k.
    beyond: columns of G more than k, as far as there are.
    powers: q; each repeats two products, and squares what tells values apart.

  Raises:
    ValueError: another count, or a number below 0.
  """
  matrix = jnp.asarray(checks.matrices("matrix", matrix))
  if matrix.ndim != 2:
    raise ValueError(f"matrix: expected [M, N], got {matrix.shape}")
  least = min(matrix.shape)
  count = checks.count("count", count, least)
  for name, given in (("beyond", beyond), ("powers", powers)):
    if given < 0:
      raise ValueError(f"{name}: expected 0 or more, got {given}")
  return _randomised(matrix, key, count, min(count + beyond, least), powers)


@functools.partial(jax.jit, static_argnames=("count", "width", "powers"))
def _randomised(
    matrix: jax.Array, key: jax.Array, count: int, width: int, powers: int
) -> Svd:
  drawn = jax.random.normal(key, (matrix.shape[1], width), matrix.dtype)
  basis, _ = jnp.linalg.qr(matmul(matrix, drawn))
  for _ in range(powers):
    # Without a QR between them, all columns would turn to the first vector.
    back, _ = jnp.linalg.qr(matmul(matrix.T, basis))
    basis, _ = jnp.linalg.qr(matmul(matrix, back))
  own, found, right = jnp.linalg.svd(
      matmul(basis.T, matrix), full_matrices=False
  )
  left = matmul(basis, own[:, :count])
  return Svd(left, found[:count], right[:count].T)
