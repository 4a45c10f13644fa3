"""Linear operators: functions from a block of vectors to their products.

An operator is a `jax.tree_util.Partial` from `[N, b]` to `[M, b]`: its arrays
are traced and differentiated, its code is static, so that what is compiled for
one matrix serves all of its shape.
"""

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from lalm.attention import contract

Operator = Partial


def dense(matrix: jax.Array) -> Operator:
  """Returns X -> A X.

  Args:
    matrix: A, `[M, N]`.
  """
  return Partial(_times, matrix)


def gram(matrix: jax.Array) -> Operator:
  """Returns X -> A^T A X, two products; its eigenvalues are squares.

  Args:
    matrix: A, `[M, N]`.
  """
  return Partial(_gram, matrix)


def inverse_gram(matrix: jax.Array) -> Operator:
  """Returns X -> (A^T A)^-1 X by one LU decomposition of A.

  A^T A is never made: its condition is the square of that of A.

  Args:
    matrix: A, `[N, N]`, not singular.
  """
  return Partial(_inverse_gram, *jax.scipy.linalg.lu_factor(matrix))


def diagonal(values: jax.Array) -> Operator:
  """Returns X -> diag(d) X.

  Args:
    values: d, `[N]`.
  """
  return Partial(_diagonal, values)


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
  """Returns products A B in the full precision of their dtype.

  Args:
    a: `[..., M, K]`.
    b: `[..., K, N]`, or `[K]`.
  """
  return jnp.matmul(a, b, precision=contract.precision(a.dtype, b.dtype))


def _times(matrix: jax.Array, x: jax.Array) -> jax.Array:
  return matmul(matrix, x)


def _back(matrix: jax.Array, y: jax.Array) -> jax.Array:
  return matmul(matrix.T, y)


def _gram(matrix: jax.Array, x: jax.Array) -> jax.Array:
  return _back(matrix, _times(matrix, x))


def _diagonal(values: jax.Array, x: jax.Array) -> jax.Array:
  return values[:, None] * x


def _inverse_gram(lu: jax.Array, pivots: jax.Array, x: jax.Array) -> jax.Array:
  half = jax.scipy.linalg.lu_solve((lu, pivots), x, trans=1)
  return jax.scipy.linalg.lu_solve((lu, pivots), half)
