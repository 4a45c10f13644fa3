"""Which columns of a matrix tell of all: pivoted QR, interpolation.

    A P = Q R,   A ~ A[:, J] [I  R_11^-1 R_12] P^T                          (1)

(Businger and Golub 1965; Cheng, Gimbutas, Martinsson and Rokhlin 2005, SIAM J.
Sci. Comput. 26(4)). J are the first k columns of P.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lalm.spectral import checks


class Interpolative(NamedTuple):
  """A ~ A[:, columns] coefficients.

  Attributes:
    columns: J, integers `[..., k]`.
    coefficients: `[..., k, N]`, the identity in the columns J.
  """

  columns: jax.Array
  coefficients: jax.Array


def pivoted(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns R and the order of columns of (1), R's diagonal falling.

  Args:
    matrix: `[..., M, N]`.

  Returns:
    `[..., min(M, N), N]` and integers `[..., N]`.

  Raises:
    ValueError: as of `checks.matrices`.
  """
  return _pivoted(jnp.asarray(checks.matrices("matrix", matrix)))


@jax.jit
def _pivoted(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
  _, triangle, order = jax.scipy.linalg.qr(
      matrix, mode="economic", pivoting=True
  )
  return triangle, order


def interpolative(matrix: jax.Array, count: int) -> Interpolative:
  """Returns (1).

  Args:
    matrix: `[..., M, N]`.
    count: k; more than the rank say no more.

  Raises:
    ValueError: as of `checks.matrices`, or another count.
  """
  matrix = jnp.asarray(checks.matrices("matrix", matrix))
  count = checks.count("count", count, min(matrix.shape[-2:]))
  return _interpolative(matrix, count)


@functools.partial(jax.jit, static_argnames="count")
def _interpolative(matrix: jax.Array, count: int) -> Interpolative:
  triangle, order = _pivoted(matrix)
  first = triangle[..., :count, :count]
  # Where the rank is less, rows of R are 0, and so is what follows from them.
  nothing = jnp.diagonal(first, axis1=-2, axis2=-1) == 0
  first = first + nothing[..., None] * jnp.eye(count, dtype=first.dtype)
  rest = jax.scipy.linalg.solve_triangular(first, triangle[..., :count, count:])
  eye = jnp.broadcast_to(jnp.eye(count, dtype=rest.dtype), first.shape)
  ordered = jnp.concatenate([eye, rest], axis=-1)
  back = jnp.argsort(order, axis=-1)[..., None, :]
  coefficients = jnp.take_along_axis(ordered, back, axis=-1)
  return Interpolative(order[..., :count], coefficients)
